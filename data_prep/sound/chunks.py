"""Sound in chunks (WAV and its 64-bit kinds, AIFF, CAF, AU): where it begins and ends, whatever the header says.

Recorders that were switched off and programs that write into a pipe leave 0 or the largest number in the place of a
size; others forget the byte that fills up a chunk of odd length.
"""

from __future__ import annotations

import itertools
import struct
from typing import NamedTuple

from musicgen.data_prep import limits
from musicgen.data_prep.sound.splice import Data, Part

MOST_CHUNKS = 10_000
LARGEST_HEADER = 2**16  # bytes of a chunk that describes the sound
CAF = b"caff\0\1\0\0desc"  # its header, and the chunk that comes first
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
    """Of a file in chunks, or of several one after the other; empty if it is none, or has no sound."""
    starts, at, ahead = list[int](), 0, _Ahead(data)
    while at < len(data) and len(starts) <= limits.AUDIO_PIECES and _kind(data, at) is not None:
        starts.append(at)
        sound = _sound(data, at)  # in it the next file is looked for only where its size is not known
        at = ahead.find(sound.stop if sound.stop <= len(data) else sound.start)
    found = [_read(data, begin, last) for begin, last in itertools.pairwise([*starts, len(data)])]
    return [one for one in found if one is not None]


def _kind(data: Data, at: int) -> bytes | None:
    """Of the file that begins there: WAVE, FORM, caff or .snd; None if it is none of these."""
    begins, form = data[at : at + 4], data[at + 8 : at + 12]
    if begins in WAVES and form == b"WAVE":
        return form
    named = begins == b"FORM" and form in (b"AIFF", b"AIFC")
    return begins if named or begins in (b"caff", b".snd") else None


def _read(data: Data, begin: int, last: int) -> Found | None:
    """The file in these bytes."""
    read = {b"WAVE": _wave, b"FORM": _aiff, b"caff": _caf, b".snd": _au}
    return read[_kind(data, begin) or b""](data, begin, last)


def _sound(data: Data, begin: int) -> Chunk:
    """The sound of the file that begins there; empty, behind its first bytes, if there is none."""
    kind = _kind(data, begin)
    if kind == b".snd":
        return _sound_of_au(data, begin)
    start, size, name = {
        b"WAVE": (12, (">" if data[begin : begin + 4] == b"RIFX" else "<") + "I", b"data"),
        b"FORM": (12, ">I", b"SSND"),
        b"caff": (8, ">Q", b"data"),
    }[kind or b""]
    chunks = _walk(data, begin + start, len(data), size, name)
    return chunks.get(name, Chunk(b"", begin + start, begin + start))


class _Ahead:
    """Where the next file begins.  Each kind is looked for once in all bytes, as most files are one."""

    def __init__(self, data: Data) -> None:
        self.data, self.found = data, dict.fromkeys((b"WAVE", b"AIFF", b"AIFC", CAF, b".snd"), -1)

    def find(self, at: int) -> int:
        """From this byte on, which is not less than the last time; the end of the data if none does."""
        for word, found in self.found.items():
            if found < at:
                self.found[word] = self._next(word, at)
        return min(self.found.values())

    def _next(self, word: bytes, at: int) -> int:
        before = 0 if word in (CAF, b".snd") else 8
        while (place := self.data.find(word, at + before)) >= 0:
            at = place - before
            first, follows = self.data[at : at + 4], self.data[at + 12 : at + 16]
            if (
                (word == b"WAVE" and first in WAVES and follows in FIRST)
                or (first == b"FORM" and _begins(self.data, at + 12, ">I"))
                or word == CAF
                or (word == b".snd" and self._is_au(at))
            ):
                return at
            at += 4
        return len(self.data)

    def _is_au(self, at: int) -> bool:
        header = self.data[at : at + 24]
        if len(header) < 24:
            return False
        offset, _, encoding, rate, channels = struct.unpack(">5I", header[4:])
        lowest, highest = limits.AUDIO_RATES
        return 24 <= offset <= LARGEST_HEADER and 0 < encoding < 28 and lowest <= rate <= highest and 0 < channels < 256


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


def _aiff(data: Data, begin: int, last: int) -> Found | None:
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
    return Found([b"FORM" + struct.pack(">I", size) + head, slice(sound.start, stop)], missing)


def _caf(data: Data, begin: int, last: int) -> Found | None:
    sound = _sound(data, begin)
    if sound.name != b"data":
        return None
    stop, missing = _end(data, sound, last, ">Q")
    size = struct.pack(">Q", stop - sound.start)
    return Found([slice(begin, sound.start - 8), size, slice(sound.start, last)], missing)  # a table may follow


def _au(data: Data, begin: int, last: int) -> Found | None:
    """All behind the header is sound."""
    if begin + 24 >= last:
        return None
    stop = _sound_of_au(data, begin).stop
    return Found([slice(begin, begin + 8), b"\xff" * 4, slice(begin + 12, last)], max(0, stop - last))


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
