"""From logits to a token: temperature, then top-k, top-p (Holtzman et al., 2020) and min-p (Nguyen et al., 2024)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from musicgen.model.control import check, setting
from musicgen.model.shapes import Float, Int


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; each filter keeps the likeliest tokens and the defaults keep all.

    temperature 0 takes the likeliest token.  top_k: how many (0: all).  top_p: the fewest that have this probability
    together.  min_p: those at least this likely relative to the likeliest.
    """

    temperature: float = setting(
        1.0,
        label="Daring",
        help="low is safe, high is wild; 1 is the model as trained",
        maximum=100,
        step=0.01,
        slider=(0.5, 1.3),
    )
    top_p: float = setting(
        1.0,
        label="Leave out the unlikeliest",
        help="nucleus sampling: keep the likeliest tokens whose probabilities add up to this; 1 keeps all",
        maximum=1,
        excluded=(0.0,),
        step=0.01,
        slider=(0.5, 1.0),
    )
    top_k: int = setting(
        0, label="Likeliest only", help="keep this many of the likeliest tokens; 0 keeps all", maximum=2**31 - 1
    )
    min_p: float = setting(
        0.0,
        label="Leave out the far-fetched",
        help="keep tokens at least this likely relative to the likeliest; 0 keeps all",
        maximum=1,
        excluded=(1.0,),
        step=0.005,
        slider=(0.0, 0.2),
    )

    def __post_init__(self) -> None:
        """Raise ValueError naming the setting that makes no sense."""
        check(self)


def sample(noise: Float[Any, "B V"], logits: Float[Any, "B V"], sampling: Mapping[str, Any]) -> Int[Any, " B"]:
    """Draw tokens i32 from logits f32, -inf where a token must not come; arrays of NumPy or of JAX.

    noise f32 follows the standard Gumbel distribution: the largest sum of log-probability and noise is a fair
    draw.  `sampling` holds the fields of `Sampling` as scalars, so that turning a dial compiles nothing anew.
    """
    xp = logits.__array_namespace__()
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
