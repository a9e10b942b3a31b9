"""Generation over codes on JAX: on GPUs and TPUs, and wherever ONNX Runtime is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.codes_engine import CodesEngine
from musicgen.model.config import ModelConfig
from musicgen.model.decoding import Cache, extend, fill
from musicgen.model.engine import PAD
from musicgen.model.frames import FrameCodes
from musicgen.model.sampler import sample


class JaxCodes(CodesEngine):
    """An engine over float parameters; keeps its compiled functions."""

    def __init__(self, config: ModelConfig, params: Mapping[str, Any]):
        """Raises ValueError if it is no model of frames, or the parameters do not fit."""
        super().__init__(config)
        self.dtype = jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
        self.params = {name: jnp.asarray(x, self.dtype) for name, x in params.items()}
        parameters.bind(config, self.params)
        self.compiled_fill = jax.jit(self._fill, static_argnames=("read", "latents", "context"))
        self.compiled_draw = jax.jit(self._draw, donate_argnames=("cache",))

    def _model(self, params: Any) -> FrameCodes:
        model = parameters.bind(self.config, params)
        assert isinstance(model, FrameCodes)
        return model

    def _fill(
        self, params: Any, tokens: jax.Array, start: jax.Array, read: int, latents: int, context: int
    ) -> tuple[jax.Array, Cache]:
        model = self._model(params)
        return fill(model, tokens, start, read=read, latents=latents, context=context, dtype=self.dtype)

    def _draw(
        self,
        params: Any,
        x: jax.Array,
        cache: Cache,
        key: jax.Array,
        first: jax.Array,
        count: jax.Array,
        sampling: dict[str, jax.Array],
        lean: jax.Array,
    ) -> tuple[jax.Array, jax.Array, Cache]:
        """`draw`, of which the frames come in an array [B, block, Q]."""
        model, Q = self._model(params), self.config.channels

        def one(i: jax.Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            drawn, x, cache = carry

            def choose(q: jax.Array, logits: jax.Array) -> jax.Array:
                noise = jax.random.gumbel(jax.random.fold_in(key, (first + i) * Q + q), logits.shape, logits.dtype)
                return sample(noise, logits + jnp.where(q == 0, lean, 0.0), jnp.ones(logits.shape, bool), sampling)

            tokens = model.draw(x, choose)
            x, cache = extend(model, tokens, cache, dtype=self.dtype)
            drawn = jax.lax.dynamic_update_slice(drawn, tokens[:, None].astype(drawn.dtype), (0, i, 0))
            return drawn, x, cache

        drawn = jnp.full((x.shape[0], self.block, Q), PAD, jnp.int16)
        return jax.lax.fori_loop(0, count, one, (drawn, x, cache))

    def fill(
        self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int
    ) -> tuple[jax.Array, Cache]:
        """See CodesEngine."""
        filled = self.compiled_fill(self.params, tokens, start, read=read, latents=latents, context=context)
        return jax.block_until_ready(filled)

    def draw(
        self,
        x: jax.Array,
        cache: Cache,
        *,
        seed: int,
        first: int,
        count: int,
        sampling: Mapping[str, float],
        lean: np.ndarray,
    ) -> tuple[np.ndarray, jax.Array, Cache]:
        """See CodesEngine."""
        scalars = {name: jnp.asarray(value) for name, value in sampling.items()}
        places = jnp.int32(first), jnp.int32(count)
        drawn, x, cache = self.compiled_draw(self.params, x, cache, jax.random.key(seed), *places, scalars, lean)
        return np.asarray(drawn)[:, :count], x, cache
