"""Residual vector quantisation with the factorised, l2-normalised lookup of DAC (Kumar et al., 2023, section 3.2).

    residual = z
    for each codebook:
        e = residual @ down                               [.., code_width]: few dimensions, so that all entries are used
        code = the entry with the largest cosine to e
        residual -= entry @ up
    z is about the sum of the entry @ up

The first q codebooks alone are a codec of a lower bitrate: training leaves out the last ones for a part of the rows
(quantizer dropout; SoundStream, section III.C).

Letters: B batch, F frames, D width, E code width, Q codebooks, S entries of a codebook.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen.model.codec_config import CodecConfig


class Quantized(NamedTuple):
    """What training needs to know of a quantisation."""

    latents: jax.Array  # f32 [B, F, D], quantised; its gradient goes straight through to the input
    codes: jax.Array  # i32 [B, F, Q]
    projected: jax.Array  # f32 [Q, B, F, E], what was looked up in each codebook
    commitment: jax.Array  # f32 [], moves the encoder towards the entries
    codebook: jax.Array  # f32 [], moves the entries towards what the encoder says


def unit(x: jax.Array) -> jax.Array:
    """x divided by its length over the last axis."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)


class ResidualVectorQuantizer(nnx.Module):
    """Q codebooks, each quantising what the ones before it have left over.  All of it is float32."""

    def __init__(self, rngs: nnx.Rngs, config: CodecConfig):
        D, E, Q, S = config.width, config.code_width, config.codebooks, config.codebook_size
        self.config = config
        down = D**-0.5 * jax.random.normal(rngs.params(), (Q, D, E))
        self.down = nnx.Param(down)
        # There and back is a projection: with an `up` of its own, every fresh codebook would add to the residual.
        self.up = nnx.Param(jnp.swapaxes(down, 1, 2) + 0.0)
        self.up_bias = nnx.Param(jnp.zeros((Q, D)))
        # Next to nothing, so that every codebook first sees what there is to quantise: training puts all entries there.
        self.entries = nnx.Param(0.01 * jax.random.normal(rngs.params(), (Q, S, E)))

    def look_up(self, q: int, residual: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """residual [B, F, D] -> (projected [B, F, E], code i32 [B, F], entry [B, F, E])."""
        projected = jnp.matmul(residual, self.down[q], precision="highest")
        cosine = jnp.einsum("bfe,se->bfs", unit(projected), unit(self.entries[q]), precision="highest")
        code = jnp.argmax(cosine, axis=-1)
        return projected, code, self.entries[q][code]

    def contribution(self, q: int, entry: jax.Array) -> jax.Array:
        """What an entry [B, F, E] of codebook q adds to the latents, [B, F, D]."""
        return jnp.matmul(entry, self.up[q], precision="highest") + self.up_bias[q]

    def encode(self, z: jax.Array, codebooks: int | None = None) -> jax.Array:
        """Latents [B, F, D] -> codes i32 [B, F, Q'] of the first Q' = `codebooks` codebooks (None: all)."""
        residual, codes = z.astype(jnp.float32), []
        for q in range(self.config.codebooks if codebooks is None else codebooks):
            _, code, entry = self.look_up(q, residual)
            residual = residual - self.contribution(q, entry)
            codes.append(code)
        return jnp.stack(codes, axis=-1)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes i32 [B, F, Q'] -> latents f32 [B, F, D]; Q' may be fewer than all codebooks."""
        quantised = jnp.zeros((*codes.shape[:2], self.config.width))
        for q in range(codes.shape[-1]):
            quantised = quantised + self.contribution(q, self.entries[q][codes[..., q]])
        return quantised

    def __call__(self, z: jax.Array, used: jax.Array) -> Quantized:
        """Quantise z [B, F, D] for training, row b with its first used[b] codebooks (used i32 [B], 1..Q).

        The gradient of the latents with respect to z is the identity at the input of every codebook (straight-through);
        both losses are means over the rows that use the codebook, summed over the codebooks.
        """
        residual = z.astype(jnp.float32)
        quantised = jnp.zeros_like(residual)
        codes, looked_up = [], []
        commitment = codebook = jnp.zeros(())
        for q in range(self.config.codebooks):
            projected, code, entry = self.look_up(q, residual)
            mine = (used > q).astype(jnp.float32)[:, None]  # [B, 1]
            share = mine / jnp.maximum(mine.sum() * z.shape[1], 1.0)
            stop = jax.lax.stop_gradient
            commitment += jnp.sum(share * jnp.mean(jnp.square(projected - stop(entry)), axis=-1))
            codebook += jnp.sum(share * jnp.mean(jnp.square(stop(projected) - entry), axis=-1))
            part = self.contribution(q, projected + stop(entry - projected))
            quantised = quantised + mine[..., None] * part
            residual = residual - stop(part)
            codes.append(code)
            looked_up.append(projected)
        return Quantized(quantised, jnp.stack(codes, axis=-1), jnp.stack(looked_up), commitment, codebook)


def codebooks_used(key: jax.Array, rows: int, codebooks: int, dropout: float) -> jax.Array:
    """Quantizer dropout: i32 [rows], all codebooks, or for a share `dropout` of the rows a random number 1..Q."""
    drop_key, number_key = jax.random.split(key)
    number = jax.random.randint(number_key, (rows,), 1, codebooks + 1)
    return jnp.where(jax.random.bernoulli(drop_key, dropout, (rows,)), number, codebooks)


def code_counts(codes: jax.Array, used: jax.Array, size: int) -> jax.Array:
    """How often each entry was chosen: f32 [Q, S] from codes i32 [B, F, Q], in the rows that use the codebook."""
    Q = codes.shape[-1]
    weight = (used[:, None] > jnp.arange(Q)).astype(jnp.float32)  # [B, Q]
    weight = jnp.broadcast_to(weight[:, None], codes.shape)
    at = codes + size * jnp.arange(Q)
    return jnp.zeros(Q * size).at[at.reshape(-1)].add(weight.reshape(-1)).reshape(Q, size)


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of each codebook's use: counts [Q, S] -> f32 [Q], between 1 and S."""
    p = counts / jnp.maximum(counts.sum(axis=-1, keepdims=True), 1e-9)
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-30)), 0.0), axis=-1))


def revive(
    entries: jax.Array, use: jax.Array, projected: jax.Array, key: jax.Array, threshold: float
) -> tuple[jax.Array, jax.Array]:
    """Put dead entries where there is something to quantise (SoundStream, section III.C).

    entries f32 [Q, S, E]; use f32 [Q, S], each entry's share of its codebook's choices, S times over (1 is even use);
    projected f32 [Q, ..., E].  An entry whose use is below `threshold` becomes a random one of the projected, as used
    as any other.  Returns (entries, which were dead bool [Q, S]).
    """
    Q, S, E = entries.shape
    candidates = projected.reshape(Q, -1, E)
    chosen = jax.random.randint(key, (Q, S), 0, candidates.shape[1])
    fresh = jnp.take_along_axis(candidates, chosen[..., None], axis=1)
    dead = use < threshold
    return jnp.where(dead[..., None], fresh, entries), dead
