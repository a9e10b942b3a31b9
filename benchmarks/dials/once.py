"""Scores as `musicgen.model.evaluate` does, but a piece's inputs are read once and not anew for every window.

A window of N inputs and few latents is nearly all encoding: 99 % of the operations at N = 16,384, M = 16. Here the
local blocks pass over the whole piece, each cross-attend's keys and values are computed once, and a window takes the N
that it needs. What differs: a window's first inputs, up to `local_window` of them for every local block, know what
stands before the window, where evaluate cuts that off. `dials.py` says of each cell which of the two scored it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import evaluate, parameters
from musicgen.model.attention import attend, local_attend
from musicgen.model.config import ModelConfig
from musicgen.model.perceiver_ar import clamp_positions, no_drop, rotary

ROUND = 32_768  # inputs of a piece are padded to multiples of it, so that few lengths are compiled

Memory = tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]  # inputs [T, D]; keys, not turned, and values [T, G, K]


@functools.partial(jax.jit, static_argnames=("config", "dtype"))
def read(
    params: Mapping[str, jax.Array], tokens: jax.Array, start: jax.Array, config: ModelConfig, dtype: str
) -> Memory:
    """tokens i32 [T], padding before start i32 [] -> what windows take from."""
    model = parameters.bind(config, params)

    def nearby(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return local_attend(q, k, v, config.local_window, start[None])

    positions = jnp.arange(len(tokens))[None]
    h = model.encode(tokens[None], positions, nearby, dtype=jnp.dtype(dtype))
    unturned = jnp.zeros_like(positions)
    keys_values = [block.keys_values(h, unturned) for block in model.cross]
    return h[0], [(k[0], v[0]) for k, v in keys_values]


@functools.partial(jax.jit, static_argnames=("config", "latents", "context", "ids"))
def score(
    params: Mapping[str, jax.Array],
    memory: Memory,
    ends: jax.Array,
    start: jax.Array,
    targets: jax.Array,
    config: ModelConfig,
    latents: int,
    context: int,
    ids: int,
) -> jax.Array:
    """Windows that end before ends i32 [B], padding before start i32 [], targets i32 [B, M] -> nats f32 [B, M]."""
    model = parameters.bind(config, params)
    N, M = context, latents
    h, keys_values = memory

    def window(x: jax.Array, length: int) -> jax.Array:
        return jax.vmap(lambda end: jax.lax.dynamic_slice_in_dim(x, end - length, length))(ends)

    positions = jnp.arange(N)[None]
    at, reached = positions[:, N - M :], clamp_positions(positions, N, M, config.context)
    first = jnp.maximum(start - (ends - N), 0)  # [B]: padding inside the window

    def to_inputs(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v, first)

    def to_latents(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v, first - (N - M))

    x = window(h, M)
    for layer, block in enumerate(model.layers):
        for i in config.crosses_before(layer):
            k, v = (window(part, N) for part in keys_values[i])
            turned = rotary(k, reached, config.rotary_fraction)
            x = model.cross[i](x, at, to_inputs, no_drop, (turned, v))
        x = block(x, at, to_latents, no_drop)
    logits = model.decode(x)[..., :ids]
    return jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def nats_of_pieces(
    config: ModelConfig,
    params: Mapping[str, jax.Array],
    pieces: Iterable[np.ndarray],
    *,
    latents: int,
    context: int,
    stride: int,
    batch: int,
    dtype: str,
    preamble: Sequence[int] | np.ndarray,
    ids: int,
    windows: Callable[[int, int, int, int], Iterable[evaluate.Window]],
) -> Iterator[np.ndarray]:
    """As evaluate's, for a model of notes."""
    N, M = context, latents
    values: dict[str, Any] = {name: x.astype(dtype) for name, x in params.items()}
    for piece in pieces:
        seen = np.concatenate([preamble, piece[:-1]]).astype(np.int32)
        length = -(-(N + len(seen)) // ROUND) * ROUND
        start = length - len(seen)  # at least N, so that every window has N inputs
        zero = start + len(preamble)  # where the piece's BOS lies
        memory = read(values, np.pad(seen, (start, 0)), jnp.int32(start), config=config, dtype=dtype)
        nats = np.zeros(len(piece) - 1, np.float32)
        wanted = list(windows(len(piece) - 1, N, M, stride))
        for i in range(0, len(wanted), batch):
            part = wanted[i : i + batch]
            stops = np.array([w.stop for w in part] + [part[-1].stop] * (batch - len(part)))
            # A piece shorter than M has latents among the preamble, whose targets nobody counts.
            of_rows = np.maximum(stops[:, None] - M + 1 + np.arange(M), 0)
            told = np.asarray(
                score(
                    values,
                    memory,
                    jnp.asarray(zero + stops, jnp.int32),
                    jnp.int32(start),
                    jnp.asarray(piece[of_rows], jnp.int32),
                    config=config,
                    latents=M,
                    context=N,
                    ids=ids,
                )
            )
            for row, w in enumerate(part):
                nats[w.stop - w.scored : w.stop] = told[row, M - w.scored :]
        yield nats
