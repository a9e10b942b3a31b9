"""Generation over codes: frames of Q codes in, an endless stream of frames out (`FrameCodes` of model/frames.py).

    engine = JaxCodes(config, params)                # or OnnxCodes(config, weights), on a CPU
    stream = engine.start([frames], sampling=Sampling(), seed=0)      # int [T, Q] tokens: code + 3
    for block in stream: ...                                          # int16 [B, k, Q]

As in model/engine.py a frame becomes both an input and a latent, until either is full; then the last of them are read
anew in one pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from musicgen.model.codec.loudness import Keeper, Loudness
from musicgen.model.config import ModelConfig
from musicgen.model.engine import KEPT, dials, last_of
from musicgen.model.sampler import Sampling


class CodesEngine:
    """A model of frames ready to generate; what computes is its backend's: codes_jax.py and codes_onnx.py."""

    block = 8  # frames a dispatch

    def __init__(self, config: ModelConfig):
        self.config = config

    def fill(self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int) -> tuple[Any, Any]:
        """Read frames i32 [B, T, Q], rows beginning at start i32 [B], with the last `read` as latents.

        Returns what the last latent knows and a cache with room for `context` inputs and `latents` latents.
        """
        raise NotImplementedError

    def draw(
        self, x: Any, cache: Any, *, seed: int, first: int, count: int, sampling: Mapping[str, float], lean: np.ndarray
    ) -> tuple[np.ndarray, Any, Any]:
        """Draw frames number first .. first + count of a stream, each code by the seed, its number and `sampling`.

        lean f32 [B, S] is added to the logits of the first codebook.  Returns int16 [B, count, Q], and x and the cache
        after them; the old cache is given away.
        """
        raise NotImplementedError

    def start(
        self,
        primes: Sequence[np.ndarray],
        *,
        latents: int | None = None,
        context: int | None = None,
        sampling: Sampling = Sampling(),
        seed: int = 0,
        loudness: Loudness | None = None,
    ) -> CodesStream:
        """Read the primes (tokens [T, Q] each, as much of their end as the context holds) and be ready to draw.

        latents, context: in frames.  loudness: of frames, for rows to stay as loud as their primes.  Raises ValueError
        unless 2 <= latents <= context and every prime has a frame.
        """
        M, N = dials(self.config, latents, context)
        if not primes or any(prime.ndim != 2 or prime.shape[1:] != (self.config.channels,) for prime in primes):
            raise ValueError(f"a prime is frames of {self.config.channels} codes")
        if any(len(prime) == 0 or prime.min() < 0 or prime.max() >= self.config.vocab_size for prime in primes):
            raise ValueError(f"a prime has at least one frame, and its tokens are below {self.config.vocab_size}")
        keeper = None if loudness is None else Keeper(loudness, [prime - self.config.specials for prime in primes])
        return CodesStream(self, [np.asarray(prime, np.int16) for prime in primes], M, N, sampling, seed, keeper)


class CodesStream(Iterator[np.ndarray]):
    """One generation of B rows that go on together; `next` gives int16 [B, k, Q], k >= 1 frames for each row."""

    def __init__(
        self,
        engine: CodesEngine,
        primes: list[np.ndarray],
        M: int,
        N: int,
        sampling: Sampling,
        seed: int,
        keeper: Keeper | None,
    ):
        self.engine, self.history, self.M, self.N, self.seed = engine, primes, M, N, seed
        self.sampling, self.keeper = dataclasses.asdict(sampling), keeper
        self.lean = np.zeros((len(primes), engine.config.codes), np.float32)
        self.drawn = 0
        self.x, self.cache, self.room = self.refill()

    def refill(self) -> tuple[Any, Any, int]:
        """Read the last frames in one pass, with a few of the latents, and say how many frames then fit."""
        kept = max(1, int(self.M * KEPT))
        tokens, start = last_of(self.history, self.N - (self.M - kept))
        length = tokens.shape[1]
        read = min(kept, length)
        x, cache = self.engine.fill(tokens, start, read=read, latents=self.M, context=self.N)
        return x, cache, min(self.M - read, self.N - length)

    def __next__(self) -> np.ndarray:
        if self.room == 0:
            del self.cache  # free the old one before the new one is made
            self.x, self.cache, self.room = self.refill()
        count = min(self.engine.block, self.room)
        block, self.x, self.cache = self.engine.draw(
            self.x,
            self.cache,
            seed=self.seed,
            first=self.drawn,
            count=count,
            sampling=self.sampling,
            lean=self.lean,
        )
        if self.keeper is not None:
            self.lean = self.keeper.after(block - self.engine.config.specials)
        self.history = [np.concatenate([old, new])[-self.N :] for old, new in zip(self.history, block, strict=True)]
        self.drawn += count
        self.room -= count
        return block
