"""What of a file is sound: one or several sound files in it, put right so that a decoder gives all of them back.

Files that are joined are read one after the other, whatever kind each is of. Where one ends is known from its own
sizes or, where it has none to be believed, from where the next begins.
"""

from __future__ import annotations

from typing import NamedTuple

from musicgen.data_prep import limits
from musicgen.data_prep.sound.ahead import look_ahead
from musicgen.data_prep.sound.chunks import kind_of_chunks, read_chunks
from musicgen.data_prep.sound.mpeg import find_mpeg, read_mpeg, skip_tags
from musicgen.data_prep.sound.other import Kind, find_kind
from musicgen.data_prep.sound.splice import Data, Found, Next, Part
from musicgen.data_prep.sound.streams import read_flac, read_ogg

LEADING = 2**16  # bytes that may stand before the first frame of an MP3, apart from tags


class Sounds(NamedTuple):
    """Sound files one after the other, each in parts, and bytes that the header of the last promises in vain.

    other: what they are, if libsndfile does not read them.  cut: whether the end of the last is missing, nobody knows
    how many bytes of it.
    """

    pieces: list[list[Part]]
    missing: int = 0
    other: Kind | None = None
    cut: bool = False


def find_sounds(data: Data) -> Sounds:
    """Of a file's bytes; the whole of them if they are of no kind that is known here."""
    whole: list[list[Part]] = [[slice(0, len(data))]]
    other = find_kind(data)
    if other is not None:
        return Sounds(whole, other=other)
    following, found, at = look_ahead(data), list[Found](), 0
    while at < len(data) and len(found) <= limits.AUDIO_PIECES:
        one = _read(data, at, following)
        found += [one] if one.parts else []
        at = following(one.stop)
    if not found:
        return Sounds(whole)
    return Sounds([one.parts for one in found], found[-1].missing, cut=found[-1].cut)


def _read(data: Data, at: int, following: Next) -> Found:
    """The sound file that begins there, if one does."""
    start = skip_tags(data, at)
    if kind_of_chunks(data, start) is not None:
        return read_chunks(data, start, following)
    if data[start : start + 4] == b"OggS":
        return read_ogg(data, start, following)
    if data[start : start + 4] == b"fLaC":
        return read_flac(data, start, following)
    begin = find_mpeg(data, start)
    near = begin < len(data) and begin - start <= LEADING
    return read_mpeg(data, begin) if near else Found([], len(data))
