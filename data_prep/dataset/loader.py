"""From shards to training batches: windows of tokens, shuffled, augmented, endless, exactly resumable, through Grain.

How windows are drawn. Lay the targets of all pieces of a split (every token and the EOS) end to end and cut the line
into slots of equal length, about WINDOW_STRIDE targets each. An epoch visits every slot once, in an order shuffled anew
for each epoch, and draws one target uniformly within the slot: the window ends there. So every target is as likely as
any other, a piece is drawn in proportion to its number of tokens, and an epoch covers all the music evenly.

The piece is augmented before it is encoded, which changes its number of tokens a little: the drawn place is kept as a
fraction of the piece. A window is a contiguous slice of BOS + tokens of the whole augmented piece + EOS. One that
reaches back beyond the BOS is filled with the end of another piece, as if pieces were played one after the other: so no
window holds padding, no mask is needed, and a BOS teaches the model to forget.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from musicgen.data_prep.dataset.augment import Augmentation, augment
from musicgen.data_prep.dataset.shards import ShardError, ShardSet
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import BOS, EOS

if TYPE_CHECKING:
    import grain

WINDOW_STRIDE = 1024  # targets per slot: sets the length of an epoch, nothing else
BATCHES_AHEAD = 4
NEVER = 2**62  # windows; Grain's own end overflows in batches of one


def with_ends(tokens: np.ndarray) -> np.ndarray:
    """i16[T] -> i16[T + 2]: BOS, the tokens, EOS."""
    return np.concatenate([[BOS], tokens, [EOS]]).astype(np.int16)


def evaluation_pieces(folder: str | os.PathLike[str], split: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, i16[T + 2] with BOS and EOS) of every piece of a split, in order. Raises ShardError."""
    pieces = ShardSet(folder, split)
    for i in range(len(pieces)):
        yield pieces.name(i), with_ends(pieces.tokens(i))


