"""Cached decoding (paper appendix E): the model's own forward pass, one token at a time.

Kept from earlier calls are the keys and values of the local blocks (the last W inputs, a ring), of the cross-attends
(all N inputs) and of the self-attends (the M latents).  `prefill` reads many tokens in one pass, `step` adds one,
which becomes both an input and a latent.  When the latents are full, `restart_latents` begins again with the last few
of them; when the inputs are, the caller prefills again from its last tokens (model/engine.py).  All three return what
the last latent knows: logits, or the codes of a frame, are read out of it by the engine.

Caches are [B*G, T, K], not [B, G, T, K]: with a leading axis of size 1 XLA copies the whole cache at every step on a
CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from musicgen.model.attention import attend, attend_where
from musicgen.model.config import ModelConfig
from musicgen.model.perceiver_ar import Attend, Masked, PerceiverAR, clamp_positions
from musicgen.model.shapes import Array, Float, Int

KeysValues = tuple[Array, Array]


class Cache(NamedTuple):
    """Everything `step` needs besides the parameters."""

    local: tuple[KeysValues, ...]  # each [B*G, W, K]; the input at position p lies in slot p mod W
    cross: tuple[KeysValues, ...]  # each [B*G, N, K]
    latent: tuple[KeysValues, ...]  # each [B*G, M, K]
    inputs: Array  # i32 []: how many inputs there are, padding included
    latents: Array  # i32 []
    start: Array  # i32 [B]: the first input of each row that is not padding
    latent_inputs: Array  # [B, M, D]: what the latents began as, the inputs of the same place


def record(attend: Attend, keys_values: list[KeysValues]) -> Attend:
    """The same attention, which also notes its keys and values."""

    def attend_and_note(q: Array, k: Array, v: Array) -> Array:
        keys_values.append((k, v))
        return attend(q, k, v)

    return attend_and_note


def _store(record: list[KeysValues], length: int) -> tuple[KeysValues, ...]:
    """Keys and values [B, T, G, K] -> caches [B*G, length, K], zero past T."""

    def store(x: Array) -> Array:
        B, T, G, K = x.shape
        return jnp.pad(x.transpose(0, 2, 1, 3).reshape(B * G, T, K), [(0, 0), (0, length - T), (0, 0)])

    return tuple((store(k), store(v)) for k, v in record)


def prefill(
    model: PerceiverAR,
    tokens: Int[Array, "B T *Q"],
    start: Int[Array, " B"],
    *,
    latents: int,
    max_latents: int,
    max_inputs: int,
    dtype: DTypeLike,
    free_inputs: int | None = None,
) -> tuple[Float[Array, "B D"], Cache]:
    """Read tokens, rows beginning at start, the last `latents` as latents, into caches for so many inputs and latents.

    Inputs stand as they will for the last of the tokens that are added before the next prefill (`free_inputs`; as
    many as there is room for latents unless given), so that no later one sees any of them farther back than the model
    has learnt.

    Returns what the last latent knows and the cache.
    """
    T, W = tokens.shape[1], model.config.local_window
    first = T - latents
    masked = Masked(model.config, first, start)
    local: list[KeysValues] = []
    cross: list[KeysValues] = []
    latent: list[KeysValues] = []
    positions = jnp.arange(T)[None]
    free = min(max_latents - latents, max_inputs - T) if free_inputs is None else free_inputs
    h = model.encode(tokens, positions, record(masked.local_attend, local), dtype=dtype)
    x = model.process(
        h[:, first:],
        positions[:, first:],
        h,
        clamp_positions(positions, T + free, latents + free, model.config.context),
        record(masked.cross_attend, cross),
        record(masked.self_attend, latent),
    )
    ring = [(k[:, -W:], v[:, -W:]) for k, v in local]
    turn = T % W if T > W else 0
    return x[:, -1], Cache(
        local=tuple((jnp.roll(k, turn, axis=1), jnp.roll(v, turn, axis=1)) for k, v in _store(ring, W)),
        cross=_store(cross, max_inputs),
        latent=_store(latent, max_latents),
        inputs=jnp.int32(T),
        latents=jnp.int32(latents),
        start=start,
        latent_inputs=jnp.pad(h[:, first:], [(0, 0), (0, max_latents - latents), (0, 0)]),
    )


def repeat_rows(cache: Cache, copies: int) -> Cache:
    """A cache with so many rows for the one of this."""
    return jax.tree.map(lambda x: jnp.concatenate([x] * copies) if x.ndim else x, cache)


def restart_latents(model: PerceiverAR, cache: Cache, *, latents: int) -> tuple[Float[Array, "B D"], Cache]:
    """Compute the last of the latents again where all M are in use: the inputs, and their caches, stay as they are.

    Returns what the last latent knows and the cache with room for M - latents more.
    """
    B, M, _ = cache.latent_inputs.shape
    first = cache.inputs - latents
    latent_inputs = jax.lax.dynamic_slice_in_dim(cache.latent_inputs, cache.latents - latents, latents, axis=1)
    positions = (first + jnp.arange(latents))[None]
    latent: list[KeysValues] = []
    caches = iter(cache.cross)

    def cross_attend(q: Array, _k: Array, _v: Array) -> Array:
        keys, values = (x.reshape(B, -1, *x.shape[1:]).swapaxes(1, 2) for x in next(caches))
        at = jnp.arange(keys.shape[1])
        own = positions[..., None]
        return attend_where(q, keys, values, (at <= own) & ((at >= cache.start[:, None, None]) | (at == own)))

    def self_attend(q: Array, k: Array, v: Array) -> Array:
        return attend(q, k, v, cache.start - first)

    x = model.process(latent_inputs, positions, latent_inputs, positions, cross_attend, record(self_attend, latent))
    return x[:, -1], cache._replace(
        latent=_store(latent, M),
        latents=jnp.int32(latents),
        latent_inputs=jnp.pad(latent_inputs, [(0, 0), (0, M - latents), (0, 0)]),
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

    def local_attend(
        self, q: Float[Array, "B 1 H K"], k: Float[Array, "B 1 G K"], v: Float[Array, "B 1 G K"]
    ) -> Float[Array, "B 1 H K"]:
        """The token to the last W inputs."""
        slot = self.cache.inputs % self.config.local_window
        return self._attend(q, k, v, self._local, self.local, slot, self.seen_locally)

    def cross_attend(
        self, q: Float[Array, "B 1 H K"], k: Float[Array, "B 1 G K"], v: Float[Array, "B 1 G K"]
    ) -> Float[Array, "B 1 H K"]:
        """The token to all inputs."""
        return self._attend(q, k, v, self._cross, self.cross, self.cache.inputs, self.seen_crossing)

    def self_attend(
        self, q: Float[Array, "B 1 H K"], k: Float[Array, "B 1 G K"], v: Float[Array, "B 1 G K"]
    ) -> Float[Array, "B 1 H K"]:
        """The token to all latents."""
        return self._attend(q, k, v, self._latent, self.latent, self.cache.latents, self.seen_latents)

    def _attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        before: Iterator[KeysValues],
        after: list[KeysValues],
        slot: Array,
        seen: Array,
    ) -> Array:
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


def step(
    model: PerceiverAR, token: Int[Array, " B *Q"], cache: Cache, *, dtype: DTypeLike
) -> tuple[Float[Array, "B D"], Cache]:
    """Add a token, or a frame of Q codes: what its latent knows, and the cache with it."""
    cached = Cached(model.config, cache)
    position = cache.inputs[None, None]
    h = model.encode(token[:, None], position, cached.local_attend, dtype=dtype)
    x = model.process(h, position, h, position, cached.cross_attend, cached.self_attend)
    return x[:, 0], Cache(
        tuple(cached.local),
        tuple(cached.cross),
        tuple(cached.latent),
        cache.inputs + 1,
        cache.latents + 1,
        cache.start,
        jax.lax.dynamic_update_slice(cache.latent_inputs, h.astype(cache.latent_inputs.dtype), (0, cache.latents, 0)),
    )
