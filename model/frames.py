"""Perceiver AR over the codes of a codec: Q codebooks of S entries each, coarse first, frame after frame.

The likelihood is that of the flattened sequence, frame by frame and in a frame codebook by codebook; a token is
code + 3 (after PAD, BOS and EOS), and its place in the sequence says of which codebook it is.  Each codebook has its
own embeddings and its own logits, over its S entries alone.  Two ways to spend the arithmetic on it:

    FlatCodes    an input and a latent for every code.  Position p predicts codebook p mod Q, so its own input, the
                 code before it, is of codebook p - 1 mod Q; the first latent of a call stands at the start of a frame.
    FrameCodes   an input and a latent for every frame.  What a latent knows is read out by a small network that goes
                 through the codebooks (the RQ-Transformer's division of labour; Lee et al., 2022):

                     y_q = x P_q + sum of e(code_j) over j < q,  then a few MLP blocks,  logits = y_q W_q

                 The sum holds all of the frame so far, as a residual quantiser's does, so nothing is attended to.

Letters: B batch, F frames, N context, M latents, D width, Q codebooks, S entries, E width of a code's embedding, W
width of the read-out.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen.model.config import ModelConfig
from musicgen.model.perceiver_ar import Drop, Linear, PerceiverAR, no_drop, rms_norm

BOS = 1


class PerCodebook(nnx.Module):
    """x_q @ kernel_q: a matrix of its own for each codebook.  `axes` are the letters of a matrix."""

    def __init__(
        self, rngs: nnx.Rngs, codebooks: int, inputs: int, outputs: int, axes: tuple[str, str], scale: float = 1.0
    ):
        kernel = scale * inputs**-0.5 * jax.random.normal(rngs.params(), (codebooks, inputs, outputs))
        self.kernel = nnx.Param(kernel, axes=("Q", *axes))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, F, Q, inputs] -> [B, F, Q, outputs]."""
        return jnp.einsum("bfqi,qio->bfqo", x, self.kernel[...].astype(x.dtype))

    def logits(self, x: jax.Array) -> jax.Array:
        """The same in float32, from whatever x is."""
        kernel = self.kernel[...].astype(x.dtype)
        return jnp.einsum("bfqi,qio->bfqo", x, kernel, preferred_element_type=jnp.float32)

    def of(self, q: jax.Array | int, x: jax.Array) -> jax.Array:
        """x [B, inputs] of codebook q -> [B, outputs]."""
        return x @ self.kernel[q].astype(x.dtype)


