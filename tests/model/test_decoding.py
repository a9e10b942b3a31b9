"""Cached decoding is the forward pass: prefill, then steps up to the last free place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Reference
from toys import TOY, assert_close, random_parameters, random_tokens

from musicgen.model import parameters
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.decoding import Cache, prefill, restart_latents, step
from musicgen.model.perceiver_ar import PerceiverAR

pytestmark = pytest.mark.slow

N, M = 24, 8


def logits_of(model: PerceiverAR, x: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
    """Logits [B, V] in place of what the last latent knows."""
    return model.decode(x[:, None])[:, 0], cache


def compiled(config: ModelConfig = TOY) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(prefill, step) with random parameters; a step gives its cache away, as the engine's does."""
    params = random_parameters(config)

    def read(tokens: jax.Array, start: jax.Array, latents: int) -> tuple[jax.Array, Cache]:
        model = parameters.bind(config, params)
        return logits_of(
            model, *prefill(model, tokens, start, latents=latents, max_latents=M, max_inputs=N, dtype=jnp.float32)
        )

    def add(token: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        model = parameters.bind(config, params)
        return logits_of(model, *step(model, token, cache, dtype=jnp.float32))

    return jax.jit(read, static_argnames="latents"), jax.jit(add, donate_argnames="cache")


@pytest.fixture(scope="module")
def functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled once for the toy."""
    return compiled()


# Shorter than the local ring of 5, as long, a multiple, and others; some with room for one more token only.
@pytest.mark.parametrize("length, read", [(1, 1), (5, 4), (20, 4), (23, 1), (16, 7)])
def test_every_step_is_the_uncached_forward_pass(
    functions: tuple[Callable[..., Any], Callable[..., Any]], length: int, read: int
) -> None:
    """After the prefill and after each token until inputs or latents are full, the logits of the reference."""
    fill, add = functions
    reference = Reference(TOY, random_parameters(TOY))
    tokens = random_tokens(2, N + 1, seed=length)
    logits, cache = fill(tokens[:, :length], np.zeros(2, np.int32), latents=read)
    steps = min(N - length, M - read)
    assert steps >= 1
    for t in range(length, length + steps + 1):
        expected = [reference(row[:t], read + t - length)[-1] for row in tokens]
        assert_close(np.asarray(logits), np.stack(expected))
        if t < length + steps:
            logits, cache = add(tokens[:, t], cache)
    assert int(cache.inputs) == length + steps and int(cache.latents) == read + steps
    assert int(cache.inputs) == N or int(cache.latents) == M
    assert add._cache_size() == 1


def test_rows_of_different_lengths(functions: tuple[Callable[..., Any], Callable[..., Any]]) -> None:
    """Rows padded on the left decode as each would alone, also where the padding reaches into latents and ring."""
    fill, add = functions
    reference = Reference(TOY, random_parameters(TOY))
    length, read, starts = 12, 4, np.array([0, 3, 7, 8, 9, 11], np.int32)
    tokens = random_tokens(len(starts), N)
    logits, cache = fill(tokens[:, :length], starts, latents=read)
    for t in range(length, length + M - read + 1):
        for row, start in enumerate(starts):
            latents = min(read, length - start) + t - length
            assert_close(np.asarray(logits)[row], reference(tokens[row, start:t], latents)[-1])
        if t < length + M - read:
            logits, cache = add(tokens[:, t], cache)


def test_latents_restarted_are_a_new_pass_over_the_same_inputs() -> None:
    """With rows of different lengths, some beginning among the new latents: after a restart and every step after it."""
    fill, add = compiled()
    params = random_parameters(TOY)

    @jax.jit
    def again(cache: Cache) -> tuple[jax.Array, Cache]:
        model = parameters.bind(TOY, params)
        return logits_of(model, *restart_latents(model, cache, latents=3))

    reference = Reference(TOY, params)
    length, starts = 9, np.array([0, 4, 7, 8], np.int32)
    tokens = random_tokens(len(starts), N)
    logits, cache = fill(tokens[:, :length], starts, latents=4)
    latents = 4
    for t in range(length, N):
        if latents == M:
            (logits, cache), latents = again(cache), 3
        for row, start in enumerate(starts):
            assert_close(np.asarray(logits)[row], reference(tokens[row, start:t], min(latents, t - start))[-1])
        logits, cache = add(tokens[:, t], cache)
        latents += 1
        assert int(cache.latents) == latents
    assert again._cache_size() == 1


def test_padding_is_never_read(functions: tuple[Callable[..., Any], Callable[..., Any]]) -> None:
    """Whatever tokens lie before a row's start, prefill and steps give the same logits to the bit."""
    fill, add = functions
    tokens = np.repeat(random_tokens(1, N), 3, axis=0)
    starts = np.full(3, 9, np.int32)
    tokens[:, :9] = random_tokens(3, 9, seed=1)
    logits, cache = fill(tokens[:, :12], starts, latents=4)
    for t in (12, 13, 14):
        np.testing.assert_array_equal(logits[1:], logits[:-1])
        logits, cache = add(tokens[:, t], cache)


def test_a_step_copies_no_cache(usual_compiler: None) -> None:
    """XLA must update the given cache in place: the temporaries of a step are small beside it, on a CPU too."""
    config, length, rows = dataclasses.replace(TOY, width=64), 4096, 1

    def fresh() -> Cache:
        def pairs(count: int, T: int) -> tuple[tuple[jax.Array, jax.Array], ...]:
            return tuple((jnp.zeros((rows * config.kv_heads, T, config.head_size)),) * 2 for _ in range(count))

        return Cache(
            pairs(config.local_layers, config.local_window),
            pairs(config.cross_attends, length),
            pairs(config.layers, length),
            jnp.int32(0),
            jnp.int32(0),
            jnp.zeros(rows, jnp.int32),
            jnp.zeros((rows, length, config.width)),
        )

    params = {n: jax.ShapeDtypeStruct(shape, jnp.float32) for n, shape in parameters.shapes(config).items()}

    def ten(params: dict[str, jax.Array], token: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        model = parameters.bind(config, params)

        def one(i: jax.Array, carry: tuple[jax.Array, Cache]) -> tuple[jax.Array, Cache]:
            logits, cache = logits_of(model, *step(model, carry[0], carry[1], dtype=jnp.float32))
            return jnp.argmax(logits, -1).astype(jnp.int32), cache

        return jax.lax.fori_loop(0, 10, one, (token, cache))

    cache = jax.eval_shape(fresh)
    token = jax.ShapeDtypeStruct((rows,), jnp.int32)
    memory = jax.jit(ten, donate_argnames="cache").lower(params, token, cache).compile().memory_analysis()
    cache_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache))
    scores = rows * config.heads * length * 4
    assert memory.temp_size_in_bytes < 4 * scores < cache_bytes / 8
    assert memory.alias_size_in_bytes >= cache_bytes


def test_no_preset_has_one_key_head() -> None:
    """With a single row that would be the leading axis of size 1 for which XLA copies the cache."""
    assert all(config.kv_heads > 1 for config in PRESETS.values())
