"""FLAC and Ogg (Vorbis, Opus, FLAC): files that may be several, one after the other."""

from __future__ import annotations

import itertools
import re

from musicgen.data_prep.sound.splice import Data, Part, Pieces

FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22", re.DOTALL)
TOTAL = 8 + 13  # where a FLAC says how many samples it has: in 36 bits, of which 4 share a byte
PAGE = 27  # bytes of an Ogg page before the table of its segments
PAGES = 3_000_000  # days of Vorbis
BEGINS, ENDS = 2, 4  # flags of an Ogg page


def read_flac(data: Data, start: int) -> Pieces:
    """The FLAC streams from `start` on, which say that they do not know how long they are.

    0 is what a recorder leaves there that cannot go back, and any other number would be believed.
    """
    starts = [match.start() for match in FLAC.finditer(data, start)]
    return [_unknown_length(data, at, stop) for at, stop in itertools.pairwise([*starts, len(data)])]


def _unknown_length(data: Data, at: int, stop: int) -> list[Part]:
    first = at + TOTAL
    return [
        slice(at, first),
        bytes([data[first] & 0xF0 if first < stop else 0]) + bytes(4),
        slice(min(first + 5, stop), stop),
    ]


def read_ogg(data: Data) -> tuple[Pieces, bool]:
    """The links of a chain: a page that begins a stream, after one that does not, begins the next.

    And whether the last page is not the last of its stream.
    """
    starts, at, end, begun, cut = [], 0, 0, False, False
    for _ in range(PAGES):
        at = data.find(b"OggS", at)
        if at < 0:
            break
        segments = data[at + PAGE : at + PAGE + data[at + PAGE - 1]] if at + PAGE <= len(data) else b""
        stop = at + PAGE + len(segments) + sum(segments)
        if stop > len(data) or at + PAGE > len(data):
            break  # a page that is cut off counts for nothing
        begins = bool(data[at + 5] & BEGINS)
        if begins and not begun:
            starts.append(at)
        begun, at, cut = begins, stop, not data[at + 5] & ENDS
        end = stop
    return [[slice(at, stop)] for at, stop in itertools.pairwise([*starts, end])], cut
