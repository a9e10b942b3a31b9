"""The modified discrete cosine transform: the first and the last layer of a codec, given and not learned.

Near the samples a convolutional codec is narrow, slow and short of precision: notes of a piano lie 60 dB above what
sounds between them, and what a learned layer leaves over of the one is more than the other.  A lapped transform is a
strided convolution too, with kernels that are known: h numbers for h samples, with windows that overlap by half and
nothing lost (Princen & Bradley, 1986).  All that is learned runs at the frame rate, where it can be wide.

    wave [B, h + T] -> analysis -> lines [B, F, h] -> synthesis -> wave [B, T], one frame late

Line k of frame f is what sounds near (k + 1/2) / 2h of the sample rate in the samples (f - 1) h to (f + 1) h.  So the
samples of a frame are whole only with the frame after it: that is the delay.

Letters: B batch, T samples, h samples of a hop, F = T / h frames.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from musicgen.model.shapes import Array, Float

SHAPE = 4.0  # of the Kaiser-Bessel window: what is far from a loud line stays 100 dB below it


@functools.cache
def window(hop: int) -> np.ndarray:
    """f64 [2 h], Kaiser-Bessel-derived: its squares at a distance of h add up to 1."""
    kernel = np.cumsum(np.kaiser(hop + 1, np.pi * SHAPE))
    rising = np.sqrt(kernel[:hop] / kernel[-1])
    return np.concatenate([rising, rising[::-1]])


@functools.cache
def kernel(hop: int) -> np.ndarray:
    """f32 [2 h, h], orthonormal where windows overlap."""
    n, k = np.arange(2 * hop)[:, None], np.arange(hop)
    waves = np.cos(np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
    return (np.sqrt(2 / hop) * waves * window(hop)[:, None]).astype(np.float32)


def analysis(wave: Float[Array, "B T"], hop: int) -> Float[Array, "B F {hop}"]:
    """Samples, the first h from before -> lines."""
    blocks = wave.reshape(wave.shape[0], -1, hop)
    pieces = jnp.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=-1)
    return jnp.matmul(pieces, kernel(hop), precision="highest")


def windows(lines: Float[Array, "B F h"], hop: int) -> Float[Array, "B F 2*h"]:
    """Windows of samples, to be added at a distance of h."""
    return jnp.matmul(lines, kernel(hop).T, precision="highest")


def overlap_add(pieces: Float[Array, "B F 2*{hop}"], hop: int) -> Float[Array, " B (F-1)*{hop}"]:
    """Windows, the first from before -> the samples that are whole now: one frame late."""
    return (pieces[:, :-1, hop:] + pieces[:, 1:, :hop]).reshape(pieces.shape[0], -1)
