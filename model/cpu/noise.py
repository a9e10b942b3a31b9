"""What a token is drawn by on a CPU: noise that depends on the seed and the token's number alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Rule: TypeAlias = Callable[[np.ndarray], np.ndarray]  # logits f32 [B, V] -> as they are to be sampled from


def gumbel(seed: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise f32 for token `number` of a stream: whichever block it is drawn in, the same."""
    bits = np.random.Philox(key=seed, counter=[0, number, 0, 0])
    return np.random.Generator(bits).gumbel(size=shape).astype(np.float32)
