"""Perceiver AR (Hawthorne et al., ICML 2022), in Flax NNX.  Integers in, logits out.

    tokens [B, N] -> embed -> local blocks over all N -> h [B, N, D]
    latents x = h[:, -M:]                                   (section 3.1: the queries are the last M embedded inputs)
    x = cross-attend block(x, h)                            (each latent sees every input up to and including its own)
    x = causal self-attend blocks(x)                        (sees latents up to and including its own)
    logits = x @ W                                          [B, M, V]: position j predicts the token after input N-M+j

M and N are arguments of a call, not of the model; M = N is a plain decoder.  What differs from the paper, each choice
measured on MAESTRO (checkpoints/LOG.md): RMSNorm without scales, QK-norm, GELU, grouped-query attention,
zero-initialised block outputs, and `local_layers` blocks of windowed attention over the inputs, so that a key far
outside the latents carries the notes around it and not one token alone.  Their cost is linear in N, like the
cross-attend's.  A call may have more inputs than any row in training: see `clamp_positions`.

Letters: B batch, N context, M latents, D width, H heads, G key/value heads, K head size, V vocabulary, W window.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from musicgen.model.attention import attend, local_attend
from musicgen.model.config import ModelConfig
from musicgen.model.shapes import Array, Float, Int

Attend = Callable[[Array, Array, Array], Array]
Drop = Callable[[Array], Array]


def rms_norm(x: Float[Array, ...]) -> Float[Array, ...]:
    """Divide by the root mean square over the last axis, in float32 (Zhang & Sennrich, 2019; no learnt scale)."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + 1e-6)).astype(x.dtype)


def rotary(x: Float[Array, "B T H K"], positions: Int[Array, "#B T"], fraction: float) -> Float[Array, "B T H K"]:
    """Rotate the first `fraction` of each head by its position (Su et al., 2021; paper section 3.2).

    positions: of each row, or the same for all.
    """
    pairs = int(x.shape[-1] * fraction) // 2
    frequency = 10_000.0 ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    angle = positions.astype(jnp.float32)[..., None, None] * frequency  # [B, T, 1, pairs]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if positions.shape[-1] > 1:  # or else XLA computes them anew for every head, both ways
        cos, sin = jax.lax.optimization_barrier((cos, sin))
    first, second = x[..., :pairs].astype(jnp.float32), x[..., pairs : 2 * pairs].astype(jnp.float32)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return jnp.concatenate([turned.astype(x.dtype), x[..., 2 * pairs :]], axis=-1)


def clamp_positions(positions: Int[Array, "B T"], end: int, latents: int, reach: int) -> Int[Array, "B T"]:
    """Where the cross-attends take inputs to stand when `latents` latents end before position `end`.

    No input before the latents stands farther back from `end` than `reach`, the context that was trained.

    A distance that was never trained turns keys at random: with plain positions N = 8192 is worse than 4096 by 0.02
    nats, N = 16384 by 0.05.  What is farther back than the trained context is found by what it holds, not by where it
    lies, and then both are better than 4096, by 0.007 and 0.010 (checkpoints/LOG.md, section 7).
    """
    return jnp.maximum(positions, end - max(reach, latents))


def matmul_min_rows(x: Float[Array, "*rows D"], kernel: Float[Array, "D F"]) -> Float[Array, "*rows F"]:
    """x [..., D] @ kernel [D, F] with no fewer than eight rows, of which zeros are left out of what is returned.

    XLA makes a sum on a GPU's ordinary units of a product with a single row, and a matrix product of one with eight:
    a step of decoding one piece takes 0.44 ms instead of 0.58 (benchmarks/decoding).
    """
    rows = x.size // x.shape[-1]
    if rows >= 8:
        return x @ kernel
    padded = jnp.pad(x.reshape(rows, -1), ((0, 8 - rows), (0, 0)))
    # Without the barrier XLA sees that only some rows are wanted.
    return jax.lax.optimization_barrier(padded @ kernel)[:rows].reshape(*x.shape[:-1], -1)