class Windows:
    """The draw of one window: (slot, random generator) -> tokens. Can be pickled for worker processes."""

    def __init__(self, pieces: ShardSet, context: int, augmentation: Augmentation | None) -> None:
        self.pieces, self.context, self.augmentation = pieces, context, augmentation
        targets = pieces.token_counts() + 1  # the EOS is a target, the BOS is not
        self.boundaries = np.cumsum(np.concatenate([[0], targets]))
        self.total = int(self.boundaries[-1])
        self.slots = -(-self.total // WINDOW_STRIDE)

    def dataset(self, seed: int) -> grain.MapDataset[dict[str, np.ndarray]]:
        """All windows, drawn by a seed."""
        import grain

        return grain.MapDataset.range(self.slots).seed(seed).shuffle().repeat().random_map(self)

    def place(self, slot: int, rng: np.random.Generator) -> tuple[int, float]:
        """(piece, where in the piece the window's last target lies: a fraction in [0, 1))."""
        target = (slot % self.slots + rng.random()) / self.slots * self.total
        piece = min(int(np.searchsorted(self.boundaries, target, side="right")) - 1, len(self.pieces) - 1)
        first, past = self.boundaries[piece : piece + 2]
        return piece, float((target - first) / (past - first))

    def __call__(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """{"tokens": i16[N + 1]}, the ends of other pieces before the BOS where the window reaches beyond it."""
        piece, fraction = self.place(slot, rng)
        if self.augmentation is None:
            tokens = self.pieces.tokens(piece)
        else:
            tokens = encode(augment(self.pieces.notes(piece), rng, self.augmentation))
        sequence = with_ends(tokens)
        past = min(2 + int(fraction * (len(sequence) - 1)), len(sequence))
        window = np.empty(self.context + 1, np.int16)
        part, missing = sequence[:past], len(window)
        while True:
            part = part[-missing:]
            window[missing - len(part) : missing] = part
            missing -= len(part)
            if not missing:
                return {"tokens": window}
            part = with_ends(self.pieces.tokens(int(rng.integers(len(self.pieces)))))


@dataclass(frozen=True)
class LoaderSettings:
    """What decides the stream of windows; `batches` explains the fields."""

    batch: int
    context: int
    seed: int
    host_index: int = 0
    host_count: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.context < 1:
            raise ValueError(f"batch and context are at least 1, not {self.batch} and {self.context}")
        if not 0 <= self.host_index < self.host_count:
            raise ValueError(f"host {self.host_index} of {self.host_count} does not exist: hosts count from 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"a seed lies in 0..4294967295, not {self.seed}")


class Drawn(Protocol):
    """What batches are made of."""

    @property
    def total(self) -> int:
        """How much music it is drawn from: batches of other data do not go on with these."""
        ...

    def dataset(self, seed: int) -> grain.MapDataset[dict[str, np.ndarray]]:
        """{"tokens": i16[N + 1]} without end, drawn by a seed."""
        ...


class Batches(Iterator[dict[str, np.ndarray]]):
    """An endless Grain iterator over batches whose state is one number: windows drawn so far by all hosts together.

    So a run can be resumed with another number of workers, hosts or another batch and goes on at the same place.
    """

    def __init__(self, windows: Drawn, settings: LoaderSettings, later: Sequence[tuple[int, Drawn]] = ()) -> None:
        """`later`: (first, windows) that take over when `first` windows have been drawn, in order."""
        self._phases: list[tuple[int, Drawn]] = [(0, windows), *later]
        self._windows, self._settings = windows, settings
        self._drawn = 0
        self._iterator: grain.DatasetIterator[dict[str, np.ndarray]] | None = None

    def __next__(self) -> dict[str, np.ndarray]:
        windows = [phase for first, phase in self._phases if first <= self._drawn][-1]
        if windows is not self._windows:
            self.close()
            self._windows = windows
        if self._iterator is None:
            self._iterator = self._start()
        # Copied out of the shared memory of a worker process, which goes back at once.
        batch = {key: np.array(value) for key, value in next(self._iterator).items()}
        self._drawn += self._settings.batch * self._settings.host_count
        return batch

    def get_state(self) -> dict[str, Any]:
        """A small dict of JSON values: what `set_state` needs to go on after the last batch returned."""
        return {"drawn": self._drawn, "seed": self._settings.seed, "targets": self._windows.total}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where the iterator stood that had this state. Raises ShardError if its data or seed were others."""
        here = self.get_state()
        for key in ("seed", "targets"):
            if state.get(key) != here[key]:
                raise ShardError(f"cannot resume: the state has {key} {state.get(key)}, this loader {here[key]}")
        self.close()
        self._drawn = int(state["drawn"])

    def close(self) -> None:
        """Stop the worker processes and threads; the next `next` starts them again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _start(self) -> grain.DatasetIterator[dict[str, np.ndarray]]:
        import grain

        s = self._settings
        # Of each batch of all hosts one part after the other, as it lies on one: so runs are the same on any number.
        mine = self._windows.dataset(s.seed)[self._drawn : NEVER].batch(s.batch)[s.host_index :: s.host_count]
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=BATCHES_AHEAD)
        stream = mine.to_iter_dataset(reading)
        if s.workers:
            from absl import flags

            if (
                not flags.FLAGS.is_parsed()
            ):  # Grain reads its flags when it starts processes, and we are no absl program
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=s.workers, per_worker_buffer_size=2)
            stream = stream.mp_prefetch(options)
        return iter(stream)


def batches(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    batch: int,
    context: int,
    seed: int,
    augmentation: Augmentation | None = None,
    later: Sequence[tuple[int, Augmentation | None]] = (),
    host_index: int = 0,
    host_count: int = 1,
    workers: int = 0,
) -> Batches:
    """Endless {"tokens": i16[batch, context + 1]} for training.

    ``batch`` is this host's; hosts 0..host_count-1 share the windows between them without overlap. ``augmentation``
    None leaves the music as it was played; ``later`` says after how many windows another takes its place.
    ``workers`` processes prepare batches ahead, 0 is a thread of this process;
    the batches are the same. Raises ShardError (no data set, no pieces, damaged files) and ValueError.
    """
    pieces = ShardSet(folder, split)
    if not len(pieces):
        raise ShardError(f"{Path(folder)} has no pieces in its split {split}: nothing to train on")
    settings = LoaderSettings(batch, context, seed, host_index, host_count, workers)
    phases = [(first, Windows(pieces, context, another)) for first, another in later]
    return Batches(Windows(pieces, context, augmentation), settings, phases)
