"""From logits to a token: temperature, then top-k, top-p (Holtzman et al., 2020) and min-p (Nguyen et al., 2024)."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp


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


def sample(key: jax.Array, logits: jax.Array, allowed: jax.Array, sampling: dict[str, jax.Array]) -> jax.Array:
    """Draw tokens i32 [B] from logits f32 [B, V], among those allowed bool [B, V].

    `sampling` holds the fields of `Sampling` as scalars, so that turning a dial compiles nothing anew.
    """
    logits = jnp.where(allowed, logits, -jnp.inf)
    scaled = logits / jnp.maximum(sampling["temperature"], 1e-6)
    order = jnp.argsort(-scaled, axis=-1)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)  # likeliest first
    probability = jax.nn.softmax(ranked, axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    rank = jnp.arange(logits.shape[-1])
    keep = (before < sampling["top_p"]) & (probability >= sampling["min_p"] * probability[:, :1])
    keep &= (rank < sampling["top_k"]) | (sampling["top_k"] == 0)
    keep &= (rank == 0) | (sampling["temperature"] > 0)
    keep |= rank == 0  # rounding in `before` must never empty the row
    drawn = jax.random.categorical(key, jnp.where(keep, ranked, -jnp.inf), axis=-1)
    return jnp.take_along_axis(order, drawn[:, None], axis=-1)[:, 0].astype(jnp.int32)
