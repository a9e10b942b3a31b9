"""Where in a file the next sound file begins, of whatever kind."""

from __future__ import annotations

import functools
import re

from musicgen.data_prep.sound import chunks
from musicgen.data_prep.sound.mpeg import find_mpeg, tag_end
from musicgen.data_prep.sound.splice import Data, Next
from musicgen.data_prep.sound.streams import FLAC, OGG

BEGINNINGS = chunks.BEGINNINGS | {FLAC: 0, OGG: 0}  # and how many bytes in front of the match
TAG = re.compile(rb"ID3[\2-\4][\0-\x0f].[\0-\x7f]{4}", re.DOTALL)


def look_ahead(data: Data) -> Next:
    """What finds the next file, asked for bytes that are not less than the last time.

    Each kind is looked for once in all bytes, as most files are one.
    """
    found: dict[Next, int] = {functools.partial(find_mpeg, data): -1}
    for beginning, before in BEGINNINGS.items():
        found[functools.partial(_find, data, beginning, before)] = -1

    def following(at: int) -> int:
        for find, place in found.items():
            if place < at:
                found[find] = find(at)
        return _with_tags(data, at, min(found.values()))

    return following


def _find(data: Data, beginning: re.Pattern[bytes], before: int, at: int) -> int:
    found = beginning.search(data, at + before)
    return found.start() - before if found else len(data)


def _with_tags(data: Data, at: int, begins: int) -> int:
    """Where the tags begin that a file has in front, from this byte on; its own beginning if it has none."""
    first = end = -1
    for tag in TAG.finditer(data, at, begins):
        if tag.start() > end:
            first = tag.start()
        if tag.start() >= end:
            end = tag_end(data, tag.start())
        if end == begins:
            return first
        if end > begins:  # three letters that happen to be there
            end = -1
    return begins
