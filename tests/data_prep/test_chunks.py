"""Files whose header or chunks lie, and what files come wrapped in: what is whole is read, and said."""

from __future__ import annotations

import struct
import time

import pytest

from musicgen.data_prep import limits
from musicgen.data_prep.midi import MidiError, read_midi

END = bytes([0, 0xFF, 0x2F, 0])


def music(first: int = 60, count: int = 8, end: bytes = END) -> bytes:
    """A scale, half a second each, as the content of a track."""
    notes = b"".join(bytes([0, 0x90, first + i, 64, 0x83, 0x60, 0x80, first + i, 0]) for i in range(count))
    return notes + end


def header(promised: int = 1, kind: int = 1, size: int = 6) -> bytes:
    return b"MThd" + struct.pack(">IHHH", size, kind, promised, 480) + bytes(max(size - 6, 0))


def chunk(content: bytes, longer: int = 0, name: bytes = b"MTrk") -> bytes:
    return name + (len(content) + longer).to_bytes(4, "big") + content


ONE, TWO = chunk(music()), chunk(music(36))


def reads(content: bytes) -> tuple[int, str]:
    performance, remarks = read_midi(content)
    return len(performance), "; ".join(remarks)


@pytest.mark.parametrize(
    ("content", "notes", "remark"),
    [
        # Type 2 with one pattern, whatever else stands beside it.
        (header(1, 2) + ONE, 8, ""),
        (header(2, 2) + chunk(END) + ONE, 8, ""),
        # Counts.
        (header(1) + ONE + TWO, 16, "the header promises 1 track, the file holds 2"),
        (header(0) + ONE, 8, "the header promises no track, the file holds 1"),
        (header(5) + ONE + TWO, 16, "the header promises 5 tracks, the file holds 2"),
        (header(65535) + ONE, 8, "promises 65,535 tracks, the file holds 1"),
        (header(2) + chunk(b"1234", name=b"XFIH") + ONE, 8, "promises 2 tracks, the file holds 1"),
        (header(1) + ONE + chunk(b"\x90\x90\x90"), 8, "behind the 1 promised tracks is damaged and left out"),
        (header(1) + ONE + header(1) + TWO, 8, "another MIDI file begins at byte 98: only the first is read"),
        # Header lengths.
        (header(1, size=10) + ONE, 8, ""),
        (header(1)[:4] + struct.pack(">I", 2**31) + header(1)[8:] + ONE, 8, ""),
        # Padding.
        (header(2) + ONE + b"\0" + TWO, 16, "1 stray byte between tracks passed over"),
        (header(2) + b"\0\0" + ONE + bytes(1000) + TWO + b"\0\0\0", 16, "1,002 stray bytes between tracks"),
        (header(1) + ONE + bytes(100), 8, ""),
        (header(1) + ONE + b"\1" * 100, 8, "100 bytes behind the last track passed over"),
        (header(1) + chunk(music() + music()), 8, "what stands in track 1 behind the end-of-track event is left out"),
        # Lengths that are too long: of the last track, of the first, of both, by a little, a track or without end.
        (header(1) + chunk(music(), 6), 8, "the length of track 1 is wrong"),
        (header(1) + chunk(music(), 2**31), 8, "the length of track 1 is wrong"),
        (header(2) + chunk(music(), 6) + TWO, 16, "the length of track 1 is wrong"),
        (header(2) + chunk(music(), len(TWO)) + TWO, 16, "the length of track 1 is wrong"),
        (header(2) + chunk(music(), len(TWO) + 3) + TWO, 16, "the length of track 1 is wrong"),
        (header(2) + chunk(music(), 9) + chunk(music(36), 9), 16, "the length of 2 tracks is wrong"),
        (header(2) + chunk(b"", 5, b"XFIH") + ONE + TWO, 16, ""),
        # Too short, or not filled in.
        (header(1) + chunk(music(), -20), 8, "the length of track 1 is wrong"),
        (header(2) + chunk(music(), -len(music())) + chunk(music(36), -len(music())), 16, "2 tracks is wrong"),
        # An end-of-track event that is not whole, or says that it has content.
        (header(1) + ONE[:-1], 8, "the last bytes of track 1 are missing"),
        (header(1) + ONE[:-2], 8, "the last bytes of track 1 are missing"),
        (header(1) + ONE[:-3], 8, "the last bytes of track 1 are missing"),
        (header(1) + ONE[:-4], 8, "the last bytes of track 1 are missing"),
        (header(1) + chunk(music(end=b"\x83\x60\xff\x2f\0"))[:-4], 8, "the last bytes of track 1 are missing"),
        (header(1) + chunk(music(end=b"\0\xff\x2f\x48")), 8, ""),
        (header(2) + chunk(music(end=b"\0\xff\x2f\x02ab")) + TWO, 16, ""),
        (header(2) + chunk(music(end=b"\0\xff\x2f"), 1) + TWO, 16, "the length of track 1 is wrong"),
        (header(2) + chunk(music(end=b"\0\xff\x2f")) + TWO, 16, ""),
        (header(1) + chunk(music(end=b"")), 8, ""),
        (header(2) + chunk(music(end=b"")) + TWO, 16, ""),
        # Wrappings.
        (bytes(128) + header(1) + ONE + bytes(300), 8, "begins at byte 128, after something else"),
        (b"From: somebody\r\n\r\n" + header(1) + ONE, 8, "begins at byte 18"),
        (bytes(60_000) + header(1) + ONE, 8, "begins at byte 60,000"),
        (bytes(2**16) + header(1) + ONE, 8, "begins at byte 65,536"),
        (b"MThd: a poem" + header(1) + ONE, 8, "begins at byte 12"),
    ],
)
def test_what_is_whole_is_read(content: bytes, notes: int, remark: str) -> None:
    told = reads(content)
    assert told[0] == notes
    assert remark in told[1] if remark else told[1] == ""


