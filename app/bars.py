"""A beat for music that has none: the same music in a MIDI file whose tempo map follows the beats that can be heard."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.sheet import lies_on_beat
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.beats import find_beats
from musicgen.data_prep.metre import find_bars
from musicgen.data_prep.midi import read_text
from musicgen.data_prep.score import META, METRE, Score, tempo_event
from musicgen.data_prep.song import Song
from musicgen.data_prep.source import no_source

DIVISION = 480  # ticks a quarter note, as music programs write it
CLOCKS, THIRTY_SECONDS = 24, 8  # of a metre event: of a click, and in a quarter note


def add_bars(data: bytes) -> tuple[bytes, str]:
    """A MIDI file's music with a tempo map and a metre, and in words what was done; nothing sounds otherwise.

    A file whose notes lie on its own beat comes back as it is.  Raises MidiError if it is none, BadInput where no clear
    beat can be heard.
    """
    song = Song.read(data)
    frames = song.events.time_base.in_frames
    if not frames and lies_on_beat(song.events.tick[song.keys.down] / song.events.division):
        return data, "the file has a beat of its own, and is as it was"
    music, _ = read_midi(data)
    beats = find_beats(music.onset, music.pitch, music.velocity)
    if beats is None or not beats.heard:
        raise BadInput("no clear beat can be heard in this music: it stays without bars")
    bars = find_bars(beats.seconds, music.onset, music.pitch, music.velocity)
    score = _score(beats.seconds, bars.beats, bars.first)
    source = music.source or no_source(len(music), len(music.pedal))
    before = source.score
    if before is not None:
        score = dataclasses.replace(score, title=before.title, name=before.name)
    written = dataclasses.replace(music, source=dataclasses.replace(source, score=score))
    tempo = 60 / float(np.median(np.diff(beats.seconds)))
    remark = f"a beat was estimated: about {tempo:.0f} a minute, {bars.beats} in a bar, {beats.clarity:.0%} clear"
    return write_midi(written, text=read_text(data)), remark


def heard_beat(music: Performance) -> int | None:
    """How many beats a minute can be heard in music that does not say so; None if that is not clear."""
    beats = find_beats(music.onset, music.pitch, music.velocity)
    if beats is None or not beats.heard:
        return None
    return round(60 / float(np.median(np.diff(beats.seconds))))


def _score(beats: np.ndarray, count: int, first: int) -> Score:
    """Beats at these seconds, in bars of `count`, the first of them at beat `first`; what is before is a bar, too."""
    beats = beats[beats > 0.05]
    first = min(first, len(beats) - 2)
    length = float(np.median(np.diff(beats)))
    before = max(1, round(float(beats[0]) / length))  # beats from the beginning of the file to the first one
    times = np.concatenate([np.arange(before) * float(beats[0]) / before, beats])
    lengths = np.append(np.diff(times), length)
    events = [(0.0, _metre(before + first))] if before + first != count else []
    events += [(float(at), tempo_event(round(each * 1e6))) for at, each in zip(times, lengths, strict=True)]
    events.append((float(times[before + first]) if events[0][1][1] == METRE else 0.0, _metre(count)))
    return Score(DIVISION, tuple(sorted(events, key=lambda event: event[0])))


def _metre(beats: int) -> bytes:
    return bytes([META, METRE, beats, 2, CLOCKS, THIRTY_SECONDS])