class Linear(nnx.Module):
    """x @ kernel, no bias."""

    def __init__(self, rngs: nnx.Rngs, inputs: int, outputs: int, zero: bool = False):
        scale = 0.0 if zero else inputs**-0.5
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), (inputs, outputs)))

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows F"]:
        product = matmul_min_rows if jax.default_backend() == "gpu" else jnp.matmul
        return product(x, self.kernel[...].astype(x.dtype))


class Block(nnx.Module):
    """Pre-norm attention and GELU MLP with residuals; queries and keys may come from different sequences."""

    def __init__(self, rngs: nnx.Rngs, config: ModelConfig):
        c, K = config, config.head_size
        self.config = config
        self.query = Linear(rngs, c.width, c.heads * K)
        self.key = Linear(rngs, c.width, c.kv_heads * K)
        self.value = Linear(rngs, c.width, c.kv_heads * K)
        self.out = Linear(rngs, c.heads * K, c.width, zero=True)
        self.query_scale = nnx.Param(jnp.ones(K))
        self.key_scale = nnx.Param(jnp.ones(K))
        self.up = Linear(rngs, c.width, c.widening * c.width)
        self.down = Linear(rngs, c.widening * c.width, c.width, zero=True)

    def queries(self, x: Float[Array, "B T D"], positions: Int[Array, "#B T"]) -> Float[Array, "B T H K"]:
        """Normalised and rotated."""
        q = self.query(rms_norm(x)).reshape(*x.shape[:2], self.config.heads, self.config.head_size)
        return rotary(rms_norm(q) * self.query_scale[...].astype(x.dtype), positions, self.config.rotary_fraction)

    def keys_values(
        self, x: Float[Array, "B T D"], positions: Int[Array, "#B T"]
    ) -> tuple[Float[Array, "B T G K"], Float[Array, "B T G K"]]:
        """Keys, normalised and rotated, and plain values."""
        shape = (*x.shape[:2], self.config.kv_heads, self.config.head_size)
        x = rms_norm(x)
        k = rms_norm(self.key(x).reshape(shape)) * self.key_scale[...].astype(x.dtype)
        return rotary(k, positions, self.config.rotary_fraction), self.value(x).reshape(shape)

    def mix(self, x: Float[Array, "B T D"], attended: Float[Array, "B T H K"], drop: Drop) -> Float[Array, "B T D"]:
        """The block's output from the residual stream and the attended values."""
        x = x + drop(self.out(attended.reshape(*x.shape[:2], -1)))
        up = self.up(rms_norm(x))
        return x + drop(self.down(jax.checkpoint(jax.nn.gelu)(up)))  # for the gradient `up` alone is kept

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "#B T"],
        attend: Attend,
        drop: Drop,
        keys_values: tuple[Float[Array, "B N G K"], Float[Array, "B N G K"]] | None = None,
    ) -> Float[Array, "B T D"]:
        """Self-attend, or attend to the given keys and values."""
        k, v = self.keys_values(x, positions) if keys_values is None else keys_values
        return self.mix(x, attend(self.queries(x, positions), k, v), drop)


def no_drop(x: Array) -> Array:
    """Outside training nothing is dropped."""
    return x


