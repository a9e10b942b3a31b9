"""Sound in chunks (WAV and its 64-bit kinds, AIFF, CAF, AU): where it begins and ends, whatever the header says.

Recorders that were switched off and programs that write into a pipe leave 0 or the largest number in the place of a
size; others forget the byte that fills up a chunk of odd length.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from musicgen.data_prep.sound.splice import Data, Found, Next, Part

MOST_CHUNKS = 10_000
LARGEST_HEADER = 2**16  # bytes of a chunk that describes the sound
AU = b".snd"
UNKNOWN = (0, 2**32 - 1)
WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
FIRST = (b"fmt ", b"ds64", b"JUNK", b"bext", b"fact", b"LIST")  # what a WAV begins with
FIRST_OF_AIFF = (
    b"COMM",
    b"FVER",
    b"SSND",
    b"COMT",
    b"MARK",
    b"INST",
    b"APPL",
    b"NAME",
    b"AUTH",
    b"ANNO",
    b"ID3 ",
    b"CHAN",
)
# How each kind begins, and how many bytes in front of the match, which begins with letters so as to be found quickly.
BEGINNINGS = {
    re.compile(rb"WAVE(?<=(?:RIFF|RIFX|RF64|BW64)....WAVE)(?:%b)" % b"|".join(FIRST), re.DOTALL): 8,
    re.compile(rb"AIF[FC](?<=FORM....AIF[FC])(?:%b)" % b"|".join(FIRST_OF_AIFF), re.DOTALL): 8,
    re.compile(rb"caff\x00\x01\x00\x00desc"): 0,
    re.compile(rb"\.snd\x00\x00......\x00\x00\x00[\x01-\x1b]\x00[\x00-\x02]..\x00\x00\x00[\x01-\xff]", re.DOTALL): 0,
}


class Chunk(NamedTuple):
    """Its name and, in the file, the first byte of its content and the byte after the last that it promises."""

    name: bytes
    start: int
    stop: int


def read_chunks(data: Data, begin: int, following: Next) -> Found:
    """The file in chunks that begins there; without parts if it has no sound."""
    sound = _sound(data, begin)  # in it the next file is looked for only where its size is not known
    last = following(sound.stop if sound.stop <= len(data) else sound.start)
    read = {b"WAVE": _wave, b"FORM": _aiff, b"caff": _caf, AU: _au}
    parts, missing = read[kind_of_chunks(data, begin) or b""](data, begin, last) or ([], 0)
    return Found(parts, last, missing)


def kind_of_chunks(data: Data, at: int) -> bytes | None:
    """Of the file that begins there: WAVE, FORM, caff or .snd; None if it is none of these."""
    begins, form = data[at : at + 4], data[at + 8 : at + 12]
    if begins in WAVES and form == b"WAVE":
        return form
    named = begins == b"FORM" and form in (b"AIFF", b"AIFC")
    return begins if named or begins in (b"caff", AU) else None


def _sound(data: Data, begin: int) -> Chunk:
    """The sound of the file that begins there; empty, behind its first bytes, if there is none."""
    kind = kind_of_chunks(data, begin)
    if kind == AU:
        return _sound_of_au(data, begin)
    start, size, name = {
        b"WAVE": (12, (">" if data[begin : begin + 4] == b"RIFX" else "<") + "I", b"data"),
        b"FORM": (12, ">I", b"SSND"),
        b"caff": (8, ">Q", b"data"),
    }[kind or b""]
    chunks = _walk(data, begin + start, len(data), size, name)
    return chunks.get(name, Chunk(b"", begin + start, begin + start))


def _wave(data: Data, begin: int, last: int) -> tuple[list[Part], int] | None:
    """The WAV in these bytes of the file, and how many its header promises that are not there."""
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
        begins = [form if order == ">" else b"RIFF", next(sizes), b"WAVE", head + b"data" + next(sizes)]
        return [*begins, slice(sound.start, stop)], missing
    long = b"ds64" + struct.pack("<IQQQI", 28, 4 + 36 + len(head) + 8 + size, size, 0, 0)
    begins = [b"RF64\xff\xff\xff\xffWAVE" + long + head + b"data\xff\xff\xff\xff"]
    return [*begins, slice(sound.start, stop)], missing


def _aiff(data: Data, begin: int, last: int) -> tuple[list[Part], int] | None:
    chunks = _walk(data, begin + 12, last, ">I", b"SSND")
    if b"SSND" in chunks and b"COMM" not in chunks:  # the description may come behind the sound
        chunks |= _walk(data, _end(data, chunks[b"SSND"], last, ">I")[0], last, ">I", b"COMM")
    if b"SSND" not in chunks or b"COMM" not in chunks:
        return None
    sound = chunks[b"SSND"]
    stop, missing = _end(data, sound, last, ">I")
    form, size = data[begin + 8 : begin + 12], min(stop - sound.start, 2**32 - 1)
    head = form + _copy(data, chunks[b"COMM"], ">") + b"SSND" + struct.pack(">I", size)
    size = min(len(head) + stop - sound.start, 2**32 - 1)
    return [b"FORM" + struct.pack(">I", size) + head, slice(sound.start, stop)], missing


def _caf(data: Data, begin: int, last: int) -> tuple[list[Part], int] | None:
    sound = _sound(data, begin)
    if sound.name != b"data":
        return None
    stop, missing = _end(data, sound, last, ">Q")
    size = struct.pack(">Q", stop - sound.start)
    return [slice(begin, sound.start - 8), size, slice(sound.start, last)], missing  # a table may follow


def _au(data: Data, begin: int, last: int) -> tuple[list[Part], int] | None:
    """All behind the header is sound."""
    if begin + 24 >= last:
        return None
    stop = _sound_of_au(data, begin).stop
    return [slice(begin, begin + 8), b"\xff" * 4, slice(begin + 12, last)], max(0, stop - last)


def _sound_of_au(data: Data, begin: int) -> Chunk:
    offset, size = struct.unpack(">II", data[begin + 4 : begin + 12].ljust(8, b"\xff"))
    start = min(begin + offset, len(data))
    return Chunk(b"", start, start if size in UNKNOWN else start + size)


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
