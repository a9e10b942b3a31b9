"""NoteSequences in TFRecord files: the framing, both directions, and the same tokens as from MIDI."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep import noteseq
from musicgen.data_prep.dataset import prep
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.noteseq import RecordError, crc32c
from musicgen.data_prep.performance import Performance, apply_pedal, empty
from musicgen.data_prep.tokens import encode

Play = Callable[..., Performance]
pytestmark = pytest.mark.filterwarnings("ignore")  # note-seq's own imports


@pytest.fixture(scope="module")
def pb2() -> Any:
    return pytest.importorskip(
        "note_seq.protobuf.music_pb2", reason="note-seq does not work (the extra `data`)", exc_type=Exception
    )


def plain_crc32c(data: bytes) -> int:
    """Bit by bit, from the definition."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_checksums_of_rfc_3720() -> None:
    """Appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_checksums_of_long_data(seed: int, size: int) -> None:
    data = np.random.default_rng(seed).bytes(size)
    assert crc32c(data) == plain_crc32c(data)


def test_a_record_is_framed_as_the_format_says() -> None:
    """Length, masked checksum, data, masked checksum."""
    record = noteseq.frame_record(b"abc")
    assert record[:8] == struct.pack("<Q", 3) and record[12:15] == b"abc" and len(record) == 19
    for data, stored in ((record[:8], record[8:12]), (b"abc", record[15:])):
        crc = plain_crc32c(data)
        rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        assert struct.unpack("<I", stored)[0] == (rotated + 0xA282EAD8) % 2**32


def test_music_survives(pb2: Any, play: Play, tmp_path: Path) -> None:
    music = [("first", play(1)), ("zweites Stück", play(2)), ("silence", empty())]
    assert noteseq.write(tmp_path / "music.tfrecord", music) == 3
    for (name, before), (again, after) in zip(music, noteseq.read(tmp_path / "music.tfrecord"), strict=True):
        assert name == again
        assert before.equals(after)


def test_the_same_tokens_as_from_midi(pb2: Any, music_folder: Path, tmp_path: Path) -> None:
    from note_seq import midi_io

    for path in sorted(music_folder.rglob("*.mid"))[:4]:
        sequence = midi_io.midi_to_note_sequence(path.read_bytes())
        music, remarks = noteseq.parse(sequence.SerializeToString())
        assert remarks == ()
        np.testing.assert_array_equal(encode(music), encode(read_midi(path)[0]))


def test_note_seq_reads_what_we_write(pb2: Any, play: Play) -> None:
    from note_seq import sequences_lib

    ours = noteseq.to_note_sequence(play(3), "x")
    theirs = sequences_lib.apply_sustain_control_changes(ours)
    assert theirs.total_time >= ours.total_time > 0
    assert len(theirs.notes) == len(play(3))


def test_drums_instruments_and_strange_sequences(pb2: Any) -> None:
    sequence = pb2.NoteSequence()
    for pitch, instrument, program, drum in ((60, 0, 0, False), (62, 1, 40, False), (35, 9, 0, True)):
        sequence.notes.add(
            pitch=pitch, velocity=80, start_time=1, end_time=2, instrument=instrument, program=program, is_drum=drum
        )
    sequence.control_changes.add(time=0, control_number=64, control_value=127, instrument=1)
    sequence.control_changes.add(time=5, control_number=64, control_value=0, instrument=1)
    sequence.control_changes.add(time=0, control_number=7, control_value=100, instrument=0)
    music, remarks = noteseq.from_note_sequence(sequence)
    assert remarks == ("1 drum notes dropped", "programs other than piano taken as piano: 40")
    assert music.pitch.tolist() == [60, 62] and music.end.tolist() == [2, 5]
    sequence.notes.add(pitch=60, velocity=200, start_time=1, end_time=2)
    with pytest.raises(RecordError, match="not a playable NoteSequence: velocity"):
        noteseq.from_note_sequence(sequence)
    sequence.quantization_info.steps_per_second = 100
    with pytest.raises(RecordError, match="quantized"):
        noteseq.from_note_sequence(sequence)


def test_prep_takes_a_tfrecord_file(pb2: Any, music_folder: Path, tmp_path: Path) -> None:
    names = [path.relative_to(music_folder).as_posix() for path in sorted(music_folder.rglob("*.mid"))]
    music = [(name, read_midi(music_folder / name)[0]) for name in names]
    file = tmp_path / "music.tfrecord"
    noteseq.write(file, [*music, (names[0], music[1][1])])
    report = prep.run(file, tmp_path / "set", workers=0)
    assert [entry["duplicate_of"] for entry in report.rejected] == [names[1]]
    assert next(iter(report.rejected))["name"] == f"{names[0]}#2"
    prep.run(music_folder, tmp_path / "midi", workers=0)
    ours, theirs = ShardSet(tmp_path / "set", "train"), ShardSet(tmp_path / "midi", "train")
    assert [ours.name(i) for i in range(len(ours))] == [theirs.name(i) for i in range(len(theirs))]
    for i in range(len(ours)):
        assert ours.notes(i).equals(apply_pedal(theirs.notes(i)))
        np.testing.assert_array_equal(ours.tokens(i), theirs.tokens(i))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "ends inside this record"),
        (lambda data: data[:20], "ends inside this record"),
        (lambda data: data[:5], "not a TFRecord file, or damaged"),
        (lambda data: b"MThd" + data, "not a TFRecord file, or damaged"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "the checksum of this record is wrong"),
        (lambda data: noteseq.frame_record(b"\xff\xff\xff"), "not a NoteSequence"),
        (lambda data: b"", "holds no records"),
    ],
)
def test_damage_is_named(pb2: Any, play: Play, tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "music.tfrecord"
    noteseq.write(path, [("a", play(1))])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PrepError, match=message):
        prep.run(path, tmp_path / "set", workers=0)


def test_without_note_seq_the_extra_is_named(play: Play, tmp_path: Path, uninstall: Callable[[str], None]) -> None:
    uninstall("note_seq")
    with pytest.raises(PrepError, match=r"NoteSequences need note-seq .*pip install \"note-seq>="):
        noteseq.write(tmp_path / "music.tfrecord", [("a", play(1))])
