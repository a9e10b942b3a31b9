"""A conversation as a MIDI file: each player on a track and a channel of their own, at the times they played."""

from __future__ import annotations

import io
from collections.abc import Sequence

from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.performance import shift_time

NAMES = ("Player", "musicgen")


def session_file(player: Performance, model: Performance, text: Sequence[str] = ()) -> bytes:
    """A whole MIDI file of type 1, beginning with the player's first note or pedal; ``text`` says how it was made."""
    import mido

    starts = [times.min() for times in (player.onset, player.pedal[:, 0], model.onset) if times.size]
    first = float(min(starts)) if starts else 0.0
    whole = mido.MidiFile(type=1)
    for channel, (part, name) in enumerate(zip((player, model), NAMES, strict=True)):
        data = write_midi(shift_time(part, -first), text=text, name=name)
        file = mido.MidiFile(file=io.BytesIO(data), charset="utf-8")
        conductor, track = file.tracks
        if channel == 0:
            whole.ticks_per_beat = file.ticks_per_beat
            whole.tracks.append(conductor)
        for message in track:
            if not message.is_meta:
                message.channel = channel
        whole.tracks.append(track)
    buffer = io.BytesIO()
    whole.charset = "utf-8"
    whole.save(file=buffer)
    return buffer.getvalue()
