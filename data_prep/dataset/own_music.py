"""Somebody's own pieces: which are held out, and the rows that a model is taught by."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.loader import Windows, with_ends
from musicgen.data_prep.dataset.shards import ShardSet, sha256
from musicgen.data_prep.dataset.splits import SPLIT_ORDER
from musicgen.data_prep.performance import NO_PEDAL, Performance
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import BOS

HELD_OUT = 10  # one piece of so many


class OwnMusic:
    """Pieces of a data set of `prep`, whatever their splits, by name: those held out, or the others.

    Of a single piece the last tenth is held out.
    """

    def __init__(self, folder: str | os.PathLike[str], held_out: bool) -> None:
        """Raises ShardError."""
        sets = [ShardSet(folder, split) for split in SPLIT_ORDER]
        found = sorted((shards.name(i), shards, i) for shards in sets for i in range(len(shards)))
        chosen = choose_held_out([name for name, _, _ in found])
        self.single = len(found) == 1
        self.found = [piece for piece in found if self.single or (piece[0] in chosen) == held_out]
        self.held_out = held_out

    def __len__(self) -> int:
        return len(self.found)

    def name(self, i: int) -> str:
        """Relative path of the file that piece ``i`` came from."""
        return self.found[i][0]

    def sha256(self, i: int) -> str:
        """Of that file."""
        _, shards, place = self.found[i]
        return str(shards.items[place]["sha256"])

    def seconds(self) -> float:
        """Of all pieces together."""
        return sum(float(shards.items[place]["seconds"]) for _, shards, place in self.found)

    def token_counts(self) -> np.ndarray:
        """i64[pieces]: tokens of every piece, without BOS and EOS."""
        if self.single:
            return np.array([len(self.tokens(0))] if self.found else [], np.int64)
        return np.array([shards.items[place]["tokens"] for _, shards, place in self.found], np.int64)

    def notes(self, i: int) -> Performance:
        """The notes of piece ``i``."""
        _, shards, place = self.found[i]
        notes = shards.notes(place)
        return _part(notes, self.held_out) if self.single else notes

    def tokens(self, i: int) -> np.ndarray:
        """i16[T]: its tokens, without BOS and EOS."""
        _, shards, place = self.found[i]
        return encode(self.notes(i)) if self.single else shards.tokens(place)


def choose_held_out(names: Sequence[str]) -> frozenset[str]:
    """A tenth of the pieces, at least one of two: those whose names have the lowest hashes, so that others may come."""
    count = max(1, len(names) // HELD_OUT) if len(names) > 1 else 0
    return frozenset(sorted(names, key=lambda name: sha256(name.encode("utf-8", "surrogatepass")))[:count])


def _part(notes: Performance, last: bool) -> Performance:
    """The last tenth of a piece's notes, from their beginning, or the others."""
    cut = len(notes) - len(notes) // HELD_OUT
    part = slice(cut, None) if last else slice(cut)
    onset, end, pitch, velocity = notes.onset[part], notes.end[part], notes.pitch[part], notes.velocity[part]
    first = onset.min(initial=np.inf) if last and len(onset) else 0.0
    return Performance(onset - first, end - first, pitch, velocity, NO_PEDAL)


class OwnRows:
    """Windows of these pieces as a model is taught by them, i16 [N + 1] each; equal arguments give equal rows.

    style: a token that stands behind every BOS, and first of all where a window has none; nothing to predict.
    """

    def __init__(
        self, pieces: OwnMusic, context: int, seed: int, augmentation: Augmentation | None, style: int | None = None
    ) -> None:
        self.windows, self.seed, self.style = Windows(pieces, context, augmentation), seed, style  # type: ignore[arg-type]

    def __call__(self, step: int, batch: int) -> np.ndarray:
        """The rows of a step, i16 [batch, N + 1]: every place of the music comes once before any comes again."""
        drawn = []
        for i in range(step * batch, (step + 1) * batch):
            epoch, place = divmod(i, self.windows.slots)
            order = np.random.default_rng((self.seed, epoch)).permutation(self.windows.slots)
            drawn.append(self.row(int(order[place]), np.random.default_rng((self.seed, 1, i))))
        return np.stack(drawn)

    def spread(self, most: int) -> np.ndarray:
        """At most so many rows, i16 [R, N + 1], spread over the music: always the same."""
        count = min(most, self.windows.slots) if len(self.windows.pieces) else 0
        slots = [(2 * i + 1) * self.windows.slots // (2 * count) for i in range(count)]
        rows = [self.row(slot, np.random.default_rng((self.seed, 2, slot))) for slot in slots]
        return np.stack(rows) if rows else np.zeros((0, self.windows.context + 1), np.int16)

    def row(self, slot: int, rng: np.random.Generator) -> np.ndarray:
        """One window of a slot."""
        row = self.windows(slot, rng)["tokens"]
        return row if self.style is None else tell(row, self.style)


def tell(row: np.ndarray, style: int) -> np.ndarray:
    """The row with a style told behind every BOS, and first; of as many tokens, the first ones left out."""
    told = np.insert(row, np.flatnonzero(row == BOS) + 1, np.int16(~style))[-len(row) :]
    told[0] = ~style
    return told


def scored_pieces(pieces: OwnMusic, most: int) -> list[np.ndarray]:
    """Of as many pieces as have so many tokens together, the beginnings, i16 [T] from BOS on, alike in length."""
    each = max(256, most // max(1, len(pieces)))
    count = max(1, most // each)
    return [with_ends(pieces.tokens(i))[:each] for i in range(min(count, len(pieces)))]
