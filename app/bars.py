"""A beat for music that has none: the same music in a MIDI file whose tempo map follows the beats that can be heard."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.beats import find_beats
from musicgen.data_prep.metre import find_bars
from musicgen.data_prep.midi import read_text
from musicgen.data_prep.score import META, METRE, Score, tempo_event
from musicgen.data_prep.song import Song
from musicgen.data_prep.source import no_source

NOTHING = np.zeros(0)
DIVISION = 480  # ticks a quarter note, as music programs write it
CLOCKS, THIRTY_SECONDS = 24, 8  # of a metre event: of a click, and in a quarter note


def add_bars(data: bytes) -> tuple[bytes, str]:
    """A MIDI file's music with a tempo map and a metre, and in words what was done; nothing sounds otherwise.

    A file whose notes lie on its own beat comes back as it is.  Raises MidiError if it is none, BadInput where no clear
    beat can be heard.
    """
    from musicgen.app.sheet import lies_on_beat

    song = Song.read(data)
    frames = song.events.time_base.in_frames
    if not frames and lies_on_beat(song.events.tick[song.keys.down] / song.events.division):
        return data, "the file has a beat of its own, and is as it was"
    music, _ = read_midi(data)
    written, heard = put_in_bars(music)
    if written is music:
        raise BadInput("no clear beat can be heard in this music: it stays without bars")
    return write_midi(written, text=read_text(data)), heard


def hear_beat(music: Performance) -> tuple[Score | None, str]:
    """A tempo map and a metre that follow the beat which can be heard in music, None if that is not clear; and in words
    what is heard."""
    beats = find_beats(music.onset, music.pitch, music.velocity)
    # What comes sooner than half a beat is the one that a file begins with.
    seconds = beats.seconds[beats.seconds > np.median(np.diff(beats.seconds)) / 2] if beats is not None else NOTHING
    if beats is None or not beats.heard or len(seconds) < 2:
        return None, "no clear beat can be heard, so its tempo, 120 beats a minute, means nothing"
    bars = find_bars(seconds, music.onset, music.pitch, music.velocity)
    tempo = 60 / float(np.median(np.diff(seconds)))
    heard = f"a beat was estimated: about {tempo:.0f} a minute, {bars.beats} in a bar, {beats.clarity:.0%} clear"
    return _score(seconds, bars.beats, bars.first), heard


def put_in_bars(music: Performance) -> tuple[Performance, str]:
    """The same music, written on the beat that can be heard, if one can, its tracks called as they were; and in words
    what is heard."""
    score, heard = hear_beat(music)
    if score is None:
        return music, heard
    source = music.source or no_source(len(music), len(music.pedal))
    if source.score is not None:
        score = dataclasses.replace(score, title=source.score.title, name=source.score.name)
    return dataclasses.replace(music, source=dataclasses.replace(source, score=score)), heard


def _score(beats: np.ndarray, count: int, first: int) -> Score:
    """Beats at these seconds, in bars of `count`, the first of them at beat `first`; what is before is a bar, too."""
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
