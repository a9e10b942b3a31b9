"""Tempo, metre, keys and names of a file stand in what is written of it, at their own ticks."""

from __future__ import annotations

import io
from collections.abc import Callable

import mido
import numpy as np
import pytest
from mido import Message, MetaMessage

from musicgen.data_prep import cut, read_midi, write_midi
from musicgen.data_prep.performance import shift_time
from musicgen.data_prep.smf_writer import write_file

Build = Callable[..., bytes]
Events = list[tuple[int, Message | MetaMessage]]


def note(tick: int, pitch: int = 60, length: int = 90, channel: int = 0) -> Events:
    on = Message("note_on", note=pitch, channel=channel)
    return [(tick, on), (tick + length, on.copy(velocity=0))]


TITLE = [(0, MetaMessage("track_name", name="Étude"))]
MARKS = [
    (0, MetaMessage("set_tempo", tempo=800_000)),
    (0, MetaMessage("time_signature", numerator=3, denominator=4)),
    (0, MetaMessage("key_signature", key="Eb")),
    (960, MetaMessage("set_tempo", tempo=413_793)),
    (1440, MetaMessage("time_signature", numerator=6, denominator=8)),
    (1600, MetaMessage("set_tempo", tempo=500_000)),
    (1600, MetaMessage("key_signature", key="Am")),
]
HANDS = [
    [(0, MetaMessage("track_name", name="right")), *(event for i in range(24) for event in note(97 * i, 60 + i))],
    [(0, MetaMessage("track_name", name="left")), *(event for i in range(24) for event in note(101 * i, 30 + i))],
]


def told(content: bytes) -> tuple[int, list[str], list[tuple[int, MetaMessage]], list[tuple[int, int]]]:
    """(division, names of tracks, other meta events but texts with their ticks, ticks and keys of notes)."""
    file = mido.MidiFile(file=io.BytesIO(content), charset="utf-8")
    names, marks, notes = [track.name for track in file.tracks], [], []
    for track in file.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                notes.append((now, message.note))
            elif message.is_meta and message.type not in ("track_name", "text", "end_of_track"):
                marks.append((now, message.copy(time=0)))
    return file.ticks_per_beat, names, sorted(marks, key=lambda mark: mark[0]), sorted(notes)


@pytest.mark.parametrize("division", [24, 96, 480, 960, 10_000, 30_000])
def test_what_a_file_says_of_its_bars_is_written_again(midi_file: Build, division: int) -> None:
    before = midi_file(TITLE + MARKS, *HANDS, division=division)
    music, _ = read_midi(before)
    after = write_midi(music, text=["facts"])
    old, new = told(before), told(after)
    parts = new[0] // old[0]
    assert new[0] == parts * old[0]
    assert new[1] == ["Étude", "right, left"]
    assert new[2] == [(tick * parts, mark) for tick, mark in old[2]]
    assert new[3] == [(tick * parts, key) for tick, key in old[3]]
    again, _ = read_midi(after)
    assert np.allclose(again.onset, music.onset, rtol=0, atol=1e-9)
    assert write_midi(again, text=["facts"]) == after


def test_a_part_begins_with_what_is_in_force(midi_file: Build) -> None:
    music, _ = read_midi(midi_file(TITLE + MARKS, *HANDS))
    start = float(music.onset[music.pitch == 73][0])  # the note at tick 1261
    part = shift_time(cut(music, start, np.inf), -start)
    division, names, marks, notes = told(write_midi(part))
    parts = division // 480
    assert names == ["Étude", "right, left"]
    in_force = [(0, MARKS[number][1]) for number in (3, 1, 2)]
    later = [(tick - 1261, mark) for tick, mark in MARKS[4:]]
    assert [(round(tick / parts), mark) for tick, mark in marks] == in_force + later
    assert notes[0] == (0, 73)


def test_without_a_score_it_is_as_ever(midi_file: Build) -> None:
    """Tempo 120 on our own ticks, and no metre; a file that says no more is read as one that says nothing."""
    music, _ = read_midi(midi_file(note(0), division=20_000))
    division, names, marks, _ = told(write_midi(music))
    assert (division, names) == (20_000, ["", "Piano"])
    assert marks == [(0, MetaMessage("set_tempo", tempo=500_000))]
    assert read_midi(write_midi(music))[0].source is None


def test_frames_have_no_tempo(midi_file: Build) -> None:
    """A file in SMPTE time keeps its metre at its seconds."""
    content = bytearray(midi_file(MARKS, note(100, 60, 100)))
    content[12:14] = bytes([256 - 25, 40])  # a tick is a millisecond
    division, _, marks, notes = told(write_midi(read_midi(bytes(content))[0]))
    assert division == 20_000
    assert [(tick, mark.type) for tick, mark in marks] == [
        (0, "set_tempo"),
        (0, "time_signature"),
        (0, "key_signature"),
        (1440 * 40, "time_signature"),
        (1600 * 40, "key_signature"),
    ]
    assert notes == [(4000, 60)]


def test_a_pause_longer_than_a_delta_time_can_be_read(midi_file: Build) -> None:
    """2^28 ticks are the most that one of four bytes holds: 1.9 hours of ours."""
    music, _ = read_midi(midi_file(note(0) + note(480)))
    late = shift_time(music, 20_000.0)
    content = write_midi(late)
    assert told(content)[3][0][0] == round(20_000 * 2 * told(content)[0])
    again, remarks = read_midi(content)
    assert again.onset[1] - again.onset[0] == pytest.approx(0.5)
    assert remarks == ("a pause of 5.6 hours cut to 3 seconds",)


def test_a_track_that_lasts_longer_than_a_delta_time_can_be_read() -> None:
    """Its end-of-track event stands behind the last of its notes."""
    content = write_file(480, [[(0, b"\x90\x3c\x40"), (480, b"\x80\x3c\x40")]], [2**30])
    assert len(read_midi(content)[0]) == 1
    assert sum(message.time for message in mido.MidiFile(file=io.BytesIO(content)).tracks[0]) == 2**30
