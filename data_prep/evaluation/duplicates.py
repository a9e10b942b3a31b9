"""What pieces of a data set have in common: one performance that is there twice, or one composition played by two.

A performance is known by runs of pitches and velocities that no two players agree in.  A composition is known as what
was copied is (memorisation.py): two minutes of a piece share notes with another, in any transposition and tempo.
Comparing is slow, so first it is asked whether they share enough short runs for that.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from musicgen.data_prep.evaluation.memorisation import BACKGROUND_SECONDS, Match, longest_match, mark_counted
from musicgen.data_prep.evaluation.memorisation_index import Index, build_index, hash_ngrams, order_notes
from musicgen.data_prep.performance import Performance, cut

RUN = 24  # notes whose pitches and velocities agree: one performance
SEED = 12  # notes of a short run
TELLING, SEEDS = 6, 2  # counted notes of a short run; different ones that two minutes share with a piece they match
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
        self.indices: list[Index] = [index for piece in pieces if (index := build_index([piece])).names]
        seeds = [_seeds(index.interval)[1:] for index in self.indices]
        owner = np.repeat(np.arange(len(seeds)), [len(found) for found in seeds])
        together = np.concatenate([np.zeros(0, np.uint64), *seeds])
        order = np.argsort(together, kind="stable")
        self.seeds, self.owner = together[order], owner[order]

    def matches(self, performance: Performance, threshold: int) -> list[Match]:
        """With each of these pieces the longest passage of `threshold` counted notes or more, the longest first.

        Each lies within BACKGROUND_SECONDS of the performance.
        """
        found: dict[str, Match] = {}
        for start in np.arange(0, performance.onset[-1] if len(performance) else 0, BACKGROUND_SECONDS).tolist():
            part = cut(performance, start, start + BACKGROUND_SECONDS)
            for index in self._candidates(part):
                match = longest_match(part, index)
                if match is None or match.length < threshold:
                    continue
                if match.name not in found or match.length > found[match.name].length:
                    found[match.name] = match
        return sorted(found.values(), key=lambda match: (-match.length, match.name))

    def _candidates(self, part: Performance) -> list[Index]:
        """The pieces with which this part shares SEEDS short runs or more."""
        pitch = order_notes(part).pitch
        if len(pitch) <= SEED:
            return []
        seeds = np.unique(_seeds(np.diff(pitch))[_counted_in_runs(pitch, SEED) >= TELLING])
        low, high = (np.searchsorted(self.seeds, seeds, side=side) for side in ("left", "right"))
        places = np.repeat(low - np.cumsum(high - low) + (high - low), high - low) + np.arange(int((high - low).sum()))
        shared = np.unique(np.stack([seeds.searchsorted(self.seeds[places]), self.owner[places]]), axis=1)[1]
        owners, counts = np.unique(shared, return_counts=True)
        return [self.indices[i] for i in owners[counts >= SEEDS].tolist()]


def _seeds(interval: np.ndarray) -> np.ndarray:
    """u64: a hash of the intervals between SEED notes, from each interval on."""
    ngrams = hash_ngrams(interval.astype(np.int8)).astype(np.uint64)
    return ngrams[:-3] << np.uint64(32) | ngrams[3:]  # of eight intervals each: eleven together


def _counted_in_runs(pitch: np.ndarray, length: int) -> np.ndarray:
    """i64: how many notes of each run of so many continue no pattern."""
    total = np.concatenate([[0], np.cumsum(mark_counted(pitch))])
    return np.asarray(total[length:] - total[:-length])
