"""From logits to a token: temperature, then top-k, top-p (Holtzman et al., 2020) and min-p (Nguyen et al., 2024)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; each filter keeps the likeliest tokens and the defaults keep all.

    temperature 0 takes the likeliest token.  top_k: how many (0: all).  top_p: the fewest that have this probability
    together.  min_p: those at least this likely relative to the likeliest.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError naming the setting that makes no sense."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p must lie in (0, 1], not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top-k must be 0 (all) or more, not {self.top_k}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min-p must lie in [0, 1], not {self.min_p}")


def sample(noise: Any, logits: Any, allowed: Any, sampling: Mapping[str, Any]) -> Any:
    """Draw tokens i32 [B] from logits f32 [B, V], among those allowed bool [B, V]; arrays of NumPy or of JAX.

    noise f32 [B, V] follows the standard Gumbel distribution: the largest sum of log-probability and noise is a fair
    draw.  `sampling` holds the fields of `Sampling` as scalars, so that turning a dial compiles nothing anew.
    """
    xp = logits.__array_namespace__()
    logits = xp.where(allowed, logits, -xp.inf)
    scaled = logits / xp.maximum(sampling["temperature"], 1e-6)
    order = xp.argsort(-scaled, axis=-1, stable=True)
    ranked = xp.take_along_axis(scaled, order, axis=-1)  # likeliest first
    weight = xp.exp(ranked - ranked[:, :1])
    probability = weight / xp.sum(weight, axis=-1, keepdims=True)
    before = xp.cumulative_sum(probability, axis=-1) - probability
    rank = xp.arange(logits.shape[-1])
    keep = (before < sampling["top_p"]) & (probability >= sampling["min_p"] * probability[:, :1])
    keep &= (rank < sampling["top_k"]) | (sampling["top_k"] == 0)
    keep &= (rank == 0) | (sampling["temperature"] > 0)
    keep |= rank == 0  # rounding in `before` must never empty the row
    drawn = xp.argmax(xp.where(keep, ranked, -xp.inf) + noise, axis=-1)
    return xp.take_along_axis(order, drawn[:, None], axis=-1)[:, 0].astype(xp.int32)
