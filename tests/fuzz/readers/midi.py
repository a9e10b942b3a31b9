"""MIDI files: whatever is in one, its music and events are read and written again, or it is refused in one line."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
from reader import Reader

from musicgen.data_prep import MidiError, Performance, encode, read_midi, write_midi


def reader() -> Reader:
    """Of primes, `prep`, `render` and all others."""
    return Reader(seeds, read, (MidiError,), most=20_000)


def seeds() -> list[bytes]:
    """A file that we write, and one with events of every kind."""
    onset = np.arange(20) * 0.3
    pedal = np.array([[0.1, 127.0], [2.0, 0.0]])
    ours = write_midi(Performance(onset, onset + 0.4, np.arange(20) + 50, np.full(20, 80), pedal), text=["facts"])
    controls = [
        (64, 127),
        (66, 90),
        (67, 20),
        (64, 0),
        (121, 0),
        (66, 0),
        (123, 0),
        (120, 0),
        (0, 121),
        (101, 0),
        (6, 3),
    ]
    return [ours, *(_every_kind(controls, tracks) for tracks in (1, 3))]


def _every_kind(controls: list[tuple[int, int]], tracks: int) -> bytes:
    import io

    file = mido.MidiFile(type=1, ticks_per_beat=480)
    for channel in range(tracks):
        track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("lyrics", text="la")])
        for number, (control, value) in enumerate(controls):
            note = {"note": 60 + number % 3, "channel": channel}
            track.append(mido.Message("note_on", velocity=70, time=number % 2 * 90, **note))
            track.append(mido.Message("control_change", control=control, value=value, channel=channel, time=number % 3))
            track.append(mido.Message("note_off", time=60, **note))
        track.append(mido.Message("sysex", data=(0x7E, 0x7F, 9, 1)))
        track += [mido.Message("pitchwheel", pitch=9, channel=channel), mido.Message("aftertouch", channel=channel)]
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def read(data: bytes, folder: Path) -> None:
    music, remarks = read_midi(data)
    assert all("\n" not in remark for remark in remarks)
    again, _ = read_midi(write_midi(music))
    assert np.array_equal(again.pitch, music.pitch)
    encode(music)
