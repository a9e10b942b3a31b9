"""The Fourier kernels of a codec: its first and its last convolution, where they are given and not learned.

Near the samples a convolutional codec is narrow, slow and short of precision: notes of a piano lie 60 dB above what
sounds between them, and what a learned layer leaves over of the one is more than the other.  A short-time Fourier
transform is a strided convolution too, with kernels that are known: the stages above 1 / hop need not be computed, and
a magnitude per band and step is a factor, so that its error is relative (as in Vocos; Siuzdak, 2023).

    wave [B, T] -> spectra as they are and with magnitude^0.3 [B, T / h, 4 L]    step t sees 4 h samples up to (t + 1) h
    exp(m) (a + i b) + c + i d, five numbers a bin [B, T / h, 5 L] -> wave       step t reaches 4 h samples from t h on

Both ways are needed: powers and factors for what is 60 dB down, the linear one for the loud partials, whose phases are
learned along it as a linear codec would learn them.  Without it SI-SDR rises half as fast, see benchmarks/codec.

Letters: B batch, T samples, h samples of a step, L = 2 h + 1 bins of a window of 4 h samples.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

OVERLAP = 4  # steps that a window spans
POWER = 0.3  # of the magnitudes that the encoder sees
COMPRESSED_IN, LINEAR_IN, LINEAR_OUT = 4.0, 40.0, 0.02  # so that a piano's numbers are about 1 to a network
LOUDEST = 0.0  # of m: full scale
FIRST_LEVELS = (-6.0, -11.0)  # m of a fresh codec in the lowest and the highest band


def bins(hop: int) -> int:
    """L."""
    return OVERLAP * hop // 2 + 1


@functools.cache
def window(hop: int) -> np.ndarray:
    """f64 [4 h], Hann; at a distance of h each, they add up to 2."""
    return np.hanning(OVERLAP * hop + 1)[:-1]


@functools.cache
def waves(hop: int) -> np.ndarray:
    """f64 [2 L, 4 h]: cosines, then negative sines, of whole periods in a window."""
    size = OVERLAP * hop
    angles = 2 * np.pi / size * np.outer(np.arange(bins(hop)), np.arange(size))
    return np.concatenate([np.cos(angles), -np.sin(angles)])


def analysis(wave: jax.Array, hop: int) -> jax.Array:
    """Samples f32 [B, 3 h + T], the first 3 h from before -> f32 [B, T / h, 4 L].

    Real parts, then imaginary ones, with compressed magnitudes, times COMPRESSED_IN; then both as they are, times
    LINEAR_IN.  A sine of full scale has about magnitude 1 in its bin.
    """
    steps = wave.reshape(wave.shape[0], -1, hop)
    count = steps.shape[1] - OVERLAP + 1
    pieces = jnp.concatenate([steps[:, i : i + count] for i in range(OVERLAP)], axis=-1)
    kernel = (waves(hop) * window(hop)).T * (2 / window(hop).sum())
    spectrum = jnp.matmul(pieces, kernel.astype(np.float32), precision="highest")
    real, imaginary = jnp.split(spectrum, 2, axis=-1)
    factor = COMPRESSED_IN * (jnp.square(real) + jnp.square(imaginary) + 1e-10) ** ((POWER - 1) / 2)
    return jnp.concatenate([factor * real, factor * imaginary, LINEAR_IN * spectrum], axis=-1)


def windows(bands: jax.Array, hop: int) -> jax.Array:
    """f32 [B, t, 5 L]: m, a, b, c, d of every bin -> f32 [B, t, 4 h], windows to be added at a distance of h."""
    m, a, b, c, d = jnp.split(bands, 5, axis=-1)
    level = jnp.exp(jnp.minimum(m, LOUDEST))
    spectrum = jnp.concatenate([level * a + LINEAR_OUT * c, level * b + LINEAR_OUT * d], axis=-1)
    return jnp.matmul(spectrum, (waves(hop) * window(hop) / 2).astype(np.float32), precision="highest")


def overlapped(pieces: jax.Array, hop: int) -> jax.Array:
    """Windows f32 [B, 3 + t, 4 h], the first 3 from before -> their sum f32 [B, t h], over the last t steps."""
    quarters = pieces.reshape(*pieces.shape[:2], OVERLAP, hop)
    count, first = pieces.shape[1] - OVERLAP + 1, OVERLAP - 1
    blocks = sum((quarters[:, first - i : first - i + count, i] for i in range(OVERLAP)), start=jnp.zeros(()))
    return blocks.reshape(pieces.shape[0], count * hop)
