"""FLAC and Ogg (Vorbis, Opus, FLAC): files that may be several, one after the other."""

from __future__ import annotations

import re

from musicgen.data_prep.sound.splice import Data, Found, Next, Part

FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22", re.DOTALL)
OGG = re.compile(rb"OggS\0[\2\3\6\7]\0{8}", re.DOTALL)  # a page that begins a stream
TOTAL = 8 + 13  # where a FLAC says how many samples it has: in 36 bits, of which 4 share a byte
PAGE = 27  # bytes of an Ogg page before the table of its segments
PAGES = 3_000_000  # days of Vorbis
BEGINS, ENDS = 2, 4  # flags of an Ogg page


def read_flac(data: Data, begin: int, following: Next) -> Found:
    """The FLAC that begins there, which says that it does not know how long it is.

    0 is what a recorder leaves there that cannot go back, and any other number would be believed.
    """
    stop = following(min(begin + 8, len(data)))
    return Found(_unknown_length(data, begin, stop), stop)


def _unknown_length(data: Data, at: int, stop: int) -> list[Part]:
    first = at + TOTAL
    return [
        slice(at, first),
        bytes([data[first] & 0xF0 if first < stop else 0]) + bytes(4),
        slice(min(first + 5, stop), stop),
    ]


def read_ogg(data: Data, begin: int, following: Next) -> Found:
    """The link of a chain that begins there: up to a page that begins a stream, after one that does not.

    It is cut if its last page is not the last of its stream.
    """
    at, begun, cut = begin, False, False
    for _ in range(PAGES):
        page = data.find(b"OggS", at)
        if page < 0 or (page > at and following(at) <= page):
            break
        segments = data[page + PAGE : page + PAGE + data[page + PAGE - 1]] if page + PAGE <= len(data) else b""
        stop = page + PAGE + len(segments) + sum(segments)
        if stop > len(data) or page + PAGE > len(data):
            break  # a page that is cut off counts for nothing
        begins = bool(data[page + 5] & BEGINS)
        if begins and begun:
            break
        begun, at, cut = begun or not begins, stop, not data[page + 5] & ENDS
    return Found([slice(begin, at)] if at > begin else [], max(at, begin + 4), cut=cut)