class Codes(PerceiverAR):
    """What both have in common: the embeddings, and the blocks of Perceiver AR."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c = config
        self.config = c
        table = jax.random.normal(rngs.params(), (c.channels, c.codes, c.code_width))
        self.table = nnx.Param(table, axes=("Q", "S", "E"))
        self.widen = PerCodebook(rngs, c.channels, c.code_width, c.width, ("E", "D"))
        self.begin = nnx.Param(jax.random.normal(rngs.params(), (c.width,)), axes=("D",))
        self.add_blocks(rngs)

    def look_up(self, tokens: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """tokens i32 [B, F, Q] -> embeddings [B, F, Q, E], zero where a token is no code.

        As a matrix product, whose gradient is one too: it adds in float32, and in the same order every time.
        """
        chosen = jax.nn.one_hot(tokens - self.config.specials, self.config.codes, dtype=dtype)
        return jnp.einsum("bfqs,qse->bfqe", chosen, self.table[...].astype(dtype))

    def begun(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        """Embeddings x [B, T, D], normalised, and where tokens i32 [B, T] have BOS its own vector."""
        return rms_norm(x + (tokens == BOS)[..., None].astype(x.dtype) * self.begin[...].astype(x.dtype))


class FlatCodes(Codes):
    """A latent for every code: tokens i32 [B, N], logits f32 [B, M, S]."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, rngs)
        c = config
        self.readout = PerCodebook(rngs, c.channels, c.width, c.codes, ("D", "S"), scale=0.0)

    def embed(self, tokens: jax.Array, positions: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """tokens i32 [B, T] -> [B, T, D]; T is whole frames from the start of one, or 1 at any of positions [1, 1]."""
        (B, T), Q = tokens.shape, self.config.channels
        if T == 1:
            q = (positions[0, 0] - 1) % Q
            chosen = jax.nn.one_hot(tokens[:, 0] - self.config.specials, self.config.codes, dtype=dtype)
            return self.begun(self.widen.of(q, chosen @ self.table[q].astype(dtype))[:, None], tokens)
        self._check(T)
        # An input is of the codebook before the one it predicts; turned by one, each is in the column of its own.
        frames = jnp.roll(tokens, -1, axis=1).reshape(B, T // Q, Q)
        x = self.widen(self.look_up(frames, dtype)).reshape(B, T, -1)
        return self.begun(jnp.roll(x, 1, axis=1), tokens)

    def read(
        self, x: jax.Array, positions: jax.Array, following: jax.Array | None = None, drop: Drop = no_drop
    ) -> jax.Array:
        """x [B, T, D] -> logits f32 [B, T, S], each over the codebook of its position; T as in `embed`."""
        B, T, D = x.shape
        if T == 1:
            logits = self.readout.of(positions[0, 0] % self.config.channels, rms_norm(x[:, 0]))
            return logits.astype(jnp.float32)[:, None]
        self._check(T)
        frames = rms_norm(x).reshape(B, T // self.config.channels, self.config.channels, D)
        return self.readout.logits(frames).reshape(B, T, -1)

    def _check(self, T: int) -> None:
        if T % self.config.channels:
            raise ValueError(f"{T} codes are not whole frames of {self.config.channels}")


class FrameCodes(Codes):
    """A latent for every frame: tokens i32 [B, N, Q], logits f32 [B, M, Q, S]."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, rngs)
        c, Q, W = config, config.channels, config.depth_width
        self.view = PerCodebook(rngs, Q, c.width, W, ("D", "W"))
        self.told = PerCodebook(rngs, Q, c.code_width, W, ("E", "W"))
        self.depth = nnx.List([Mlp(rngs, W, c.widening) for _ in range(c.depth_layers)])
        self.readout = PerCodebook(rngs, Q, W, c.codes, ("W", "S"), scale=0.0)

    def embed(self, tokens: jax.Array, positions: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """tokens i32 [B, T, Q] -> [B, T, D]: the sum over the codes of a frame, in one product."""
        x = jnp.einsum("bfqe,qed->bfd", self.look_up(tokens, dtype), self.widen.kernel[...].astype(dtype))
        return self.begun(x, tokens[..., 0])

    def read(
        self, x: jax.Array, positions: jax.Array, following: jax.Array | None = None, drop: Drop = no_drop
    ) -> jax.Array:
        """x [B, T, D] and the frames that follow, i32 [B, T, Q] -> logits f32 [B, T, Q, S].

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

    def draw(self, x: jax.Array, choose: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Latents x [B, D] -> tokens i32 [B, Q] of the next frame.

        choose(q, logits f32 [B, S]) gives codes i32 [B] of codebook q.  The same sums as in `read`, one by one, in a
        loop: written out, it is compiled into copies of every codebook's matrices, which take longer than the rest.
        """
        x = rms_norm(x)

        def one(told: jax.Array, codebook: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
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
        self.up = Linear(rngs, width, widening * width, ("W", "F"))
        self.down = Linear(rngs, widening * width, width, ("F", "W"), zero=True)

    def __call__(self, y: jax.Array, drop: Drop) -> jax.Array:
        """y [..., W] -> the same shape."""
        return y + drop(self.down(jax.nn.gelu(self.up(rms_norm(y)))))


def model_class(config: ModelConfig) -> type[PerceiverAR]:
    """Which model a config is of."""
    if config.channels == 1:
        return PerceiverAR
    return FrameCodes if config.depth_layers else FlatCodes