class PerceiverAR(nnx.Module):
    """The whole model: `encode` is linear in N, `process` quadratic in M, and `decode` makes logits of it."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (config.vocab_size, config.width)))
        self.add_blocks(rngs)
        self.logits = Linear(rngs, config.width, config.vocab_size, zero=True)

    def add_blocks(self, rngs: nnx.Rngs) -> None:
        """Everything between the embedding and the logits."""
        config = self.config
        self.local = nnx.List([Block(rngs, config) for _ in range(config.local_layers)])
        self.cross = nnx.List([Block(rngs, config) for _ in range(config.cross_attends)])
        self.layers = nnx.List([Block(rngs, config) for _ in range(config.layers)])

    def embed(self, tokens: Int[Array, "B T"], dtype: DTypeLike) -> Float[Array, "B T D"]:
        """As a matrix product, whose gradient is one too: deterministic and quick."""
        return rms_norm(jax.nn.one_hot(tokens, self.config.vocab_size, dtype=dtype) @ self.embedding[...].astype(dtype))

    def encode(
        self,
        tokens: Int[Array, "B T *Q"],
        positions: Int[Array, "#B T"],
        local_attend: Attend,
        *,
        dtype: DTypeLike = jnp.float32,
        drop: Drop = no_drop,
    ) -> Float[Array, "B T D"]:
        """Inputs h from tokens, or frames of Q codes."""
        h = self.embed(tokens, dtype)
        for block in self.local:
            h = block(h, positions, local_attend, drop)
        return h

    def process(
        self,
        x: Float[Array, "R M D"],
        positions: Int[Array, "#R M"],
        h: Float[Array, "B T D"],
        input_positions: Int[Array, "#B T"],
        cross_attend: Attend,
        self_attend: Attend,
        drop: Drop = no_drop,
    ) -> Float[Array, "R M D"]:
        """What latents x hold in the end, having seen inputs h, each with its positions.

        The attend functions hold the masks, and so the same lines serve the whole forward pass, training on a batch
        that is sliced in several ways (model/training/multi_context.py) and one step with a cache (model/decoding.py).
        """
        for layer, block in enumerate(self.layers):
            for i in self.config.crosses_before(layer):
                keys_values = self.cross[i].keys_values(h, input_positions)
                x = self.cross[i](x, positions, cross_attend, drop, keys_values)
            x = block(x, positions, self_attend, drop)
        return x

    def decode(
        self, x: Float[Array, "B T D"], following: Int[Array, "B T *Q"] | None = None, drop: Drop = no_drop
    ) -> Float[Array, "B T *Q V"]:
        """Logits f32 after each latent.  What else is given matters to codes alone (model/frames.py)."""
        kernel = self.logits.kernel[...].astype(x.dtype)
        return jnp.matmul(rms_norm(x), kernel, preferred_element_type=jnp.float32)

    def __call__(
        self,
        tokens: Int[Array, "B N *Q"],
        *,
        latents: int,
        start: Int[Array, " B"] | None = None,
        dtype: DTypeLike = jnp.float32,
        following: Int[Array, "B M *Q"] | None = None,
    ) -> Float[Array, "B M *Q V"]:
        """Logits f32 of the tokens that follow the last M = `latents` of the N inputs.

        start: how many inputs on the left are padding.  following: see `decode`.  Raises ValueError if M > N.
        """
        if not 1 <= latents <= tokens.shape[1]:
            raise ValueError(f"latents must be between 1 and the context ({tokens.shape[1]}), not {latents}")
        first = tokens.shape[1] - latents
        positions = jnp.arange(tokens.shape[1])[None]
        masked = Masked(self.config, first, start)
        h = self.encode(tokens, positions, masked.local_attend, dtype=dtype)
        x, at = h[:, first:], positions[:, first:]
        input_positions = clamp_positions(positions, tokens.shape[1], latents, self.config.context)
        x = self.process(x, at, h, input_positions, masked.cross_attend, masked.self_attend)
        return self.decode(x, following)


class Masked:
    """The three attentions of a whole forward pass: latents begin at input `first`, rows at start i32 [B]."""

    def __init__(self, config: ModelConfig, first: int, start: Array | None):
        self.window, self.first, self.start = config.local_window, first, start

    def local_attend(
        self, q: Float[Array, "B N H K"], k: Float[Array, "B N G K"], v: Float[Array, "B N G K"]
    ) -> Float[Array, "B N H K"]:
        """Inputs to the inputs shortly before them."""
        return local_attend(q, k, v, self.window, self.start)

    def cross_attend(
        self, q: Float[Array, "B M H K"], k: Float[Array, "B T G K"], v: Float[Array, "B T G K"]
    ) -> Float[Array, "B M H K"]:
        """Latents to all inputs up to their own."""
        return attend(q, k, v, self.start)

    def self_attend(
        self, q: Float[Array, "B M H K"], k: Float[Array, "B T G K"], v: Float[Array, "B T G K"]
    ) -> Float[Array, "B M H K"]:
        """Latents to latents up to their own."""
        return attend(q, k, v, None if self.start is None else self.start - self.first)
