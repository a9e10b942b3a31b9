"""Where the tracks of a MIDI file lie: its header, its chunks, and the wrappings that files come in.

Headers and chunks of real files lie: they count tracks that are not there, a length is too long or too short, padding
stands between chunks, the last byte is gone. A track says itself where it ends, by its end-of-track event, so that is
what is believed: every track that is whole is read, and a remark says what was wrong. A track that breaks off in the
middle of its music is an error.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from musicgen.data_prep import limits
from musicgen.data_prep.errors import MidiError, counted

HEADER, TRACK = b"MThd", b"MTrk"
_PACKED = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip file", b"7z\xbc\xaf": "a 7z archive"}
_END_BEGUN = re.compile(rb"[\x80-\xff]{0,3}[\x00-\x7f]?\xff?", re.DOTALL)
_LIKELY = re.compile(rb"MThd\0\0..\0[\0-\2]", re.DOTALL)  # the name alone may stand in what is before a header
_NAME = re.compile(rb"[ -~]{4}")
_END_LENGTH = 7  # bytes of an end-of-track event with the longest delta time
_MOST_MISSING = 5  # of them; no event with a note, and that one behind it, is so short


class Header(NamedTuple):
    """What the header chunk says, and where the chunk after it begins."""

    kind: int
    promised: int
    division: int
    position: int


class BrokenOffError(MidiError):
    """A track that ends inside an event; ``at`` is where that event begins."""

    def __init__(self, message: str, at: int) -> None:
        """message: one line."""
        super().__init__(message)
        self.at = at


class _Lies(NamedTuple):
    """What was wrong with chunks: tracks that lack their end, of wrong lengths, and with more behind their end, by
    number; bytes between them."""

    unended: set[int]
    lengths: set[int]
    longer: set[int]
    stray: int

    def remarks(self) -> list[str]:
        told = [
            (self.lengths, "the length of {} is wrong: all up to the end-of-track event is read"),
            (self.unended, "the last bytes of {} are missing: all of the music is there"),
            (self.longer, "what stands in {} behind the end-of-track event is left out"),
        ]
        remarks = [
            text.format(f"track {min(tracks)}" if len(tracks) == 1 else f"{len(tracks):,} tracks")
            for tracks, text in told
            if tracks
        ]
        if self.stray:
            remarks.append(f"{self.stray:,} stray byte{'' if self.stray == 1 else 's'} between tracks passed over")
        return remarks


class Track(Protocol):
    """A track as far as its place matters: where its end-of-track event ends (None: it has none)."""

    end: int | None


T = TypeVar("T", bound=Track)


def unwrap(data: bytes) -> tuple[bytes, list[str]]:
    """The bytes from the header on, without what stands before it (RIFF, MacBinary, junk), and a remark on that."""
    if not data:
        raise MidiError("the file is empty; give a MIDI file")
    packed = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    packed = "a tar archive" if data[257:262] == b"ustar" else packed
    if packed is not None:
        raise MidiError(f"this is {packed}, not a MIDI file; unpack it and give a .mid file")
    riff = data[:4] == b"RIFF" and data[8:12] == b"RMID"
    most = len(data) if riff else limits.MIDI_JUNK_BYTES + len(HEADER)
    likely = _LIKELY.search(data, 0, most + 6)
    begins = likely.start() if likely else data.find(HEADER, 0, most)
    if begins < 0:
        raise MidiError("this is not a Standard MIDI File (no MThd in it); give a .mid file")
    if begins == 0:
        return data, []
    where = "inside a RIFF file (RMID)" if riff else "after something else"
    return data[begins:], [f"the MIDI file begins at byte {begins:,}, {where}"]


def read_header(data: bytes) -> Header:
    """The header of a file that begins with MThd. Raises MidiError if it has no meaning."""
    if len(data) < 14:
        raise MidiError(f"the file is truncated at byte {len(data)}, inside its header; get a complete copy")
    size, kind, promised, division = struct.unpack(">IHHH", data[4:14])
    if size < 6:
        raise MidiError(f"the header at byte 4 has {size} bytes where 6 are the least; this is not a usable MIDI file")
    if kind > 2:
        raise MidiError(f"byte 8 gives MIDI file type {kind}; only types 0, 1 and 2 are known")
    if division == 0 or (division & 0x8000 and (256 - (division >> 8) not in (24, 25, 29, 30) or not division & 0xFF)):
        raise MidiError(f"the time division {division:#06x} at byte 12 has no meaning; export the file again")
    return Header(kind, promised, division, 8 + size if _fits(data, 8 + size) else 14)


def read_tracks(data: bytes, header: Header, read: Callable[[int, int], T]) -> tuple[list[T], list[str]]:
    """Every whole track of the file, and remarks on what in it was not as promised.

    Args:
        data: the file, its header first.
        header: of it.
        read: reads the track between two bytes, up to its end-of-track event if it has one; MidiError for damage.

    Raises MidiError for a promised track that is damaged, for too many tracks, and if there is none of
    those promised.
    """
    tracks: list[T] = []
    found = _Lies(set(), set(), set(), 0)
    remarks: list[str] = []
    position, chunks = header.position, 0
    while position >= 0 and position + 8 <= len(data):
        name = data[position : position + 4]
        start, stop = position + 8, position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        if name == HEADER:
            remarks.append(f"another MIDI file begins at byte {position:,}: only the first is read")
            break
        chunks += 1
        if chunks > limits.MIDI_CHUNKS:
            raise MidiError(f"the file holds more than {limits.MIDI_CHUNKS:,} tracks, too many for a piece")
        if name == TRACK:
            try:
                track, position = _read_track(data, start, stop, len(tracks) + 1, read, found)
            except MidiError:
                if len(tracks) < max(header.promised, 1):
                    raise
                remarks.append(f"what stands behind the {header.promised} promised tracks is damaged and left out")
                break
            tracks.append(track)
        elif _NAME.match(name):
            position = stop if _fits(data, stop) else data.find(TRACK, start)
        else:
            following = data.find(TRACK, position)
            if following < 0:
                break
            found = found._replace(stray=found.stray + following - position)
            position = following
    if position >= 0 and data[position:].strip(b"\0") and not remarks:
        remarks.append(f"{counted(len(data) - position, 'byte')} behind the last track passed over")
    if not tracks and header.promised:
        raise MidiError(
            f"the file is truncated at byte {len(data)}: it promises {_tracks(header.promised)} and holds none; "
            "get a complete copy"
        )
    if len(tracks) != header.promised:
        remarks.append(f"the header promises {_tracks(header.promised)}, the file holds {len(tracks):,}")
    return tracks, remarks + found.remarks()


def _read_track(
    data: bytes, start: int, stop: int, number: int, read: Callable[[int, int], T], found: _Lies
) -> tuple[T, int]:
    """A track whose chunk claims the bytes from start to stop, and where the next chunk begins (-1: nowhere)."""
    known = len(data)
    try:
        track = read(start, min(stop, known))
        if track.end is None and not _fits(data, stop):
            track = _read_otherwise(data, start, stop, read, track)
    except MidiError as error:
        if _fits(data, stop):
            raise
        track = _read_otherwise(data, start, stop, read, error)
    end = track.end
    if end is None:
        if stop > known:
            found.unended.add(number)
        return track, stop
    # The byte behind the two of the event is its length, 0 in nearly all files.
    following = data.find(TRACK, end, end + 5)
    if stop in (following, end + 1 if following < 0 else -1) or (following < 0 and _fits(data, stop)):
        if end + 1 > known:
            found.unended.add(number)
        if data[end + 1 + sum(data[end : end + 1]) : stop].strip(b"\0"):
            found.longer.add(number)
        return track, stop
    found.lengths.add(number)
    return track, data.find(TRACK, end)


def _read_otherwise(data: bytes, start: int, stop: int, read: Callable[[int, int], T], first: T | MidiError) -> T:
    """A track whose chunk's length leads to nothing that could be a chunk: read up to its end-of-track event, or, if
    no more than that is missing at the end of the file, without it."""
    following = data.find(TRACK, start)
    try:
        track = read(start, following if following >= 0 else len(data))
        if track.end is not None:
            return track
    except MidiError:
        pass
    if stop <= len(data):
        if isinstance(first, MidiError):
            raise first
        return first
    at = first.at if isinstance(first, BrokenOffError) else len(data)
    broken = isinstance(first, MidiError) and not isinstance(first, BrokenOffError)
    lost = stop - at > _END_LENGTH or stop - len(data) > _MOST_MISSING
    if broken or lost or not _END_BEGUN.fullmatch(data[at:]):
        raise MidiError(
            f"the file is truncated at byte {len(data)}: the chunk at byte {start - 8} lasts until "
            f"byte {stop}; get a complete copy"
        )
    return read(start, at)


def _fits(data: bytes, position: int) -> bool:
    """Whether the file ends there, or what might be a chunk begins."""
    return position == len(data) or (position + 8 <= len(data) and _NAME.match(data, position) is not None)


def _tracks(number: int) -> str:
    return f"{number:,} track{'' if number == 1 else 's'}" if number else "no track"
