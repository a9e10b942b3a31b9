"""Models as small as can be, with every part in them, and the ways the tests call them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from musicgen.model import parameters
from musicgen.model.codec.discriminators import DiscriminatorConfig
from musicgen.model.config import EOS, ModelConfig

TOY = ModelConfig(
    vocab_size=11,
    width=32,
    heads=4,
    kv_heads=2,
    local_layers=2,
    local_window=5,
    cross_attends=2,
    layers=2,
    widening=2,
    context=24,
    latents=8,
)
TOY_DISCRIMINATORS = DiscriminatorConfig(
    periods=(3,), period_channels=(2, 4), windows=(64,), band_channels=2, bands=(0.0, 0.5, 1.0)
)


@functools.cache
def random_parameters(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter random, also those that a fresh model has at zero or one; outputs differ a lot between tokens."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(2.0 if name.endswith("scale") else 0.0, 1.5 * shape[0] ** -0.5, shape).astype(np.float32)
        for name, shape in sorted(parameters.shapes(config).items())
    }


@functools.cache
def forward(config: ModelConfig) -> Callable[..., jax.Array]:
    """The compiled forward pass: (params, tokens, start=None, latents=M)."""

    def run(
        params: Mapping[str, jax.Array], tokens: jax.Array, start: jax.Array | None = None, *, latents: int
    ) -> jax.Array:
        return parameters.bind(config, params)(tokens, latents=latents, start=start)

    return jax.jit(run, static_argnames="latents")


def random_tokens(*shape: int, config: ModelConfig = TOY, seed: int = 0) -> np.ndarray:
    """Tokens i32 without PAD, BOS and EOS."""
    return np.random.default_rng(seed).integers(3, config.vocab_size, shape, dtype=np.int32)


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    """Equal relative to the largest of the expected values."""
    scale = np.abs(expected).max()
    assert actual.shape == expected.shape
    worst = np.abs(np.asarray(actual, np.float64) - expected).max()
    assert worst <= tolerance * scale, f"off by {worst:.3g} where values reach {scale:.3g}"


class AnyToken:
    """A rule that allows everything but EOS; its state is the last token i32 [B]."""

    vocab_size = TOY.vocab_size

    def start(self, streams: Sequence[np.ndarray], xp: Any) -> Any:
        """The last tokens."""
        return xp.asarray([stream[-1] for stream in streams], dtype=xp.int32)

    def advance(self, state: Any, token: Any) -> Any:
        """The new token."""
        return token

    def apply(self, state: Any, logits: Any) -> Any:
        """As they are, without EOS."""
        xp = logits.__array_namespace__()
        return xp.where(xp.arange(self.vocab_size) == EOS, -xp.inf, logits)
