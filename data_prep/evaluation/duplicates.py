"""What pieces of a data set have in common: one performance that is there twice, or one composition played by two.

A performance is known by runs of pitches and velocities that no two players agree in.  A composition is known as what
was copied is (memorisation.py): two minutes of a piece share notes with another, in any transposition and tempo.
Comparing is slow, so first it is asked whether they share enough short runs for that.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from musicgen.data_prep.evaluation.memorisation import BACKGROUND_SECONDS, Match, longest_match, mark_counted
from musicgen.data_prep.evaluation.memorisation_index import BORDER, Index, build_index, hash_ngrams, order_notes
from musicgen.data_prep.performance import Performance, cut

RUN = 24  # notes whose pitches and velocities agree: one performance
SEED = 12  # notes of a short run: a match of 32 that had none was never a composition (benchmarks/prep)
TELLING, SEEDS = 8, 4  # counted notes of a short run, and such runs that two minutes share with what they match
_MIX = np.uint64(0x9E3779B97F4A7C15)


def same_performances(pieces: Iterable[Performance]) -> list[tuple[int, int, int]]:
    """(i, j, k): pieces i < j are one performance, or parts of one; they share k runs of RUN notes."""
    keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    for number, piece in enumerate(pieces):
        runs = len(piece) - RUN + 1
        if runs < 1:
            continue
        notes = piece.pitch.astype(np.uint64) << np.uint64(7) | piece.velocity
        key = np.zeros(runs, np.uint64)
        for place in range(RUN):
            key = key * _MIX + notes[place : place + runs]
        told = _counted_in_runs(piece.pitch.astype(np.int64), RUN) >= RUN // 2
        keys.append(key[told])
        owners.append(np.full(int(told.sum()), number, np.int32))
    key, owner = np.concatenate(keys), np.concatenate(owners)
    order = np.argsort(key, kind="stable")
    key, owner = key[order], owner[order]
    again = np.flatnonzero((key[1:] == key[:-1]) & (owner[1:] != owner[:-1]))
    pairs, counts = np.unique(np.stack([owner[again], owner[again + 1]]), axis=1, return_counts=True)
    return [(int(i), int(j), int(k)) for i, j, k in zip(*pairs, counts, strict=True)]


class HeldOut:
    """Pieces that no training piece is to share a composition with."""

    def __init__(self, pieces: Iterable[tuple[str, str, Performance]]) -> None:
        """pieces: name, title, notes."""
        self.index: Index = build_index(pieces)
        self.seeds = np.sort(_seeds(self.index.interval))

    def matches(self, performance: Performance, threshold: int) -> list[Match]:
        """With each of these pieces the longest passage of `threshold` counted notes or more, the longest first.

        Each lies within BACKGROUND_SECONDS of the performance.
        """
        found: dict[str, Match] = {}
        for start in np.arange(0, performance.onset[-1] if len(performance) else 0, BACKGROUND_SECONDS).tolist():
            part, known = cut(performance, start, start + BACKGROUND_SECONDS), list[str]()
            while self._may_match(part):
                match = longest_match(part, self.index, without=known)
                if match is None or match.length < threshold:
                    break
                known.append(match.name)
                if match.name not in found or match.length > found[match.name].length:
                    found[match.name] = match
        return sorted(found.values(), key=lambda match: (-match.length, match.name))

    def _may_match(self, part: Performance) -> bool:
        pitch = order_notes(part).pitch
        if len(pitch) <= SEED or not len(self.seeds):
            return False
        interval = np.diff(pitch, prepend=0)
        interval[0] = BORDER
        seeds = _seeds(interval)[1:]  # the first would begin with the border
        at = np.minimum(np.searchsorted(self.seeds, seeds), len(self.seeds) - 1)
        told = _counted_in_runs(pitch, SEED)[: len(seeds)] >= TELLING
        return int(((self.seeds[at] == seeds) & told).sum()) >= SEEDS


def _seeds(interval: np.ndarray) -> np.ndarray:
    """u64: a hash of the intervals between SEED notes, from each interval on."""
    ngrams = hash_ngrams(interval.astype(np.int8)).astype(np.uint64)
    return ngrams[:-3] << np.uint64(32) | ngrams[3:]  # of eight intervals each: eleven together


def _counted_in_runs(pitch: np.ndarray, length: int) -> np.ndarray:
    """i64: how many notes of each run of so many continue no pattern."""
    total = np.concatenate([[0], np.cumsum(mark_counted(pitch))])
    return np.asarray(total[length:] - total[:-length])
