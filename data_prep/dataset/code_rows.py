"""Encoded recordings as rows of tokens: what a model over codes (model/frames.py) is trained and scored on.

A token is code + `SPECIALS` (PAD, BOS and EOS come first), whatever its codebook is; the place says which it is.
Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.data_prep.dataset.random_batches import RandomBatches
from musicgen.data_prep.vocabulary import BOS, SPECIALS


def frames_of(codes: np.ndarray) -> np.ndarray:
    """Codes [F, Q] of a recording -> tokens int16 [1 + F, Q]: BOS in every codebook, then the codes."""
    return np.concatenate([np.full((1, codes.shape[1]), BOS, np.int16), codes.astype(np.int16) + np.int16(SPECIALS)])


class CodeRows(RandomBatches):
    """Endless random rows of a set of recordings.

    All recordings stand behind one another, each after BOS, and a row begins at any frame of them.
    """

    def __init__(self, recordings: Sequence[np.ndarray], *, batch: int, frames: int, seed: int) -> None:
        """Rows int16 [batch, frames + 1, Q].  recordings: codes [F, Q] each.

        Raises ValueError if there are fewer frames than a row has.
        """
        super().__init__(seed)
        order = np.random.default_rng(seed).permutation(len(recordings))
        self._all = np.concatenate([frames_of(recordings[i]) for i in order])
        if len(self._all) <= frames:
            raise ValueError(f"the recordings have {len(self._all)} frames together, a row has {frames + 1}")
        self._batch, self._frames = batch, frames

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """{"tokens": the rows}."""
        starts = rng.integers(0, len(self._all) - self._frames, self._batch)
        return {"tokens": np.stack([self._all[start : start + self._frames + 1] for start in starts])}
