"""Attention as the fused kernels are asked for it is the attention that is meant."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model import attention


@pytest.mark.parametrize("M, T", [(8, 8), (8, 12), (8, 16), (8, 17), (1, 5)])
def test_what_fused_kernels_are_asked_for(monkeypatch: pytest.MonkeyPatch, M: int, T: int) -> None:
    """The last M of T positions ask: output and gradients are those of plain attention with its mask."""
    asked = []

    def on_any_machine(*qkv: jax.Array, implementation: str, **settings: Any) -> jax.Array:
        asked.append((implementation, settings.get("is_causal", False)))
        return plain(*qkv, implementation="xla", **settings)

    plain = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", on_any_machine)
    rng = np.random.default_rng(0)
    shapes = [(2, M, 4, 8), (2, T, 2, 8), (2, T, 2, 8), (2, M, 4, 8)]
    q, k, v, wanted = (jnp.float32(rng.normal(size=shape)) for shape in shapes)

    def score(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.sum(attention.attend(q, k, v) * wanted)

    expected = jax.jit(jax.value_and_grad(score, (0, 1, 2)))(q, k, v)
    monkeypatch.setattr(attention, "_fused", lambda q: True)
    found = jax.jit(jax.value_and_grad(score, (0, 1, 2)))(q, k, v)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    assert asked[-1] == ("cudnn", T <= 2 * M)


@pytest.mark.parametrize("M, T", [(12, 12), (8, 20), (5, 5)])
def test_in_chunks(monkeypatch: pytest.MonkeyPatch, M: int, T: int) -> None:
    """Output and gradients are those of the whole at once, also where the last chunk is short."""
    monkeypatch.setattr(attention, "CHUNK", 5)
    rng = np.random.default_rng(0)
    shapes = [(2, M, 4, 8), (2, T, 2, 8), (2, T, 2, 8), (2, M, 4, 8)]
    q, k, v, wanted = (jnp.float32(rng.normal(size=shape)) for shape in shapes)
    expected, found = (
        jax.jit(jax.value_and_grad(lambda *qkv, attend=attend: jnp.sum(attend(*qkv) * wanted), (0, 1, 2)))(q, k, v)
        for attend in (attention.attend, attention.attend_in_chunks)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