@pytest.mark.parametrize("before", [b"", chunk(b"INAM", name=b"LIST")])
def test_riff_files_hold_a_midi_file(before: bytes) -> None:
    content = header(1) + ONE
    body = b"RMID" + before + b"data" + struct.pack("<I", len(content)) + content + b"LIST\4\0\0\0INFO"
    notes, remarks = reads(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert notes == 8
    assert remarks == f"the MIDI file begins at byte {20 + len(before)}, inside a RIFF file (RMID)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(1) + ONE[: len(ONE) // 2], "truncated at byte 56: the chunk at byte 14 lasts until byte 98"),
        (header(1) + ONE[:-5], "truncated"),  # of the last note-off, too, a byte is gone
        (header(1) + chunk(b"\0\x90\x3c\x40\1\x3c\0" + END)[:-7], "truncated"),  # a note-off of three bytes
        (header(2) + ONE + TWO[:40], "truncated"),
        (header(2, 2) + ONE + TWO, "type 2"),
        (header(1) + chunk(b"\0\x90\x90\x90" + music()), "byte 24 is a status byte"),
        (header(0), "holds no piano notes"),
        (header(1), "promises 1 track and holds none"),
        (b"PK\x03\x04" + header(1) + ONE, "a zip archive"),
        (b"\x1f\x8b" + header(1) + ONE, "a gzip file"),
        (bytes(257) + b"ustar" + bytes(250) + header(1) + ONE, "a tar archive"),
        (bytes(70_000) + header(1) + ONE, "not a Standard MIDI File"),
    ],
)
def test_what_is_not_whole_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(MidiError, match=message) as error:
        read_midi(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(62_000) + 62_000 * chunk(END), "more than 1,000 tracks"),
        (header(1) + 1_000_000 * chunk(b"", name=b"JUNK"), "more than 1,000 tracks"),
        (header(999) + 999 * chunk(END, 2**24) + bytes(2**22), "no piano notes"),
        (header(1) + chunk(b"\0\xff\x01\0" * 2_000_000), "more than 50,000 meta events"),
        (header(1) + chunk(b"\0\xc0\0" * 2_500_000), "more than 800,000 events"),
        (header(1) + chunk(b"\0\xc0\0" * 700_000), "700,000 controllers, programs and bends"),
        (header(1) + chunk(b"\0\x90\x3c\x40" * 250_001), "250,001 notes, 250,000 are the most"),
        (b"\0" * 2**23, "not a Standard MIDI File"),
    ],
    ids=["tracks", "chunks", "lengths", "meta", "events", "controllers", "notes", "zeros"],
)
def test_bombs_are_defused(content: bytes, message: str) -> None:
    """Every bound is told in a line before much is done; the time is ten times what it takes."""
    assert len(content) <= limits.MIDI_BYTES
    began = time.process_time()
    with pytest.raises(MidiError, match=message):
        read_midi(content)
    assert time.process_time() - began < 5
