"""NoteSequence protos in TFRecord files, read and written without TensorFlow (the `data` extra brings note-seq).

A TFRecord file is a row of records: length u64, masked CRC-32C of the length u32, the bytes, their masked CRC-32C u32,
all little-endian. Each record here is one serialized NoteSequence, as Magenta's datasets have them.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.extras import install_command
from musicgen.data_prep.files import open_regular, write_atomically
from musicgen.data_prep.performance import NO_PEDAL, Performance, apply_pedal, empty, merge
from musicgen.data_prep.table import Table

if TYPE_CHECKING:
    from note_seq.protobuf.music_pb2 import NoteSequence

SUSTAIN = 64  # the control number of the pedal
LARGEST_RECORD = 1 << 30  # bytes; a longer one is a damaged length
_CRC32C = 0x82F63B78  # the Castagnoli polynomial, bits reversed
_LANE = 512  # bytes of a checksum that are taken one after the other, for all lanes at once


class RecordError(PrepError):
    """A TFRecord file or a NoteSequence in it cannot be used: one line that says which and why."""


def parse(data: bytes) -> tuple[Performance, tuple[str, ...]]:
    """A serialized NoteSequence -> (music, remarks on what was left out). Raises RecordError."""
    return from_note_sequence(_decode(data))


def from_note_sequence(sequence: NoteSequence) -> tuple[Performance, tuple[str, ...]]:
    """NoteSequence -> (music, remarks). Drums are dropped, all other instruments are merged into one.

    A pedal moves the notes of its own instrument. With several instruments it is applied to the ends of their notes, as
    one performance has one pedal. Raises RecordError for a quantized sequence and for impossible notes.
    """
    if sequence.quantization_info.WhichOneof("resolution"):
        raise RecordError("a quantized NoteSequence: its notes are in steps, give the sequence before quantization")
    remarks = []
    drums = sum(note.is_drum for note in sequence.notes)
    if drums:
        remarks.append(f"{drums} drum notes dropped")
    notes = [note for note in sequence.notes if not note.is_drum]
    instruments = sorted({note.instrument for note in notes})
    programs = sorted({note.program for note in notes if note.program > 7})
    if programs:
        remarks.append(f"programs other than piano taken as piano: {', '.join(map(str, programs))}")
    try:
        parts = [_part(sequence, [n for n in notes if n.instrument == each], each) for each in instruments]
    except ValueError as error:
        raise RecordError(f"not a playable NoteSequence: {error}") from None
    if len(parts) > 1:
        parts = [apply_pedal(part) for part in parts]
    return (merge(parts) if parts else empty()), tuple(remarks)


def _part(sequence: NoteSequence, notes: list[Any], instrument: int) -> Performance:
    changes = [
        (change.time, change.control_value)
        for change in sequence.control_changes
        if change.control_number == SUSTAIN and change.instrument == instrument
    ]
    pedal = sorted(changes, key=lambda change: change[0])  # those of one moment in the sequence's order
    return Performance(
        np.array([note.start_time for note in notes]),
        np.array([note.end_time for note in notes]),
        np.array([note.pitch for note in notes]),
        np.array([note.velocity for note in notes]),
        np.array(pedal, float) if pedal else NO_PEDAL,
    )


def to_note_sequence(performance: Performance, name: str = "") -> NoteSequence:
    """Music -> NoteSequence: one piano, key releases as note ends, the pedal as control changes."""
    sequence = _music_pb2().NoteSequence(id=name, filename=name, ticks_per_quarter=220)
    sequence.tempos.add(qpm=120.0)
    columns = (performance.onset, performance.end, performance.pitch, performance.velocity)
    for onset, end, pitch, velocity in zip(*(column.tolist() for column in columns), strict=True):
        sequence.notes.add(start_time=onset, end_time=end, pitch=pitch, velocity=velocity)
    for time, value in performance.pedal.tolist():
        sequence.control_changes.add(time=time, control_number=SUSTAIN, control_value=round(value))
    last = [performance.end.max()] if len(performance) else []
    sequence.total_time = float(max([*last, *performance.pedal[-1:, 0], 0.0]))
    return sequence


def write(path: str | os.PathLike[str], pieces: Iterable[tuple[str, Performance]]) -> int:
    """Write (name, music) pairs as a TFRecord file of NoteSequences, whole or not at all; returns how many."""
    records = [to_note_sequence(music, name).SerializeToString(deterministic=True) for name, music in pieces]
    write_atomically(Path(path), b"".join(frame_record(record) for record in records))
    return len(records)


def read(path: str | os.PathLike[str]) -> Iterator[tuple[str, Performance]]:
    """(name, music) of every NoteSequence in a TFRecord file. Raises RecordError, OSError."""
    for number, (_, data) in enumerate(read_records(path)):
        sequence = _decode(data)
        yield _name(sequence, number), from_note_sequence(sequence)[0]


def index_records(path: str | os.PathLike[str]) -> Iterator[tuple[str, int, int]]:
    """(name, first byte, size in bytes) of every NoteSequence in a TFRecord file; names are made unique.

    Raises RecordError if there is none or the file is damaged.
    """
    times: Table[int] = Table()
    for number, (start, data) in enumerate(read_records(path)):
        name = _name(_decode(data), number)
        count = times.first(name, 0) + 1
        times.put(name, count)
        yield name if count == 1 else f"{name}#{count}", start, len(data)
    if not len(times):
        raise RecordError(f"{path} holds no records")


def read_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """(first byte, bytes) of every record of a TFRecord file, checksums verified. Raises RecordError, OSError."""
    with open_regular(path) as file:
        while header := file.read(12):
            place = f"{path} at byte {file.tell() - len(header)}"
            if len(header) < 12 or mask_crc(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
                raise RecordError(f"{place}: not a TFRecord file, or damaged")
            (size,) = struct.unpack("<Q", header[:8])
            if size > LARGEST_RECORD:
                raise RecordError(f"{place}: a record of {size} bytes is larger than any piece of music")
            start = file.tell()
            data, check = file.read(size), file.read(4)
            if len(data) < size or len(check) < 4:
                raise RecordError(f"{place}: the file ends inside this record")
            if mask_crc(crc32c(data)) != struct.unpack("<I", check)[0]:
                raise RecordError(f"{place}: the checksum of this record is wrong, the file is damaged")
            yield start, data


def frame_record(data: bytes) -> bytes:
    """One record with its length and checksums."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", mask_crc(crc32c(length))) + data + struct.pack("<I", mask_crc(crc32c(data)))


