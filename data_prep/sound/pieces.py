"""What of a file is sound: one or several sound files in it, put right so that a decoder gives all of them back."""

from __future__ import annotations

from typing import NamedTuple

from musicgen.data_prep.sound.chunks import read_chunks
from musicgen.data_prep.sound.mpeg import read_mpeg, skip_tags
from musicgen.data_prep.sound.other import Kind, find_kind
from musicgen.data_prep.sound.splice import Data, Pieces
from musicgen.data_prep.sound.streams import read_flac, read_ogg


class Sounds(NamedTuple):
    """Sound files one after the other, each in parts, and bytes that the header of the last promises in vain.

    other: what they are, if libsndfile does not read them.  cut: whether the end of the last is missing, nobody knows
    how many bytes of it.
    """

    pieces: Pieces
    missing: int = 0
    other: Kind | None = None
    cut: bool = False


def find_sounds(data: Data) -> Sounds:
    """Of a file's bytes; the whole of them if they are of no kind that is known here."""
    whole: Pieces = [[slice(0, len(data))]]
    other = find_kind(data)
    if other is not None:
        return Sounds(whole, other=other)
    if data[:4] == b"OggS":
        pieces, cut = read_ogg(data)
        return Sounds(pieces or whole, cut=cut)
    start = skip_tags(data, 0)
    if data[start : start + 4] == b"fLaC":
        return Sounds(read_flac(data, start) or whole)
    chunks = read_chunks(data)
    if chunks:
        return Sounds([found.parts for found in chunks], chunks[-1].missing)
    pieces, cut = read_mpeg(data, start)
    return Sounds(pieces or whole, cut=cut)
