"""What the codec is trained for: spectra, features and verdicts of the discriminators (DAC; Kumar et al., 2023).

Letters: B batch, T samples, F frames of a spectrum, L bins, M mel bands.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model.codec.discriminators import Features
from musicgen.model.shapes import Array, Complex, Float

CLAMP = 1e-5  # of magnitudes, before their logarithm
LEVEL = 0.12  # root mean square at which the mel loss listens: about the -16 LUFS at which DAC's figures are measured
MOST_GAIN = 30.0  # of rows that are softer; what is softer than that may be softer in the loss


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, and the scales of the mel loss: DAC's, and a term of the waveform."""

    mel: float = 15.0
    features: float = 2.0
    adversarial: float = 1.0
    commitment: float = 0.25
    wave: float = 25.0  # of the relative error of the samples: phases, which spectra do not know
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    mels: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)

    def __post_init__(self) -> None:
        """Refuse scales that do not pair."""
        if len(self.windows) != len(self.mels):
            raise ValueError(f"{len(self.windows)} windows and {len(self.mels)} numbers of mel bands do not pair")


def spectrum(wave: Float[Array, "B T"], window: int) -> Complex[Array, "B F {window}//2+1"]:
    """Short-time Fourier transform, F = T / hop + 1.

    Hann window, a hop of a quarter of it, frames centred on multiples of the hop, reflection at both ends.
    """
    hop, frames = window // 4, wave.shape[1] // (window // 4) + 1
    padded = jnp.pad(wave, ((0, 0), (window // 2, window // 2)), mode="reflect")
    quarters = padded[:, : (frames + 3) * hop].reshape(wave.shape[0], frames + 3, hop)
    pieces = jnp.concatenate([quarters[:, i : i + frames] for i in range(4)], axis=-1)
    return jnp.fft.rfft(pieces * np.hanning(window + 1)[:-1].astype(np.float32))


def magnitude(spectrum: Complex[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|spectrum|, with a gradient also at zero."""
    return jnp.sqrt(jnp.square(spectrum.real) + jnp.square(spectrum.imag) + 1e-12)


@functools.cache
def mel_filters(sample_rate: int, window: int, mels: int) -> np.ndarray:
    """f32 [L, M]: triangles between 0 Hz and half the sample rate, evenly spaced on Slaney's mel scale, each of area 1.

    The scale of Slaney's Auditory Toolbox: linear with 200/3 Hz a mel up to 1 kHz, from there a factor of 6.4 in 27.
    """

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    top = 15 + 27 * np.log(sample_rate / 2 / 1000) / np.log(6.4)
    edges = hertz(np.linspace(0, top, mels + 2))
    bins = np.linspace(0, sample_rate / 2, window // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def mel_distance(
    fake: Float[Array, "B T"],
    real: Float[Array, "B T"],
    sample_rate: int,
    windows: Sequence[int],
    mels: Sequence[int],
) -> Float[Array, ""]:
    """Mean absolute difference of the log10 mel magnitudes, summed over the scales."""
    distance = jnp.zeros(())
    for window, bands in zip(windows, mels, strict=True):
        filters = mel_filters(sample_rate, window, bands)
        log_fake, log_real = (
            jnp.log10(jnp.maximum(magnitude(spectrum(wave, window)) @ filters, CLAMP)) for wave in (fake, real)
        )
        distance += jnp.mean(jnp.abs(log_fake - log_real))
    return distance


def gain(wave: Float[Array, "B T"]) -> Float[Array, "B 1"]:
    """What brings each row to LEVEL."""
    return jnp.minimum(LEVEL / (jnp.sqrt(jnp.mean(jnp.square(wave), axis=1, keepdims=True)) + 1e-9), MOST_GAIN)


def relative_error(fake: Float[Array, "B T"], real: Float[Array, "B T"]) -> Float[Array, ""]:
    """Root mean square of fake - real against real's, mean over the rows: 0.4 is a ratio of 8 dB."""
    error = jnp.mean(jnp.square(fake - real), axis=1) + 1e-12
    return jnp.mean(jnp.sqrt(error / (jnp.mean(jnp.square(real), axis=1) + (LEVEL / MOST_GAIN) ** 2 / 100)))


def discriminator_loss(fake: Features, real: Features) -> Float[Array, ""]:
    """Least squares: every discriminator should say 1 to what is real and 0 to what is not."""
    loss = jnp.zeros(())
    for of_fake, of_real in zip(fake, real, strict=True):
        loss += jnp.mean(jnp.square(of_fake[-1])) + jnp.mean(jnp.square(1 - of_real[-1]))
    return loss


def adversarial_loss(fake: Features) -> Float[Array, ""]:
    """Every discriminator should say 1."""
    return sum((jnp.mean(jnp.square(1 - of_fake[-1])) for of_fake in fake), start=jnp.zeros(()))


def feature_loss(fake: Features, real: Features) -> Float[Array, ""]:
    """Mean absolute difference of what the discriminators see on the way to their verdict, summed over layers."""
    loss = jnp.zeros(())
    for of_fake, of_real in zip(fake, real, strict=True):
        for x, y in zip(of_fake[:-1], of_real[:-1], strict=True):
            loss += jnp.mean(jnp.abs(x - jax.lax.stop_gradient(y)))
    return loss


def si_sdr(fake: Float[Array, "B T"], real: Float[Array, "B T"]) -> Float[Array, " B"]:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019)."""
    fake, real = (wave - jnp.mean(wave, axis=1, keepdims=True) for wave in (fake, real))
    energy = jnp.sum(jnp.square(real), axis=1, keepdims=True)
    target = real * jnp.sum(fake * real, axis=1, keepdims=True) / (energy + 1e-8)
    noise = jnp.sum(jnp.square(fake - target), axis=1)
    return 10 * jnp.log10((jnp.sum(jnp.square(target), axis=1) + 1e-8) / (noise + 1e-8))
