"""Generation over codes: frames of Q codes in, an endless stream of frames out (`FrameCodes` of model/codes.py).

    engine = CodesEngine(config, params)
    stream = engine.start([frames], sampling=Sampling(), seed=0)      # int [T, Q] tokens: code + 3
    for block in stream: ...                                          # int16 [B, k, Q]

As in model/engine.py a frame becomes both an input and a latent, until either is full; then the last of them are read
anew in one pass.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.codes import FrameCodes
from musicgen.model.config import ModelConfig
from musicgen.model.decoding import Cache, extend, fill
from musicgen.model.engine import KEPT, PAD, pass_lengths
from musicgen.model.sampler import Sampling, sample


class CodesEngine:
    """A model ready to generate; keeps its compiled functions."""

    block = 8  # frames a dispatch

    def __init__(self, config: ModelConfig, params: Mapping[str, Any]):
        """Raises ValueError if it is no model of frames, or the parameters do not fit."""
        if not config.depth_layers:
            raise ValueError("this model goes code by code: only models of frames are made for generation")
        self.config = config
        self.dtype = jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
        self.params = {name: jnp.asarray(x, self.dtype) for name, x in params.items()}
        parameters.bind(config, self.params)
        self.compiled_fill = jax.jit(self._fill, static_argnames=("read", "latents", "context"))
        self.compiled_draw = jax.jit(self._draw, donate_argnames=("cache",))

    def start(
        self,
        primes: Sequence[np.ndarray],
        *,
        latents: int | None = None,
        context: int | None = None,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> CodesStream:
        """Read the primes (tokens [T, Q] each, as much of their end as the context holds) and be ready to draw.

        latents, context: in frames.  Raises ValueError unless 2 <= latents <= context and every prime has a frame.
        """
        N = self.config.context if context is None else context
        M = min(self.config.latents, N) if latents is None else latents
        if not 2 <= M <= N:
            raise ValueError(f"latents must be between 2 and the context ({N} frames), not {M}")
        if not primes or any(prime.ndim != 2 or prime.shape[1:] != (self.config.channels,) for prime in primes):
            raise ValueError(f"a prime is frames of {self.config.channels} codes")
        if any(len(prime) == 0 or prime.min() < 0 or prime.max() >= self.config.vocab_size for prime in primes):
            raise ValueError(f"a prime has at least one frame, and its tokens are below {self.config.vocab_size}")
        return CodesStream(self, [np.asarray(prime, np.int16) for prime in primes], M, N, sampling, seed)

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
    ) -> tuple[jax.Array, jax.Array, Cache]:
        """Frames number first .. first + count of a stream: (int16 [B, block, Q], x [B, D], the cache)."""
        model, Q = self._model(params), self.config.channels

        def one(i: jax.Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            drawn, x, cache = carry

            def choose(q: jax.Array, logits: jax.Array) -> jax.Array:
                noise = jax.random.gumbel(jax.random.fold_in(key, (first + i) * Q + q), logits.shape, logits.dtype)
                return sample(noise, logits, jnp.ones(logits.shape, bool), sampling)

            tokens = model.draw(x, choose)
            x, cache = extend(model, tokens, cache, dtype=self.dtype)
            drawn = jax.lax.dynamic_update_slice(drawn, tokens[:, None].astype(drawn.dtype), (0, i, 0))
            return drawn, x, cache

        drawn = jnp.full((x.shape[0], self.block, Q), PAD, jnp.int16)
        return jax.lax.fori_loop(0, count, one, (drawn, x, cache))


class CodesStream(Iterator[np.ndarray]):
    """One generation of B rows that go on together; `next` gives int16 [B, k, Q], k >= 1 frames for each row."""

    def __init__(self, engine: CodesEngine, primes: list[np.ndarray], M: int, N: int, sampling: Sampling, seed: int):
        self.engine, self.history, self.M, self.N = engine, primes, M, N
        self.key = jax.random.key(seed)
        self.sampling = {name: jnp.asarray(value) for name, value in dataclasses.asdict(sampling).items()}
        self.drawn = 0
        self.x, self.cache, self.room = self.refill()

    def refill(self) -> tuple[Any, Cache, int]:
        """Read the last frames in one pass, with a few of the latents, and say how many frames then fit."""
        kept = max(1, int(self.M * KEPT))
        most = self.N - (self.M - kept)
        longest = min(most, max(len(frames) for frames in self.history))
        length = next(n for n in pass_lengths(most) if n >= longest)
        tokens = np.full((len(self.history), length, self.engine.config.channels), PAD, np.int32)
        start = np.zeros(len(self.history), np.int32)
        for row, history in enumerate(self.history):
            tail = history[-length:]
            start[row] = length - len(tail)
            tokens[row, start[row] :] = tail
        read = min(kept, length)
        program = functools.partial(self.engine.compiled_fill, read=read, latents=self.M, context=self.N)
        x, cache = jax.block_until_ready(program(self.engine.params, tokens, start))
        return x, cache, min(self.M - read, self.N - length)

    def __next__(self) -> np.ndarray:
        if self.room == 0:
            del self.cache  # free the old one before the new one is made
            self.x, self.cache, self.room = self.refill()
        count = min(self.engine.block, self.room)
        drawn, self.x, self.cache = self.engine.compiled_draw(
            self.engine.params, self.x, self.cache, self.key, jnp.int32(self.drawn), jnp.int32(count), self.sampling
        )
        block = np.asarray(drawn)[:, :count]
        self.history = [np.concatenate([old, new])[-self.N :] for old, new in zip(self.history, block, strict=True)]
        self.drawn += count
        self.room -= count
        return block
