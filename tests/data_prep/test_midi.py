from __future__ import annotations

import os
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mido import Message, MetaMessage

from musicgen.data_prep import limits, smf
from musicgen.data_prep.midi import MidiError, read_midi, read_text, write_midi
from musicgen.data_prep.performance import NO_PEDAL, Performance, empty, remove_overlaps
from musicgen.data_prep.score import TICKS_PER_QUARTER
from musicgen.data_prep.song import Song, write
from musicgen.data_prep.source import no_source

Build = Callable[..., bytes]
QUARTER = 480  # half a second


def on(tick: int, pitch: int = 60, velocity: int = 64, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(tick: int, pitch: int = 60, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("note_off", note=pitch, channel=channel)


def pedal(tick: int, value: int, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("control_change", control=64, value=value, channel=channel)


def program(tick: int, number: int, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("program_change", program=number, channel=channel)


def notes_of(performance: Performance) -> list[tuple[float, float, int]]:
    return list(zip(performance.onset.tolist(), performance.end.tolist(), performance.pitch.tolist(), strict=True))


# Reading: every odd thing has one outcome.


def test_notes_and_pedal_of_a_plain_file_come_without_remarks(midi_file: Build, tmp_path: Path) -> None:
    content = midi_file([on(0), pedal(240, 100), off(480), on(480, 62, 70), pedal(960, 0), on(960, 62, 0)])
    path = tmp_path / "plain.mid"
    path.write_bytes(content)
    for source in (content, path, str(path)):
        performance, remarks = read_midi(source)
        assert notes_of(performance) == [(0, 0.5, 60), (0.5, 1, 62)]
        assert performance.velocity.tolist() == [64, 70]
        assert performance.pedal.tolist() == [[0.25, 100], [1, 0]]
        assert remarks == ()


@pytest.mark.parametrize("kind", [0, 1])
def test_tempo_changes(midi_file: Build, kind: int) -> None:
    tempi = [(0, MetaMessage("set_tempo", tempo=1_000_000)), (960, MetaMessage("set_tempo", tempo=250_000))]
    notes = [on(480), off(1440)]
    content = midi_file(tempi + notes, type=0) if kind == 0 else midi_file(tempi, notes, type=1)
    assert notes_of(read_midi(content)[0]) == [(1, 2.25, 60)]


def test_tracks_and_programs_become_one_piano(midi_file: Build) -> None:
    content = midi_file(
        [program(0, 24), on(0), off(480)],
        [program(0, 40, 1), on(0, 64, channel=1), off(480, 64, 1)],
        [program(0, 3, 2), on(0, 67, channel=2), off(480, 67, 2), program(0, 90, 3)],
    )
    performance, remarks = read_midi(content)
    assert performance.pitch.tolist() == [60, 64, 67]
    assert remarks == ("General MIDI programs 25, 41 read as piano", "3 channels merged into one piano")


def test_drums_are_dropped(midi_file: Build) -> None:
    drums = [on(0, 36, channel=9), off(10, 36, 9), on(100, 38, channel=9), off(110, 38, 9)]
    performance, remarks = read_midi(midi_file([on(0), off(480), *drums]))
    assert notes_of(performance) == [(0, 0.5, 60)]
    assert remarks == ("2 drum notes dropped",)
    with pytest.raises(MidiError, match=r"no piano notes \(2 drum notes dropped\)"):
        read_midi(midi_file(drums))


def test_a_file_without_notes_is_an_error(midi_file: Build) -> None:
    with pytest.raises(MidiError, match="holds no piano notes"):
        read_midi(midi_file([pedal(0, 100)]))
    with pytest.raises(MidiError, match="holds no piano notes"):
        read_midi(midi_file())


def test_a_note_off_ends_the_youngest_open_note_of_its_key(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([on(0), on(240), off(480), off(960)]))
    assert notes_of(performance) == [(0, 0.25, 60), (0.25, 1, 60)]
    assert remarks == ()


def test_keys_of_other_channels_are_other_keys(midi_file: Build) -> None:
    performance, _ = read_midi(
        midi_file([on(0), on(0, 60, 70, 1), off(480), off(960, channel=1)], [on(960), off(1440)])
    )
    assert notes_of(performance) == [(0, 1, 60), (1, 1.5, 60)]


def test_notes_of_no_length_are_kept(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([on(0), off(480), on(500), off(500), on(600, 70), off(700, 70)]))
    assert notes_of(performance)[1] == (500 / 960, 500 / 960, 60)
    assert remarks == ("1 note of no length kept, as short as can be",)
    # The note-off ends the earlier note; the key goes on.
    performance, remarks = read_midi(midi_file([on(0), on(480), off(480), off(960)]))
    assert notes_of(performance) == [(0, 0.5, 60), (0.5, 1, 60)]
    assert remarks == ()


def test_a_note_never_ended_lasts_to_the_end_of_its_track(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([on(0), off(480), on(480, 62)], end=960))
    assert notes_of(performance) == [(0, 0.5, 60), (0.5, 1, 62)]
    assert remarks == ("1 note never ended, held to the end of the track",)
    performance, _ = read_midi(midi_file([on(0), off(480), on(480, 62)], end=960_000))
    assert notes_of(performance)[1] == (0.5, 1.5, 62)  # one second beyond the last note event
    assert notes_of(read_midi(midi_file([on(0)]))[0]) == [(0, 0, 60)]


def test_a_pedal_never_released_is_kept_and_reported(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([on(0), pedal(100, 127), off(480), on(960, 62), off(1920, 62)]))
    assert remarks == ("the pedal is never released",)
    assert len(performance.pedal) == 1
    assert performance.duration == 2


def test_each_channel_has_its_own_pedal(midi_file: Build) -> None:
    content = midi_file(
        [on(0), off(240), pedal(0, 127), pedal(960, 0)],
        [on(0, 72, channel=1), off(480, 72, 1), pedal(0, 127, 1), pedal(1440, 0, 1)],
        [on(0, 80, channel=2), off(480, 80, 2)],
    )
    performance, remarks = read_midi(content)
    assert notes_of(performance) == [(0, 1, 60), (0, 1.5, 72), (0, 0.5, 80)]
    assert len(performance.pedal) == 0
    assert remarks == (
        "3 channels merged into one piano",
        "pedal on 2 of 3 channels, applied to each channel's own notes",
    )


def test_the_pedal_of_a_channel_counts_in_all_its_tracks(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([on(0), off(240)], [pedal(100, 127), pedal(960, 0)]))
    assert performance.pedal[:, 1].tolist() == [127, 0]
    assert performance.duration == 1
    assert remarks == ()


def test_the_pedal_of_a_silent_channel_counts_for_nothing(midi_file: Build) -> None:
    performance, _ = read_midi(midi_file([on(0), off(240), pedal(0, 127, 5)]))
    assert len(performance.pedal) == 0


def test_absurd_times_are_refused(midi_file: Build) -> None:
    """Where the pauses themselves are no longer than music may have them."""
    nine_minutes = 540 * 960
    with pytest.raises(MidiError, match="30 hours, 24 are the most"):
        read_midi(
            midi_file([event for i in range(1, 201) for event in (on(i * nine_minutes), off(i * nine_minutes + 9))])
        )


def test_notes_and_controllers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def content(events: bytes, count: int) -> bytes:
        track = b"\0\x90\x3c\x40\1\x3c\0" + events * count + b"\0\xff\x2f\0"
        return b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track

    note, control = b"\0\x90\x3c\x40\1\x3c\0", b"\0\xb0\x40\x7f"
    monkeypatch.setattr(limits, "MIDI_NOTES", 1_000)
    monkeypatch.setattr(limits, "MIDI_CONTROLS", 500)
    assert len(read_midi(content(note, 999))[0]) == 1_000
    with pytest.raises(MidiError, match="holds 1,001 notes, 1,000 are the most"):
        read_midi(content(note, 1_000))
    read_midi(content(control, 500))
    with pytest.raises(MidiError, match="holds 501 controllers, programs and bends, 500 are the most"):
        read_midi(content(control, 501))


def test_the_memory_of_a_large_file() -> None:
    """For each note while it is read, and while it is written as the song that it is."""
    notes = 20_000
    strikes = b"".join(bytes([9, 21 + i % 88, 64, 9, 21 + i % 88, 0]) for i in range(notes))
    track = bytes([0, 0x90, 0, 0]) + strikes + bytes([0, 0xFF, 0x2F, 0])
    content = b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track

    def most(make: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            make()
            return tracemalloc.get_traced_memory()[1] / notes
        finally:
            tracemalloc.stop()

    opened = Song.read(content)
    assert most(lambda: smf.parse(content)) < 170  # bytes; lists of all events would take twice as much
    assert most(lambda: write(opened.events, opened.clock)) < 370
    assert most(lambda: read_midi(content)) < 600


def test_more_than_the_most_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "noise.mid"
    with open(path, "wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(MidiError, match="larger than 8 MiB"):
        read_midi(path)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(MidiError, match="there is no file"):
        read_midi(tmp_path / "none.mid")
    with pytest.raises(MidiError, match="is a directory"):
        read_midi(tmp_path)
    with pytest.raises(MidiError, match="cannot be read"):
        read_midi("a\0b.mid")
    if os.geteuid() != 0:  # root may read everything
        secret = tmp_path / "secret.mid"
        secret.touch(mode=0)
        with pytest.raises(MidiError, match="Permission denied"):
            read_midi(secret)


# Writing.

TICKS = 2 * TICKS_PER_QUARTER  # a second of music that comes from no file, at 120 quarters a minute
ticks = st.integers(0, 400_000)
performances = st.builds(
    lambda notes, pedal: Performance(
        np.array([a for a, _, _, _ in notes]) / TICKS,
        np.array([a + d for a, d, _, _ in notes]) / TICKS,
        np.array([p for _, _, p, _ in notes]),
        np.array([v for _, _, _, v in notes]),
        np.array([(t / TICKS, v) for t, v in pedal]),
    ),
    st.lists(
        st.tuples(ticks, st.integers(1, 100_000), st.integers(0, 127), st.integers(1, 127)), min_size=1, max_size=30
    ),
    st.lists(st.tuples(ticks, st.integers(0, 127)), max_size=10),
)


@given(performances)
def test_what_is_written_is_read_again(performance: Performance) -> None:
    content = write_midi(performance)
    again, remarks = read_midi(content)
    kept = remove_overlaps(performance)
    assert again.onset == pytest.approx(kept.onset, abs=1e-9)
    assert again.end == pytest.approx(kept.end, abs=1e-9)
    assert np.array_equal(again.pitch, kept.pitch)
    assert np.array_equal(again.velocity, kept.velocity)
    assert again.pedal == pytest.approx(performance.pedal, abs=1e-9)
    assert write_midi(again) == content == write_midi(performance)
    assert set(remarks) <= {"the pedal is never released"}


@given(performances)
def test_pretty_midi_reads_what_is_written(performance: Performance) -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    import io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (piano,) = pretty_midi.PrettyMIDI(io.BytesIO(write_midi(performance))).instruments
    kept = remove_overlaps(performance)
    got = sorted((note.start, note.pitch, note.end, note.velocity) for note in piano.notes)
    assert [pitch for _, pitch, _, _ in got] == kept.pitch.tolist()
    assert [start for start, _, _, _ in got] == pytest.approx(kept.onset)
    assert [end for _, _, end, _ in got] == pytest.approx(kept.end)
    assert [velocity for _, _, _, velocity in got] == kept.velocity.tolist()


def test_times_off_the_grid_move_less_than_half_a_tick() -> None:
    rng = np.random.default_rng(0)
    onset = np.sort(rng.uniform(0, 60, 500))
    performance = Performance(onset, onset + 1e-6, rng.integers(0, 128, 500), np.full(500, 9), NO_PEDAL)
    again, _ = read_midi(write_midi(performance))
    assert np.abs(again.onset - performance.onset).max() <= 0.5 / TICKS + 1e-12
    assert np.all(again.end > again.onset)


def test_text_comes_back_in_order(tmp_path: Path) -> None:
    lines = ['{"seed": 3}', "Präludium №1", ""]
    path = tmp_path / "text.mid"
    content = write_midi(empty(), path, text=lines)
    assert read_text(content) == read_text(path) == tuple(lines)
    assert path.read_bytes() == content


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.mid"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_midi(empty(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_midi(empty(), path)
    assert path.read_bytes()[:4] == b"MThd"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_midi(empty(), tmp_path / "nowhere" / "new.mid")


def test_noise_does_no_harm() -> None:
    rng = np.random.default_rng(0)
    track = bytes([0, 0x90]) + rng.integers(0, 128, 3000).astype(np.uint8).tobytes()
    for length in range(0, 3000, 7):  # noise that is nearly always a valid track of hanging and odd notes
        content = b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk" + length.to_bytes(4, "big") + track[:length]
        try:
            read_midi(content)
        except MidiError as error:
            assert "\n" not in str(error)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.integers(0, 3))
def test_damaged_files_do_no_harm(changes: list[tuple[int, int]], where: int) -> None:
    content = bytearray(DAMAGED[where])
    for place, byte in changes:
        content[place % len(content)] = byte
    try:
        read_midi(bytes(content))
    except MidiError as error:
        assert "\n" not in str(error)


def _samples() -> list[bytes]:
    rng = np.random.default_rng(4)
    samples = []
    for count in (1, 5, 20, 80):
        onset = np.sort(rng.uniform(0, 5, count))
        pedals = np.stack([np.sort(rng.uniform(0, 5, count)), rng.integers(0, 128, count)], axis=1)
        performance = Performance(
            onset, onset + rng.uniform(0, 1, count), rng.integers(55, 70, count), rng.integers(1, 128, count), pedals
        )
        samples.append(write_midi(performance, text=["sample"]))
    return samples


DAMAGED = _samples()


@pytest.mark.parametrize(
    "events",
    [
        b"\0\xb0\x42\x7f\0\x90\x3c\x40\1\x3c\0\0\xb0\x42\0",  # sostenuto around each note
        b"\0\xb0\x65\0\0\x64\6\0\6\x0f\0\6\0\0\x90\x3c\x40\1\x3c\0",  # an MPE zone comes and goes
        b"\0\xb9\0\x78\0\xc9\0\0\xb9\0\x79\0\xc9\0\0\x90\x3c\x40\1\x3c\0",  # channel 10 plays drums and melody by turns
        b"\0\xf0\x03\x41\x10\x42\0\xf7\x02\x12\x40\0\x90\x3c\x40\1\x3c\0",  # a message that never ends
        b"\1\xff\x51\3\7\x53\0\0\x90\x3c\x40\1\x3c\0",  # a tempo map
        b"\0\xb0\x40\x7f\0\x90\x3c\x40\1\x3c\0\0\xb0\x40\0\0\x7b\0",  # pedal and all notes off
        b"\xa0\0\x90\x3c\x40\1\x3c\0",  # a rest of four seconds
    ],
)
def test_no_event_costs_more_the_more_there_are(events: bytes) -> None:
    track = b"\0\x90\x3c\x40\1\x3c\0" + events * 20_000 + b"\0\xff\x2f\0"
    content = b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track
    began = time.perf_counter()
    performance, _ = read_midi(content)
    assert len(performance) > 20_000 / 2 - 2
    assert len(write_midi(performance)) > 20_000
    assert time.perf_counter() - began < 10


def test_a_long_piece_is_written_in_little_memory() -> None:
    """Less than 150 bytes an event, of which a prime may have 370,000; as Python objects they take more than 200."""
    notes, others = 4_000, 8_000
    onset, when = np.arange(notes) * 0.05, np.sort(np.random.default_rng(0).uniform(0, 200, others))
    music = Performance(
        onset, onset + 0.04, 21 + np.arange(notes) % 80, np.full(notes, 60), np.stack([when, np.full(others, 70)], 1)
    )
    bend = tuple(bytes([0xE0, 1, number % 128]) for number in range(others))
    source = replace(no_source(notes, others), time=when, place=np.arange(others), data=bend)
    music = replace(music, source=source)
    write_midi(music)
    tracemalloc.start()
    size = len(write_midi(music))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 4 * others and peak / (2 * notes + 2 * others) < 150
