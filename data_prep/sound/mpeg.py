"""MP3: runs of frames, each with a first frame that says truly how many follow.

Without that frame a decoder guesses a file's length from its first moments, and with a wrong one, as of the first of
two files that were joined, it believes it. So the frames are counted: from header to header, which decodes nothing.
What lies between runs, such as tags, is left out.
"""

from __future__ import annotations

import struct

import numpy as np

from musicgen.data_prep.sound.splice import Data, Found, Part

KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
LAYER_3 = 1
FRAMES = 3_000_000  # more than half a day of the shortest, which is more than anybody reads
LEAST = 3  # frames of a run; fewer are bytes that happen to look like one
BLOCK = 2**16  # bytes in which a run is looked for at a time


def _length(two: int) -> int:
    """Bytes of a frame with these two bytes after the first of its header; 0 if there is none."""
    version, layer, rate = two >> 11 & 3, two >> 9 & 3, two >> 2 & 3
    if two >> 13 != 7 or layer != LAYER_3 or version == 1 or rate == 3 or two >> 4 & 15 in (0, 15):
        return 0
    kbps = KBPS[3 if version == 3 else 2][two >> 4 & 15]
    return (144_000 if version == 3 else 72_000) * kbps // RATES[version][rate] + (two >> 1 & 1)


LENGTHS = [_length(two) for two in range(1 << 16)]
_LENGTHS = np.array(LENGTHS)
ROOM = LEAST * max(LENGTHS) + 3  # behind the first byte of a run, for the headers of its first frames
KIND = 0xFE0C  # of those two bytes: version, layer and rate, which are the same in all frames of a run


def read_mpeg(data: Data, begin: int) -> Found:
    """The run of frames that begins there; it is cut if it has fewer than it says."""
    stop, frames = _run(data, begin)
    parts = _counted(data, begin, stop, frames) if frames >= LEAST else []
    return Found(parts, max(stop, begin + 1), cut=frames < _promised(data, begin))


def find_mpeg(data: Data, at: int) -> int:
    """Where the next run of frames begins, from this byte on; the end of the data if none does."""
    for block in range(at, len(data), BLOCK):
        x = np.frombuffer(data[block : block + BLOCK + ROOM].ljust(BLOCK + ROOM, b"\0"), np.uint8)
        first = place = np.flatnonzero(x[:BLOCK] == 0xFF)
        kind: np.ndarray | None = None
        for _ in range(LEAST):
            two = x[place + 1].astype(np.int64) << 8 | x[place + 2]
            like = (x[place] == 0xFF) & (_LENGTHS[two] > 0)
            if kind is not None:
                like &= two & KIND == kind
            first, kind, place = first[like], two[like] & KIND, (place + _LENGTHS[two])[like]
        if len(first):
            return block + int(first[0])
    return len(data)


def _run(data: Data, at: int) -> tuple[int, int]:
    """(where the run of frames from here ends, how many it has): at other bytes, or where the next file begins."""
    kind, frames, size = _two(data, at) & KIND, 0, len(data)
    while at + 4 <= size and data[at] == 0xFF and frames < FRAMES:
        two = data[at + 1] << 8 | data[at + 2]
        length = LENGTHS[two]
        if not length or two & KIND != kind or at + length > size or (frames and _info_at(data, at)):
            break
        at, frames = at + length, frames + 1
    return at, frames


def skip_tags(data: Data, at: int) -> int:
    """Behind the ID3v2 tags that begin there."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        at = tag_end(data, at)
    return at


def tag_end(data: Data, at: int) -> int:
    """Behind the ID3v2 tag that begins there."""
    size = 0
    for byte in data[at + 6 : at + 10]:
        size = size << 7 | byte & 127
    return at + 10 + size


def _two(data: Data, at: int) -> int:
    return int.from_bytes(data[at + 1 : at + 3].ljust(2, b"\0"), "big")


def _info_at(data: Data, at: int) -> int:
    """Where the frame at this place says Xing or Info, which makes it the first of a file; 0 if it does not."""
    mono, mpeg1 = data[at + 3] >> 6 == 3, data[at + 1] >> 3 & 3 == 3
    place = at + 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    return place if data[place : place + 4] in (b"Xing", b"Info") else 0


def _promised(data: Data, at: int) -> int:
    """The frames that follow the one at this place, if it says so."""
    place = _info_at(data, at)
    return int.from_bytes(data[place + 8 : place + 12], "big") if place and data[place + 7] & 1 else 0


def _counted(data: Data, start: int, stop: int, frames: int) -> list[Part]:
    """The run, behind a first frame that says how many follow."""
    place = _info_at(data, start)
    if not place:
        return [_info(data[start : start + 4], frames), slice(start, stop)]
    if not data[place + 7] & 1:  # it does not say how many
        first = LENGTHS[_two(data, start)]
        return [_info(data[start : start + 4], frames - 1), slice(start + first, stop)]
    if int.from_bytes(data[place + 8 : place + 12], "big") in (frames - 1, frames):
        return [slice(start, stop)]
    return [slice(start, place + 8), struct.pack(">I", frames - 1), slice(place + 12, stop)]


def _info(header: bytes, frames: int) -> bytes:
    """A silent frame of 64 kbps that says how many follow, for a run with this header."""
    mpeg1 = header[1] >> 3 & 3 == 3
    header = bytes([0xFF, header[1] | 1, (header[2] & 0x0C) | (0x50 if mpeg1 else 0x80), header[3]])
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    frame = header + bytes(side) + b"Info" + struct.pack(">II", 1, frames)
    return frame.ljust(LENGTHS[header[1] << 8 | header[2]], b"\0")
