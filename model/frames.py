"""Perceiver AR over the codes of a codec: Q codebooks of S entries each, coarse first, frame after frame.

The likelihood is that of the flattened sequence, frame by frame and in a frame codebook by codebook; a token is
code + 3 (after PAD, BOS and EOS), and its place in the sequence says of which codebook it is.  Each codebook has its
own embeddings and its own logits, over its S entries alone.

There is an input and a latent for every frame.  What a latent knows is read out by a small network that goes through
the codebooks (the RQ-Transformer's division of labour; Lee et al., 2022):

    y_q = x P_q + sum of e(code_j) over j < q,  then a few MLP blocks,  logits = y_q W_q

The sum holds all of the frame so far, as a residual quantiser's does, so nothing is attended to.  A latent for every
code, as in the paper, was worse by 0.7 nats or more after the same time (benchmarks/codes).

Letters: B batch, F frames, N context, M latents, D width, Q codebooks, S entries, E width of a code's embedding, W
width of the read-out.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from musicgen.model.config import BOS, ModelConfig
from musicgen.model.perceiver_ar import Drop, Linear, PerceiverAR, no_drop, rms_norm
from musicgen.model.shapes import Array, Float, Int


class PerCodebook(nnx.Module):
    """x_q @ kernel_q: a matrix of its own for each codebook."""

    def __init__(self, rngs: nnx.Rngs, codebooks: int, inputs: int, outputs: int, scale: float = 1.0):
        kernel = scale * inputs**-0.5 * jax.random.normal(rngs.params(), (codebooks, inputs, outputs))
        self.kernel = nnx.Param(kernel)

    def __call__(self, x: Float[Array, "B F Q inputs"]) -> Float[Array, "B F Q outputs"]:
        """Of all codebooks."""
        return jnp.einsum("bfqi,qio->bfqo", x, self.kernel[...].astype(x.dtype))

    def logits(self, x: Float[Array, "B F Q inputs"]) -> Float[Array, "B F Q outputs"]:
        """The same in float32, from whatever x is."""
        kernel = self.kernel[...].astype(x.dtype)
        return jnp.einsum("bfqi,qio->bfqo", x, kernel, preferred_element_type=jnp.float32)


class FrameCodes(PerceiverAR):
    """A latent for every frame: tokens i32 [B, N, Q], logits f32 [B, M, Q, S]."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c, Q, W = config, config.channels, config.depth_width
        self.config = c
        table = jax.random.normal(rngs.params(), (Q, c.codes, c.code_width))
        self.table = nnx.Param(table)
        self.widen = PerCodebook(rngs, Q, c.code_width, c.width)
        self.begin = nnx.Param(jax.random.normal(rngs.params(), (c.width,)))
        self.add_blocks(rngs)
        self.view = PerCodebook(rngs, Q, c.width, W)
        self.told = PerCodebook(rngs, Q, c.code_width, W)
        self.depth = nnx.List([Mlp(rngs, W, c.widening) for _ in range(c.depth_layers)])
        self.readout = PerCodebook(rngs, Q, W, c.codes, scale=0.0)

    def look_up(self, tokens: Int[Array, "B F Q"], dtype: DTypeLike) -> Float[Array, "B F Q E"]:
        """Embeddings, zero where a token is no code.

        As a matrix product, whose gradient is one too: it adds in float32, and in the same order every time.
        """
        chosen = jax.nn.one_hot(tokens - self.config.specials, self.config.codes, dtype=dtype)
        return jnp.einsum("bfqs,qse->bfqe", chosen, self.table[...].astype(dtype))

    def embed(self, tokens: Int[Array, "B T Q"], dtype: DTypeLike) -> Float[Array, "B T D"]:
        """The sum over the codes of a frame, in one product; BOS has a vector."""
        x = jnp.einsum("bfqe,qed->bfd", self.look_up(tokens, dtype), self.widen.kernel[...].astype(dtype))
        begins = (tokens[..., 0] == BOS)[..., None].astype(dtype)
        return rms_norm(x + begins * self.begin[...].astype(dtype))

    def decode(
        self, x: Float[Array, "B T D"], following: Int[Array, "B T Q"] | None = None, drop: Drop = no_drop
    ) -> Float[Array, "B T Q S"]:
        """Logits f32 of the frames that follow each latent.

        The logits of a codebook know those before it, not its own.
        """
        if following is None:
            raise ValueError("the logits of a frame need its codes: each knows those before it")
        kernel = self.view.kernel[...].astype(x.dtype)
        y = jnp.einsum("bfd,qdw->bfqw", rms_norm(x), kernel)
        told = self.told(self.look_up(following, x.dtype))
        before = jnp.tril(jnp.ones((self.config.channels, self.config.channels), x.dtype), -1)
        y = y + jnp.einsum("qj,bfjw->bfqw", before, told)
        for block in self.depth:
            y = block(y, drop)
        return self.readout.logits(rms_norm(y))

    def draw(self, x: Float[Array, "B D"], choose: Callable[[Array, Array], Array]) -> Int[Array, "B Q"]:
        """The tokens i32 of the frame after each latent.

        choose(q, logits f32 [B, S]) gives codes i32 [B] of codebook q.  The same sums as in `decode`, one by one, in a
        loop: written out, it is compiled into copies of every codebook's matrices, which take longer than the rest.
        """
        x = rms_norm(x)

        def one(told: Array, codebook: tuple[Array, ...]) -> tuple[Array, Array]:
            q, view, table, tell, readout = codebook
            y = x @ view + told
            for block in self.depth:
                y = block(y, no_drop)
            code = choose(q, (rms_norm(y) @ readout).astype(jnp.float32))
            return told + table[code] @ tell, code + self.config.specials

        each = (p[...].astype(x.dtype) for p in (self.view.kernel, self.table, self.told.kernel, self.readout.kernel))
        none = jnp.zeros((x.shape[0], self.config.depth_width), x.dtype)
        _, tokens = jax.lax.scan(one, none, (jnp.arange(self.config.channels), *each))
        return tokens.T


class Mlp(nnx.Module):
    """Pre-norm GELU MLP with a residual."""

    def __init__(self, rngs: nnx.Rngs, width: int, widening: int):
        self.up = Linear(rngs, width, widening * width)
        self.down = Linear(rngs, widening * width, width, zero=True)

    def __call__(self, y: Float[Array, "*rows W"], drop: Drop) -> Float[Array, "*rows W"]:
        """y with what the block adds."""
        return y + drop(self.down(jax.nn.gelu(self.up(rms_norm(y)))))


def model_class(config: ModelConfig) -> type[PerceiverAR]:
    """Which model a config is of."""
    return PerceiverAR if config.channels == 1 else FrameCodes
