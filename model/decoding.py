"""Cached decoding (paper appendix E): the model's own forward pass, one token at a time.

Kept from earlier calls are the keys and values of the local blocks (the last W inputs, a ring), of the cross-attends
(all N inputs) and of the self-attends (the M latents).  `prefill` reads many tokens in one pass, `step` adds one,
which becomes both an input and a latent.  When the latents are full, `renew` begins again with the last few of them;
when the inputs are, the caller prefills anew from its last tokens (model/engine.py).

Caches are [B*G, T, K], not [B, G, T, K]: with a leading axis of size 1 XLA copies the whole cache at every step on a
CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from musicgen.model.attention import attend, attend_where
from musicgen.model.config import ModelConfig
from musicgen.model.perceiver_ar import Attend, Masked, PerceiverAR, within_reach

KeysValues = tuple[jax.Array, jax.Array]


class Cache(NamedTuple):
    """Everything `step` needs besides the parameters."""

    local: tuple[KeysValues, ...]  # each [B*G, W, K]; the input at position p lies in slot p mod W
    cross: tuple[KeysValues, ...]  # each [B*G, N, K]
    latent: tuple[KeysValues, ...]  # each [B*G, M, K]
    inputs: jax.Array  # i32 []: how many inputs there are, padding included
    latents: jax.Array  # i32 []
    start: jax.Array  # i32 [B]: the first input of each row that is not padding
    seeds: jax.Array  # [B, M, D]: what the latents began as, the inputs of the same place


def recorded(attend: Attend, record: list[KeysValues]) -> Attend:
    """The same attention, which also notes its keys and values."""

    def recording(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        record.append((k, v))
        return attend(q, k, v)

    return recording


def _stored(record: list[KeysValues], length: int) -> tuple[KeysValues, ...]:
    """Keys and values [B, T, G, K] -> caches [B*G, length, K], zero past T."""

    def store(x: jax.Array) -> jax.Array:
        B, T, G, K = x.shape
        return jnp.pad(x.transpose(0, 2, 1, 3).reshape(B * G, T, K), [(0, 0), (0, length - T), (0, 0)])

    return tuple((store(k), store(v)) for k, v in record)


def prefill(
    model: PerceiverAR, tokens: jax.Array, start: jax.Array, *, dtype: jnp.dtype, **cut: int
) -> tuple[jax.Array, Cache]:
    """As `fill`, but the first of what it returns is the logits f32 [B, V] of the next token."""
    x, cache = fill(model, tokens, start, dtype=dtype, **cut)
    return model.read(x[:, None], cache.inputs[None, None] - 1)[:, 0], cache


def fill(
    model: PerceiverAR,
    tokens: jax.Array,
    start: jax.Array,
    *,
    read: int,
    latents: int,
    context: int,
    dtype: jnp.dtype,
    ahead: int | None = None,
) -> tuple[jax.Array, Cache]:
    """Read tokens i32 [B, T] with the last `read` as latents, into caches for N = context inputs and M = latents.

    Inputs stand as they will for the last of the tokens that are added before the next pass over them (`ahead`; as
    many as there is room for latents unless given), so that no later one sees any of them farther back than the model
    has learnt.

    Returns what the last latent knows, [B, D], and the cache.
    """
    T, W = tokens.shape[1], model.config.local_window
    masked = Masked(model.config, T - read, start)
    local: list[KeysValues] = []
    cross: list[KeysValues] = []
    latent: list[KeysValues] = []
    positions = jnp.arange(T)[None]
    ahead = min(latents - read, context - T) if ahead is None else ahead
    h = model.encode(tokens, positions, recorded(masked.local_attend, local), dtype=dtype)
    x = model.think(
        h[:, T - read :],
        positions[:, T - read :],
        h,
        within_reach(positions, T + ahead, read + ahead, model.config.context),
        recorded(masked.cross_attend, cross),
        recorded(masked.self_attend, latent),
    )
    ring = [(k[:, -W:], v[:, -W:]) for k, v in local]
    turn = T % W if T > W else 0
    return x[:, -1], Cache(
        local=tuple((jnp.roll(k, turn, axis=1), jnp.roll(v, turn, axis=1)) for k, v in _stored(ring, W)),
        cross=_stored(cross, context),
        latent=_stored(latent, latents),
        inputs=jnp.int32(T),
        latents=jnp.int32(read),
        start=start,
        seeds=jnp.pad(h[:, T - read :], [(0, 0), (0, latents - read), (0, 0)]),
    )


def copied(cache: Cache, copies: int) -> Cache:
    """A cache with so many rows for the one of this."""
    return jax.tree.map(lambda x: jnp.concatenate([x] * copies) if x.ndim else x, cache)


def renew(model: PerceiverAR, cache: Cache, *, read: int) -> tuple[jax.Array, Cache]:
    """Begin anew with the last `read` latents where all M are in use: the inputs, and their caches, stay as they are.

    Returns logits f32 [B, V] of the next token and the cache with room for M - read latents more.
    """
    B, M, _ = cache.seeds.shape
    first = cache.inputs - read
    seeds = jax.lax.dynamic_slice_in_dim(cache.seeds, cache.latents - read, read, axis=1)
    positions = (first + jnp.arange(read))[None]
    latent: list[KeysValues] = []
    caches = iter(cache.cross)

    def cross_attend(q: jax.Array, _k: jax.Array, _v: jax.Array) -> jax.Array:
        keys, values = (x.reshape(B, -1, *x.shape[1:]).swapaxes(1, 2) for x in next(caches))
        at = jnp.arange(keys.shape[1])
        own = positions[..., None]
        return attend_where(q, keys, values, (at <= own) & ((at >= cache.start[:, None, None]) | (at == own)))

    def self_attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v, cache.start - first)

    x = model.think(seeds, positions, seeds, positions, cross_attend, recorded(self_attend, latent))
    return model.read(x[:, -1:], positions[:, -1:])[:, 0], cache._replace(
        latent=_stored(latent, M),
        latents=jnp.int32(read),
        seeds=jnp.pad(seeds, [(0, 0), (0, M - read), (0, 0)]),
    )


class Cached:
    """The three attentions of one step; then `local`, `cross` and `latent` hold the caches with the token added."""

    def __init__(self, config: ModelConfig, cache: Cache):
        self.config, self.cache = config, cache
        self.local: list[KeysValues] = []
        self.cross: list[KeysValues] = []
        self.latent: list[KeysValues] = []
        self._local, self._cross, self._latent = iter(cache.local), iter(cache.cross), iter(cache.latent)
        position, first = cache.inputs, cache.start[:, None]
        ring = position - (position - jnp.arange(config.local_window)) % config.local_window
        self.seen_locally = ring >= jnp.maximum(first, 0)  # [B, W]: each slot's position, if written and not padding
        self.seen_crossing = (jnp.arange(_length(cache.cross)) <= position) & (
            jnp.arange(_length(cache.cross)) >= first
        )
        own = jnp.arange(_length(cache.latent))
        self.seen_latents = (own <= cache.latents) & (own >= first - (position - cache.latents))

    def local_attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """The token to the last W inputs."""
        slot = self.cache.inputs % self.config.local_window
        return self._attend(q, k, v, self._local, self.local, slot, self.seen_locally)

    def cross_attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """The token to all inputs."""
        return self._attend(q, k, v, self._cross, self.cross, self.cache.inputs, self.seen_crossing)

    def self_attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """The token to all latents."""
        return self._attend(q, k, v, self._latent, self.latent, self.cache.latents, self.seen_latents)

    def _attend(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        before: Iterator[KeysValues],
        after: list[KeysValues],
        slot: jax.Array,
        seen: jax.Array,
    ) -> jax.Array:
        """q [B, 1, H, K], new k and v [B, 1, G, K], seen bool [B, T] -> [B, 1, H, K]."""
        B, _, H, K = q.shape
        G = k.shape[2]
        keys, values = (
            jax.lax.dynamic_update_slice(old, new.reshape(B * G, 1, K).astype(old.dtype), (0, slot, 0))
            for old, new in zip(next(before), (k, v), strict=True)
        )
        after.append((keys, values))
        scores = jnp.einsum("brk,btk->brt", q.reshape(B * G, H // G, K), keys, preferred_element_type=jnp.float32)
        scores = jnp.where(jnp.repeat(seen, G, axis=0)[:, None], scores * K**-0.5, -jnp.inf)
        weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
        return jnp.einsum("brt,btk->brk", weights, values).reshape(B, 1, H, K)


def _length(caches: tuple[KeysValues, ...]) -> int:
    return caches[0][0].shape[1]


def step(model: PerceiverAR, token: jax.Array, cache: Cache, *, dtype: jnp.dtype) -> tuple[jax.Array, Cache]:
    """Add token i32 [B]: logits f32 [B, V] of the next one, and the cache with one more input and latent."""
    x, extended = extend(model, token, cache, dtype=dtype)
    return model.read(x[:, None], cache.inputs[None, None])[:, 0], extended


def extend(model: PerceiverAR, token: jax.Array, cache: Cache, *, dtype: jnp.dtype) -> tuple[jax.Array, Cache]:
    """Add token i32 [B], or a frame of codes [B, Q]: what its latent knows [B, D], and the cache with it."""
    cached = Cached(model.config, cache)
    position = cache.inputs[None, None]
    h = model.encode(token[:, None], position, cached.local_attend, dtype=dtype)
    x = model.think(h, position, h, position, cached.cross_attend, cached.self_attend)
    return x[:, 0], Cache(
        tuple(cached.local),
        tuple(cached.cross),
        tuple(cached.latent),
        cache.inputs + 1,
        cache.latents + 1,
        cache.start,
        jax.lax.dynamic_update_slice(cache.seeds, h.astype(cache.seeds.dtype), (0, cache.latents, 0)),
    )
