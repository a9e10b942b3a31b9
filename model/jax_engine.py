"""The engine on JAX: on GPUs and TPUs, and wherever ONNX Runtime is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.decoding import Cache, copied, prefill, renew, step
from musicgen.model.engine import PAD, Engine, Grammar, Inclined, Memory, ruled
from musicgen.model.sampler import sample


class JaxEngine(Engine):
    """An engine over float parameters; keeps its compiled functions."""

    xp = jnp

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        grammar: Grammar,
        preamble: Sequence[int] | np.ndarray = (),
        memory: Memory | None = None,
    ):
        super().__init__(config, grammar, preamble, memory)
        on_cpu = jax.default_backend() == "cpu"
        self.dtype = jnp.dtype(jnp.float32 if on_cpu else jnp.bfloat16)
        self.block = Engine.block if on_cpu else 64  # 0.03 s on an H200
        self.params = {name: jnp.asarray(x, self.dtype) for name, x in params.items()}
        self.compiled_prefill = jax.jit(self._prefill, static_argnames=("read", "latents", "context", "ahead"))
        self.compiled_renew = jax.jit(self._renew, static_argnames=("read",), donate_argnames=("cache",))
        self.compiled_copied = jax.jit(copied, static_argnames=("copies",))
        self.compiled_draw = jax.jit(self._draw, static_argnames=("grammar",), donate_argnames=("cache",))
        # A GPU runs a loop whose length is known without asking the host after every token (benchmarks/decoding).
        self.compiled_block = jax.jit(self._draw, static_argnames=("grammar", "count"), donate_argnames=("cache",))

    def _prefill(
        self, params: Any, tokens: jax.Array, start: jax.Array, read: int, latents: int, context: int, ahead: int
    ) -> tuple[jax.Array, Cache]:
        model = parameters.bind(self.config, params)
        return prefill(model, tokens, start, read=read, latents=latents, context=context, ahead=ahead, dtype=self.dtype)

    def _renew(self, params: Any, cache: Cache, read: int) -> tuple[jax.Array, Cache]:
        return renew(parameters.bind(self.config, params), cache, read=read)

    def _draw(
        self,
        params: Any,
        logits: jax.Array,
        cache: Cache,
        state: Any,
        key: jax.Array,
        first: jax.Array,
        count: jax.Array | int,
        sampling: dict[str, jax.Array],
        grammar: Grammar | Inclined,
    ) -> tuple[jax.Array, jax.Array, Cache, Any]:
        model = parameters.bind(self.config, params)

        def one(i: jax.Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            drawn, logits, cache, state = carry
            logits, allowed = ruled(grammar, state, logits)
            noise = jax.random.gumbel(jax.random.fold_in(key, first + i), logits.shape, logits.dtype)
            token = sample(noise, logits, allowed, sampling)
            logits, cache = step(model, token, cache, dtype=self.dtype)
            drawn = jax.lax.dynamic_update_slice(drawn, token[:, None].astype(drawn.dtype), (0, i))
            return drawn, logits, cache, grammar.advance(state, token)

        drawn = jnp.full((logits.shape[0], self.block), PAD, jnp.int16)
        return jax.lax.fori_loop(0, count, one, (drawn, logits, cache, state))

    def prefill(
        self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int, ahead: int
    ) -> tuple[jax.Array, Cache]:
        """See Engine."""
        cut = {"read": read, "latents": latents, "context": context, "ahead": ahead}
        return jax.block_until_ready(self.compiled_prefill(self.params, tokens, start, **cut))

    def copied(self, logits: jax.Array, cache: Cache, copies: int) -> tuple[jax.Array, Cache]:
        """See Engine."""
        return jnp.tile(logits, (copies, 1)), self.compiled_copied(cache, copies=copies)

    def renew(self, cache: Cache, *, read: int) -> tuple[jax.Array, Cache]:
        """See Engine."""
        return jax.block_until_ready(self.compiled_renew(self.params, cache, read=read))

    def draw(
        self,
        logits: jax.Array,
        cache: Cache,
        state: Any,
        *,
        seed: int,
        first: int,
        count: int,
        sampling: Mapping[str, float],
        grammar: Grammar | Inclined,
    ) -> tuple[jax.Array, jax.Array, Cache, Any]:
        """See Engine."""
        scalars = {name: jnp.asarray(value) for name, value in sampling.items()}
        given = (self.params, logits, cache, state, jax.random.key(seed), jnp.int32(first))
        if count == self.block:
            return self.compiled_block(*given, count=count, sampling=scalars, grammar=grammar)
        return self.compiled_draw(*given, jnp.int32(count), scalars, grammar=grammar)
