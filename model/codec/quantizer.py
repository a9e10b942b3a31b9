"""Residual vector quantisation, codebooks kept as running means (SoundStream, section III.C; Zeghidour et al., 2021).

    residual = z
    for each codebook:
        code = the entry nearest to the residual
        residual -= entry
    z is about the sum of the entries

The first q codebooks alone are a codec of a lower bitrate: training leaves out the last ones for a part of the rows
(quantizer dropout).  Entries begin as the means of what there is to quantise (`kmeans_init`) and follow it as running
means.  DAC's lookup by direction in eight dimensions is another way; benchmarks/codec says what either does on piano.

Letters: B batch, F frames, D width, Q codebooks, S entries of a codebook.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen.model.codec.config import CodecConfig
from musicgen.model.shapes import Array, Bool, Float, Int

ROUNDS = 8  # of k-means, for a fresh codebook


class Quantized(NamedTuple):
    """What training needs to know of a quantisation."""

    latents: jax.Array  # f32 [B, F, D], quantised; its gradient goes straight through to the input
    codes: jax.Array  # i32 [B, F, Q]
    residuals: jax.Array  # f32 [Q, B, F, D], what was looked up in each codebook
    commitment: jax.Array  # f32 [], moves the encoder towards the entries


def nearest(x: Float[Array, "... D"], codebook: Float[Array, "S D"]) -> Int[Array, " ..."]:
    """The entry nearest to each x."""
    products = jnp.einsum("...d,sd->...s", x, codebook, precision="highest")
    return jnp.argmax(products - 0.5 * jnp.sum(jnp.square(codebook), axis=-1), axis=-1)


class ResidualVectorQuantizer(nnx.Module):
    """Q codebooks, each quantising what the ones before it have left over.  All of it is float32."""

    def __init__(self, rngs: nnx.Rngs, config: CodecConfig):
        shape = (config.codebooks, config.codebook_size, config.width)
        self.config = config
        self.entries = nnx.Param(jax.random.normal(rngs.params(), shape))

    def encode(self, z: Float[Array, "B F D"], codebooks: int | None = None) -> Int[Array, "B F Q"]:
        """Latents -> codes of the first Q = `codebooks` codebooks (None: all)."""
        residual, codes = z.astype(jnp.float32), []
        for q in range(self.config.codebooks if codebooks is None else codebooks):
            codes.append(nearest(residual, self.entries[q]))
            residual = residual - self.entries[q][codes[-1]]
        return jnp.stack(codes, axis=-1)

    def decode(self, codes: Int[Array, "B F Q"]) -> Float[Array, "B F D"]:
        """Codes -> latents; Q may be fewer than all codebooks."""
        quantised = jnp.zeros((*codes.shape[:2], self.config.width))
        for q in range(codes.shape[-1]):
            quantised = quantised + self.entries[q][codes[..., q]]
        return quantised

    def __call__(self, z: Float[Array, "B F D"], used: Int[Array, " B"]) -> Quantized:
        """Quantise z for training, row b with its first used[b] codebooks (1..Q).

        The gradient of the latents with respect to z is the identity (straight-through); the commitment is a mean over
        the rows that use a codebook, summed over the codebooks.
        """
        z = residual = z.astype(jnp.float32)
        quantised, commitment, codes, looked_up = jnp.zeros_like(z), jnp.zeros(()), [], []
        stop = jax.lax.stop_gradient
        for q in range(self.config.codebooks):
            code = nearest(stop(residual), self.entries[q])
            entry = stop(self.entries[q][code])
            mine = (used > q).astype(jnp.float32)[:, None]  # [B, 1]
            share = mine / jnp.maximum(mine.sum() * z.shape[1], 1.0)
            commitment += jnp.sum(share * jnp.mean(jnp.square(residual - entry), axis=-1))
            quantised = quantised + mine[..., None] * entry
            codes.append(code)
            looked_up.append(stop(residual))
            residual = residual - entry
        return Quantized(z + stop(quantised - z), jnp.stack(codes, axis=-1), jnp.stack(looked_up), commitment)


@functools.partial(jax.jit, static_argnames="config")
def kmeans_init(z: Float[Array, "N D"], key: jax.Array, config: CodecConfig) -> Float[Array, "Q S D"]:
    """Codebooks by k-means on latents, one after the other on what is left over."""
    S = config.codebook_size

    def fit(residual: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = residual[jax.random.choice(key, residual.shape[0], (S,), replace=residual.shape[0] < S)]

        def improve(_: jax.Array, codebook: jax.Array) -> jax.Array:
            sums, counts = segment_sums(residual, nearest(residual, codebook), S)
            return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], codebook)

        codebook = jax.lax.fori_loop(0, ROUNDS, improve, start)
        return residual - codebook[nearest(residual, codebook)], codebook

    return jax.lax.scan(fit, z.astype(jnp.float32), jax.random.split(key, config.codebooks))[1]


def segment_sums(
    x: Float[Array, "N D"], code: Int[Array, " N"], size: int, weight: Float[Array, " N"] | None = None
) -> tuple[Float[Array, "S D"], Float[Array, " S"]]:
    """(sum of the x of each code, how many they are), each x counted `weight` times."""
    weight = jnp.ones(x.shape[0]) if weight is None else weight
    sums = jnp.zeros((size, x.shape[1])).at[code].add(weight[:, None] * x)
    return sums, jnp.zeros(size).at[code].add(weight)


def ema_update(
    codebooks: Float[Array, "Q S D"],
    use: Float[Array, "Q S"],
    quantized: Quantized,
    used: Int[Array, " B"],
    decay: float,
) -> tuple[Float[Array, "Q S D"], Float[Array, "Q S"]]:
    """The codebooks, each entry the running mean of what chose it, and the use of the entries.

    Use is each entry's running share of its codebook's choices, S times over (1 is even use), in the rows that use the
    codebook.
    """
    Q, S, D = codebooks.shape
    means, uses = [], []
    for q in range(Q):
        weight = jnp.repeat((used > q).astype(jnp.float32), quantized.codes.shape[1])
        sums, counts = segment_sums(
            quantized.residuals[q].reshape(-1, D), quantized.codes[..., q].reshape(-1), S, weight
        )
        share = (1 - decay) * S / jnp.maximum(weight.sum(), 1.0)
        new = decay * use[q] + share * counts
        means.append((decay * use[q][:, None] * codebooks[q] + share * sums) / jnp.maximum(new, 1e-9)[:, None])
        uses.append(new)
    return jnp.stack(means), jnp.stack(uses)


def quantizer_dropout(key: jax.Array, rows: int, codebooks: int, dropout: float) -> Int[Array, " rows"]:
    """Quantizer dropout: all codebooks, or for a share `dropout` of the rows a random number 1..Q."""
    drop_key, number_key = jax.random.split(key)
    number = jax.random.randint(number_key, (rows,), 1, codebooks + 1)
    return jnp.where(jax.random.bernoulli(drop_key, dropout, (rows,)), number, codebooks)


def perplexity(counts: Float[Array, "Q S"]) -> Float[Array, " Q"]:
    """exp of the entropy of each codebook's use, between 1 and S."""
    p = counts / jnp.maximum(counts.sum(axis=-1, keepdims=True), 1e-9)
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-30)), 0.0), axis=-1))


def replace_dead_codes(
    codebooks: Float[Array, "Q S D"],
    use: Float[Array, "Q S"],
    residuals: Float[Array, "Q ... D"],
    key: jax.Array,
    threshold: float,
) -> tuple[Float[Array, "Q S D"], Bool[Array, "Q S"]]:
    """Put dead entries where there is something to quantise (SoundStream, section III.C).

    An entry whose use (of `ema_update`) is below `threshold` becomes a random one of the residuals.  Returns (the
    codebooks, which entries were dead).
    """
    Q, S, D = codebooks.shape
    candidates = residuals.reshape(Q, -1, D)
    chosen = jax.random.randint(key, (Q, S), 0, candidates.shape[1])
    fresh = jnp.take_along_axis(candidates, chosen[..., None], axis=1)
    dead = use < threshold
    return jnp.where(dead[..., None], fresh, codebooks), dead
