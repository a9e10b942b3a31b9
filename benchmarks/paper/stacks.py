"""Three stacks over the parameters of one Perceiver AR: itself, a plain decoder, Transformer-XL.

All have the same blocks (model/perceiver_ar.py), in the same order and number, and so the same parameters:

    perceiver-ar     local blocks over N inputs, cross-attends from M latents, the rest over the latents; M targets
    plain            M = N: every block over all N inputs, the local ones in their window; N targets
    transformer-xl   Dai et al. (2019): the last M inputs are the segment; every block, the local ones in their window,
                     also sees the N - M hidden states before it that earlier calls left, without gradient; M targets.
                     Segments must come in order

places: sizes of learnt tables, one for each absolute coordinate of an input (for pixels: row, column, channel, of the
input and of what follows it); a row of each is added to the embedding.  Without, rotary distances are all there is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from musicgen.model import parameters
from musicgen.model.attention import attend, local_attend
from musicgen.model.config import SPECIALS, ModelConfig
from musicgen.model.parameters import Parameters
from musicgen.model.perceiver_ar import Block, PerceiverAR, no_drop
from musicgen.model.training.multi_context import MultiContext, one_setting

KINDS = ("perceiver-ar", "plain", "transformer-xl")


@dataclasses.dataclass(frozen=True)
class Stack:
    """A stack and how it is called; config.context and config.latents are N and M."""

    config: ModelConfig
    kind: str = "perceiver-ar"
    keep: float = 1.0  # share of the inputs before the latents that cross-attend dropout leaves in training
    places: tuple[int, ...] = ()
    compute: str = "bfloat16"

    @property
    def sizes(self) -> tuple[int, int]:
        """N and M of a call."""
        N = self.config.context
        return N, N if self.kind == "plain" else self.config.latents

    def resized(self, N: int, M: int) -> Stack:
        """The same parameters over other lengths."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, context=N, latents=M))

    def initial(self, seed: int) -> Parameters:
        """Fresh parameters f32 by name."""
        params = parameters.initial(self.config, seed)
        for i, (size, key) in enumerate(zip(self.places, keys(seed, len(self.places)), strict=True)):
            params[f"embedding.place.{i}"] = 0.1 * jax.random.normal(key, (size, self.config.width))
        return params

    def memory(self, rows: int) -> jax.Array:
        """What Transformer-XL remembers before the first segment [L, B, N - M, D]; nothing of the others."""
        c, (N, M) = self.config, self.sizes
        depth = c.local_layers + c.cross_attends + c.layers
        shape = (depth, rows, N - M, c.width) if self.kind == "transformer-xl" else (0,)
        return jnp.zeros(shape, self.compute)

    def logits(
        self,
        params: Mapping[str, jax.Array],
        inputs: jax.Array,
        at: jax.Array,
        memory: jax.Array,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Logits f32 [B, M, V] after the last M inputs, and Transformer-XL's next memory.

        inputs: i32 [B, N], of Transformer-XL [B, M].  at: their places i32 [B, N, number of tables].  key: of the
        cross-attend dropout, in training.
        """
        arrays = {name: x.astype(self.compute) for name, x in params.items()}
        tables = [arrays.pop(f"embedding.place.{i}") for i in range(len(self.places))]
        model = parameters.bind(self.config, arrays)
        x = model.embed(inputs, jnp.dtype(self.compute))
        for i, table in enumerate(tables):
            x = x + jax.nn.one_hot(at[..., i], len(table), dtype=x.dtype) @ table  # a gather's gradient is slow
        if self.kind == "transformer-xl":
            x, memory = self.segment(model, x, memory)
        else:
            x = self.whole(model, x, key)
        return model.decode(x), memory

    def whole(self, model: PerceiverAR, h: jax.Array, key: jax.Array | None) -> jax.Array:
        """Embedded inputs [B, N, D] -> latents [B, M, D]."""
        (N, M), window = self.sizes, self.config.local_window
        positions = jnp.arange(N)[None]
        for block in model.local:
            h = block(h, positions, lambda q, k, v: local_attend(q, k, v, window), no_drop)
        cross = attend if key is None else MultiContext(one_setting(N, M), N, M).cross_attend(self.keep, key)
        return model.process(h[:, N - M :], positions[:, N - M :], h, positions, cross, attend)

    def segment(self, model: PerceiverAR, x: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Embedded segment [B, M, D] -> what its blocks make of it, and the memory for the next."""
        (N, M), window = self.sizes, self.config.local_window
        positions, after, near = jnp.arange(N)[None], [], min(window, N - M)

        def attend_near(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return local_attend(jnp.pad(q, [(0, 0), (near, 0), (0, 0), (0, 0)]), k, v, window)[:, near:]

        for i, (block, before) in enumerate(zip(in_order(model), memory, strict=True)):
            local = i < self.config.local_layers
            seen = jnp.concatenate([before, x], axis=1)
            after.append(jax.lax.stop_gradient(seen[:, M:]))
            first = N - M - near if local else 0
            keys_values = block.keys_values(seen[:, first:], positions[:, first:])
            x = block(x, positions[:, N - M :], attend_near if local else attend, no_drop, keys_values)
        return x, jnp.stack(after)


def config_of_bytes(width: int, **others: int) -> ModelConfig:
    """Of a model of 256 values: heads of 64, and keys and values for each four of them."""
    heads, kv_heads = max(1, width // 64), max(1, width // 256)
    return ModelConfig(vocab_size=SPECIALS + 256, width=width, heads=heads, kv_heads=kv_heads, **others)


def in_order(model: PerceiverAR) -> list[Block]:
    """All blocks in the order in which the whole model calls them."""
    blocks = list(model.local)
    for layer, block in enumerate(model.layers):
        blocks += [model.cross[i] for i in model.config.crosses_before(layer)]
        blocks.append(block)
    return blocks


def keys(seed: int, count: int) -> list[jax.Array]:
    """So many keys of a seed."""
    return list(jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), count)) if count else []


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)
