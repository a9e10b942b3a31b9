"""What a token is drawn by on a CPU: noise that depends on the seed and the token's number alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

Rule: TypeAlias = Callable[[np.ndarray], np.ndarray]  # logits f32 [B, V] -> as they are to be sampled from


def gumbel(seed: int | Sequence[int], number: int, shape: tuple[int, ...], axis: int = 0) -> np.ndarray:
    """Noise f32 for token `number` of a stream: whichever block it is drawn in, the same.

    seed: of all rows, or of each along `axis`, which then has the noise of a stream of its own.
    """
    if not isinstance(seed, int):
        alone = (*shape[:axis], 1, *shape[axis + 1 :])
        return np.concatenate([gumbel(one, number, alone) for one in seed], axis)
    bits = np.random.Philox(key=seed, counter=[0, number, 0, 0])
    return np.random.Generator(bits).gumbel(size=shape).astype(np.float32)