def mask_crc(crc: int) -> int:
    """TFRecord's masking of a checksum, so that the checksum of data that contains checksums stays strong."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C. Long data is cut into lanes whose registers numpy advances side by side, joined at the end."""
    table, skip = _tables()
    register = 0xFFFFFFFF
    lanes = len(data) // _LANE
    if lanes > 1:
        columns = np.frombuffer(data, np.uint8, lanes * _LANE).reshape(lanes, _LANE).T.astype(np.uint32)
        registers = np.zeros(lanes, np.uint32)
        for column in columns:
            registers = table[(registers ^ column) & 0xFF] ^ (registers >> 8)
        # Registers are linear over GF(2): that of two runs of bytes is the first's, advanced over the second's length,
        # xor the second's.
        a, b, c, d = (part.tolist() for part in skip)
        for lane in registers.tolist():
            r = register
            register = a[r & 0xFF] ^ b[r >> 8 & 0xFF] ^ c[r >> 16 & 0xFF] ^ d[r >> 24] ^ lane
        data = data[lanes * _LANE :]
    small = table.tolist()
    for byte in data:
        register = small[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """u32[256]: the register after one byte. u32[4, 256]: after _LANE zero bytes, for each byte of the register."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_CRC32C), table >> 1)
    skip = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]
    for _ in range(_LANE):
        skip = table[skip & 0xFF] ^ (skip >> 8)
    return table, skip


def _decode(data: bytes) -> NoteSequence:
    pb2 = _music_pb2()
    try:
        return pb2.NoteSequence.FromString(data)
    except Exception:  # google.protobuf.message.DecodeError, whose module differs between protobuf's backends
        raise RecordError("a record that is not a NoteSequence") from None


def _name(sequence: NoteSequence, number: int) -> str:
    return sequence.filename or sequence.id or f"record {number:06d}"


def _music_pb2() -> Any:
    try:
        from note_seq.protobuf import music_pb2
    except ImportError as error:
        raise PrepError(f"NoteSequences need note-seq ({error}): {install_command('data')}") from None
    return music_pb2
