"""The training set as it is compared: notes in a fixed order, as steps from pitch to pitch, and the file they are in.

A file holds every note of the data set in about one byte: matches are exact, and nothing else need be at hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from musicgen.data_prep import limits
from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.files import npz_bytes, read_npz, read_regular
from musicgen.data_prep.performance import Performance

FORMAT = "musicgen-memorisation/1"
CHORD = 3  # steps of 10 ms from a chord's first note to its last
NGRAM = 8  # intervals that must agree without a fault: as many as there are bytes in an integer
BETWEEN = ": "  # a composer and a title
BORDER = -128  # in place of an interval before the first note of a piece


class MemorisationError(ValueError):
    """An index cannot be read: one line that names the file, says what is wrong and what to do."""


class Notes(NamedTuple):
    """Notes in the order in which they are compared. pitch: i64[n]. step: i64[n], the chord's onset in 10 ms."""

    pitch: np.ndarray
    step: np.ndarray


def order_notes(performance: Performance) -> Notes:
    """The notes by chord and pitch."""
    step = np.floor(performance.onset * STEPS_PER_SECOND + 0.5).astype(np.int64)
    after = np.searchsorted(step, step + CHORD, side="right").tolist()  # the first note that is not of the chord
    heads, note = [], 0
    while note < len(after):
        heads.append(note)
        note = after[note]
    chord = np.zeros(len(step), np.int64)
    chord[heads] = 1
    step = step[heads][np.cumsum(chord) - 1] if heads else step
    order = np.lexsort((performance.pitch, step))
    return Notes(performance.pitch[order].astype(np.int64), step)


@dataclass(frozen=True, eq=False)
class Index:
    """All notes of a data set, as small as they get without loss of what is compared.

    interval: i8[n], semitones from the note before, BORDER at a piece's first. gap: u16[n], steps of 10 ms from the
    chord of the note before (from 0 at a piece's first). first: u8[pieces], the first pitch. offsets: i64[pieces + 1].
    names, titles: of the pieces; a title (`title_of`) may be empty. background: i32[k], lengths of the longest matches
    of music that was never trained on, in ascending order; empty if it was not measured.
    """

    interval: np.ndarray
    gap: np.ndarray
    first: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...]
    titles: tuple[str, ...]
    background: np.ndarray

    def pitches(self, piece: int) -> np.ndarray:
        """i64[notes]: of a piece."""
        begin, end = self.offsets[piece : piece + 2]
        total = np.cumsum(self.interval[begin:end], dtype=np.int64)
        return total + (int(self.first[piece]) - BORDER)

    def steps(self, piece: int) -> np.ndarray:
        """i64[notes]: onsets of a piece, in steps of 10 ms from its beginning."""
        begin, end = self.offsets[piece : piece + 2]
        return np.cumsum(self.gap[begin:end], dtype=np.int64)

    def piece_at(self, note: int) -> int:
        """The piece that a note belongs to."""
        return int(np.searchsorted(self.offsets, note, side="right")) - 1


def title_of(composer: str | None, title: str | None) -> str:
    """What a piece is called: "composer: title", or the one of them that is known, or nothing."""
    return BETWEEN.join(part.strip() for part in (composer, title) if part and part.strip())


def build_index(pieces: Iterable[tuple[str, str, Performance]]) -> Index:
    """The index of (name, title, performance). Pieces without notes are left out."""
    interval, gap, first, names, titles = [], [], [], [], []
    for name, title, performance in pieces:
        notes = order_notes(performance)
        if not len(notes.pitch):
            continue
        steps = np.diff(notes.pitch, prepend=0)
        steps[0] = BORDER
        interval.append(steps.astype(np.int8))
        gap.append(np.minimum(np.diff(notes.step, prepend=0), 65535).astype(np.uint16))
        first.append(int(notes.pitch[0]))
        names.append(name)
        titles.append(title)
    return Index(
        np.concatenate(interval) if interval else np.zeros(0, np.int8),
        np.concatenate(gap) if gap else np.zeros(0, np.uint16),
        np.array(first, np.uint8),
        np.cumsum([0] + [len(part) for part in interval]).astype(np.int64),
        tuple(names),
        tuple(titles),
        np.zeros(0, np.int32),
    )


