"""Sound in chunks (WAV and its 64-bit kinds, AIFF, CAF, AU): where it begins and ends, whatever the header says.

Recorders that were switched off and programs that write into a pipe leave 0 or the largest number in the place of a
size; others forget the byte that fills up a chunk of odd length.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

from musicgen.data_prep import limits
from musicgen.data_prep.sound.splice import Data, Part

MOST_CHUNKS = 10_000
LARGEST_HEADER = 2**16  # bytes of a chunk that describes the sound
UNKNOWN = (0, 2**32 - 1)
WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
FIRST = (b"fmt ", b"ds64", b"JUNK", b"bext", b"fact", b"LIST")  # what a WAV begins with


class Chunk(NamedTuple):
    """Its name and, in the file, the first byte of its content and the byte after the last that it promises."""

    name: bytes
    start: int
    stop: int


class Found(NamedTuple):
    """The sound's own file in parts, and bytes of it that its header promises but that are not there."""

    parts: list[Part]
    missing: int


def read_chunks(data: Data) -> list[Found]:
    """Of a file in chunks, or of several WAVs one after the other; empty if it is none, or has no sound."""
    if data[:4] in WAVES and data[8:12] == b"WAVE":
        starts = itertools.islice(_waves(data), limits.AUDIO_PIECES + 1)
        found = [_wave(data, at, stop) for at, stop in itertools.pairwise([*starts, len(data)])]
    elif data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        found = [_aiff(data)]
    elif data[:4] == b"caff":
        found = [_caf(data)]
    elif data[:4] == b".snd" and len(data) > 24:  # all behind the header is sound
        found = [Found([slice(0, 8), b"\xff" * 4, slice(12, len(data))], 0)]
    else:
        found = []
    return [one for one in found if one is not None]


def _waves(data: Data) -> Iterator[int]:
    """Where each of the WAVs begins; within sound the next is looked for only where its size is not known."""
    at = 0
    while at >= 0:
        yield at
        size = (">" if data[at : at + 4] == b"RIFX" else "<") + "I"
        sound = _walk(data, at + 12, len(data), size, b"data").get(b"data", Chunk(b"", at + 12, at + 12))
        at = _next_wave(data, sound.stop if sound.stop <= len(data) else sound.start)


def _next_wave(data: Data, at: int) -> int:
    """Where the first WAV behind this byte begins, -1 if none does."""
    while (at := data.find(b"WAVE", at)) >= 0:
        if data[at - 8 : at - 4] in WAVES and data[at + 4 : at + 8] in FIRST:
            return at - 8
        at += 4
    return -1


def _wave(data: Data, begin: int, last: int) -> Found | None:
    """The WAV in these bytes of the file."""
    form = data[begin : begin + 4]
    order = ">" if form == b"RIFX" else "<"
    chunks = _walk(data, begin + 12, last, order + "I", b"data")
    if b"data" not in chunks or b"fmt " not in chunks:
        return None
    sound = chunks[b"data"]
    if sound.stop - sound.start == UNKNOWN[1] and b"ds64" in chunks:
        (size,) = struct.unpack("<Q", data[chunks[b"ds64"].start + 8 :][:8].ljust(8, b"\0"))
        sound = sound._replace(stop=sound.start + size)
    stop, missing = _end(data, sound, last, order + "I")
    head = b"".join(_copy(data, chunks[name], order) for name in (b"fmt ", b"fact") if name in chunks)
    size = stop - sound.start
    if 4 + len(head) + 8 + size < 2**32:
        sizes = (struct.pack(order + "I", number) for number in (4 + len(head) + 8 + size, size))
        return Found([form if order == ">" else b"RIFF", next(sizes), b"WAVE", head + b"data" + next(sizes),
                      slice(sound.start, stop)], missing)  # fmt: skip
    long = b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + len(head) + 8 + size, size, 0, 0)
    return Found(
        [b"RF64\xff\xff\xff\xffWAVE" + long + head + b"data\xff\xff\xff\xff", slice(sound.start, stop)], missing
    )


def _aiff(data: Data) -> Found | None:
    chunks = _walk(data, 12, len(data), ">I", b"SSND")
    if b"SSND" in chunks and b"COMM" not in chunks:  # the description may come behind the sound
        chunks |= _walk(data, _end(data, chunks[b"SSND"], len(data), ">I")[0], len(data), ">I", b"COMM")
    if b"SSND" not in chunks or b"COMM" not in chunks:
        return None
    sound = chunks[b"SSND"]
    stop, missing = _end(data, sound, len(data), ">I")
    head = (
        data[8:12] + _copy(data, chunks[b"COMM"], ">") + b"SSND" + struct.pack(">I", min(stop - sound.start, 2**32 - 1))
    )
    size = min(len(head) + stop - sound.start, 2**32 - 1)
    return Found([b"FORM" + struct.pack(">I", size) + head, slice(sound.start, stop)], missing)


def _caf(data: Data) -> Found | None:
    chunks = _walk(data, 8, len(data), ">Q", b"data")
    if b"data" not in chunks:
        return None
    sound = chunks[b"data"]
    stop, missing = _end(data, sound, len(data), ">Q")
    size = struct.pack(">Q", stop - sound.start)
    return Found([slice(0, sound.start - 8), size, slice(sound.start, len(data))], missing)  # a table may follow


def _walk(data: Data, at: int, end: int, size: str, last: bytes) -> dict[bytes, Chunk]:
    """The first chunk of each name, from `at` to `end` or that of the name `last`; size: how lengths are written."""
    found: dict[bytes, Chunk] = {}
    width = struct.calcsize(size)
    for _ in range(MOST_CHUNKS):
        if at + 4 + width > end or last in found:
            break
        (length,) = struct.unpack(size, data[at + 4 : at + 4 + width])
        chunk = Chunk(data[at : at + 4], at + 4 + width, at + 4 + width + length)
        found.setdefault(chunk.name, chunk)
        at = chunk.stop
        if length % 2 and width == 4 and not _unpadded(data, at, size, last):
            at += 1  # chunks have an even length, or should have
    return found


def _end(data: Data, sound: Chunk, end: int, size: str) -> tuple[int, int]:
    """Where the sound ends in a file that ends at `end`, and how many bytes are missing there."""
    length = sound.stop - sound.start
    width = struct.calcsize(size)
    if length >= 2 ** (8 * width) - 1 or (length == 0 and not _begins(data, sound.start, size)):
        return end, 0
    if sound.stop > end:
        return end, sound.stop - end
    rest = end - sound.stop
    if rest <= 4 + width or any(_begins(data, sound.stop + pad, size) for pad in (0, 1)):
        return sound.stop, 0
    return end, 0  # what follows is no chunk: the size was never brought up to date


def _begins(data: Data, at: int, size: str) -> bool:
    """Whether a chunk can begin there."""
    width = struct.calcsize(size)
    name, length = data[at : at + 4], data[at + 4 : at + 4 + width]
    if len(length) < width or not all(32 <= byte < 127 for byte in name):
        return False
    return bool(struct.unpack(size, length)[0] <= len(data) - at)


def _unpadded(data: Data, at: int, size: str, last: bytes) -> bool:
    """Whether the next chunk begins at this odd place: letters one byte later may be those of its own name and size."""
    return _begins(data, at, size) and (data[at : at + 4] in (*FIRST, last) or not _begins(data, at + 1, size))


def _copy(data: Data, chunk: Chunk, order: str) -> bytes:
    content = data[chunk.start : min(chunk.stop, chunk.start + LARGEST_HEADER)]
    return chunk.name + struct.pack(order + "I", len(content)) + content + b"\0" * (len(content) % 2)
