"""The codec on a stream: samples in as they come, codes out as soon as a frame is full, and back.

Whole files go the same way, so that memory stays bounded and the result does not depend on how the samples came in.
Q codebooks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.soundstream import Past, SoundStream

MOST_FRAMES = 64  # at a time; smaller powers of two take what is left over, so that few programs are compiled


def powers_of_two(count: int) -> Iterator[slice]:
    """Consecutive slices of 0..count, each as long as the largest power of two that fits, at most MOST_FRAMES."""
    at = 0
    while at < count:
        step = min(MOST_FRAMES, 1 << ((count - at).bit_length() - 1))
        yield slice(at, at + step)
        at += step


@functools.cache
def _programs(config: CodecConfig, codebooks: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def encode(params: Mapping[str, jax.Array], wave: jax.Array, past: Past | None) -> tuple[jax.Array, Past]:
        return parameters.bind(config, params, SoundStream).encode(wave, past, codebooks=codebooks)

    def decode(params: Mapping[str, jax.Array], codes: jax.Array, past: Past | None) -> tuple[jax.Array, Past]:
        return parameters.bind(config, params, SoundStream).decode(codes, past)

    return jax.jit(encode), jax.jit(decode)


def _silence(program: Callable[..., Any], *arguments: Any) -> Past:
    """The past before anything was heard; its shapes do not depend on how much comes at once."""
    _, past = jax.eval_shape(program, *arguments, None)
    return tuple(jnp.zeros(each.shape, each.dtype) for each in past)


class StreamingEncoder:
    """Samples to codes.  params: the plain kernels by name, float32."""

    def __init__(self, config: CodecConfig, params: Mapping[str, jax.Array], codebooks: int | None = None):
        self.config, self.params = config, params
        self.codebooks = config.codebooks if codebooks is None else codebooks
        self._program = _programs(config, self.codebooks)[0]
        self._past = _silence(self._program, params, jnp.zeros((1, config.hop)))
        self._waiting = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """f32 [n], -1..1, any n -> codes i32 [F, Q] of the frames that are now full."""
        wave = np.concatenate([self._waiting, np.asarray(samples, np.float32)])
        frames, hop = len(wave) // self.config.hop, self.config.hop
        self._waiting = wave[frames * hop :]
        codes = [np.zeros((0, self.codebooks), np.int32)]
        for part in powers_of_two(frames):
            piece = wave[part.start * hop : part.stop * hop]
            made, self._past = self._program(self.params, piece[None], self._past)
            codes.append(np.asarray(made[0]))
        return np.concatenate(codes)

    def finish(self) -> np.ndarray:
        """The last codes i32 [F, Q]: silence fills the last frame, and another if the sound comes a frame late."""
        return self.push(np.zeros(-len(self._waiting) % self.config.hop + self.config.delay, np.float32))


class StreamingDecoder:
    """Codes to samples.  params: the plain kernels by name, float32."""

    def __init__(self, config: CodecConfig, params: Mapping[str, jax.Array], codebooks: int | None = None):
        self.config, self.params = config, params
        self.codebooks = config.codebooks if codebooks is None else codebooks
        self._program = _programs(config, self.codebooks)[1]
        self._past = _silence(self._program, params, jnp.zeros((1, 1, self.codebooks), jnp.int32))

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Integers [F, Q] -> f32 [F * hop], -1..1, late by the codec's delay.

        Raises ValueError if they are no codes of this codec.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.codebooks:
            raise ValueError(f"codes of this codec are rows of {self.codebooks} numbers, not of shape {codes.shape}")
        if codes.size and not (codes.min() >= 0 and codes.max() < self.config.codebook_size):
            raise ValueError(f"a code lies in 0..{self.config.codebook_size - 1}, not {codes.min()}..{codes.max()}")
        wave = [np.zeros(0, np.float32)]
        for part in powers_of_two(len(codes)):
            made, self._past = self._program(self.params, codes[None, part].astype(np.int32), self._past)
            wave.append(np.asarray(made[0]))
        return np.concatenate(wave)