def join(first: Index, second: Index) -> Index:
    """The pieces of both; how near untrained music comes is that of the second."""

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(first, name), getattr(second, name)])

    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    names, titles = first.names + second.names, first.titles + second.titles
    return Index(both("interval"), both("gap"), both("first"), offsets, names, titles, second.background)


def hash_ngrams(interval: np.ndarray) -> np.ndarray:
    """u32[n - NGRAM + 1] of i8[n]: a hash of the NGRAM intervals from each place on."""
    content = np.ascontiguousarray(interval, np.int8)
    words = np.ndarray((max(0, len(content) - NGRAM + 1),), "<u8", content, strides=(1,))
    return (words * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)).astype(np.uint32)


def index_bytes(index: Index) -> bytes:
    """The index as a compressed .npz, the same bytes every time on one version of zlib."""
    low, high = (index.gap & 255).astype(np.uint8), (index.gap >> 8).astype(np.uint8)
    arrays = {
        "format": np.frombuffer(FORMAT.encode(), np.uint8),
        "interval": index.interval,
        "gap_low": low,  # the high bytes are nearly all zero and cost nothing on their own
        "gap_high": high,
        "first": index.first,
        "offsets": index.offsets.astype("<i8"),
        "background": index.background.astype("<i4"),
        # Joined: NumPy would pad every name to the longest.
        "names": np.frombuffer("\0".join(index.names).encode("utf-8", "surrogatepass"), np.uint8),
        "titles": np.frombuffer("\0".join(index.titles).encode("utf-8", "surrogatepass"), np.uint8),
    }
    return npz_bytes(arrays, level=7)


def read_index(path: str | os.PathLike[str]) -> Index:
    """The index in a file. Raises MemorisationError if it is none or damaged, OSError if it cannot be read."""
    content = read_regular(path, limits.INDEX_FILE_BYTES)
    try:
        arrays = read_npz(content, limits.INDEX_BYTES)
        if arrays["format"].tobytes() != FORMAT.encode():
            raise MemorisationError(f"{path} was made by another musicgen version: build the index again")
        gap = arrays.pop("gap_high").astype(np.uint16)
        gap <<= 8
        gap |= arrays.pop("gap_low")
        index = Index(
            arrays["interval"].astype(np.int8, casting="no", copy=False),
            gap,
            arrays["first"],
            arrays["offsets"],
            _texts(arrays["names"], len(arrays["first"])),
            tuple(map(_whole, _texts(arrays["titles"], len(arrays["first"])))),
            arrays["background"],
        )
        _check(index)
    except MemorisationError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own ways to say that bytes are damaged
        raise MemorisationError(
            f"{path} is no memorisation index or damaged ({type(error).__name__}): build it again with"
            " `musicgen evaluate --build-index DATA --out FILE`"
        ) from None
    return index


def _texts(content: np.ndarray, count: int) -> tuple[str, ...]:
    return tuple(content.tobytes().decode("utf-8", "surrogatepass").split("\0")) if count else ()


def _whole(title: str) -> str:
    """An older index says ": Title", "Composer: " or ": " of a piece whose composer or title is not known."""
    return title.removeprefix(BETWEEN).removesuffix(BETWEEN)


def _check(index: Index) -> None:
    """Raises ValueError, or whatever NumPy raises for arrays of the wrong shape."""
    if index.offsets[[0, -1]].tolist() != [0, len(index.interval)] or np.any(np.diff(index.offsets) <= 0):
        raise ValueError("pieces do not follow one another")
    if not len(index.offsets) - 1 == len(index.first) == len(index.names) == len(index.titles):
        raise ValueError("the pieces and their names differ in number")
    if len(index.gap) != len(index.interval) or np.any(index.interval[index.offsets[:-1]] != BORDER):
        raise ValueError("the notes do not fit together")
