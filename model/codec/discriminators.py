"""The discriminators of DAC (Kumar et al., 2023, section 3.3): multi-period and complex multi-band STFT.

    period p: the wave folded into rows of p samples, convolutions along each column     (Kong et al., 2020)
    window w: real and imaginary part of the spectrum, cut into bands, convolutions over time and frequency

Each says for every place whether it looks real (1) or not (0); its layers on the way there are the features.
All layers' kernels are weight-normalised while they are trained (weight_norm.py).

Letters: B batch, T samples, C channels.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Features = list[list[jax.Array]]  # of each discriminator: its layers, the verdict last


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """DAC's, or narrower ones."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    windows: tuple[int, ...] = (2048, 1024, 512)
    band_channels: int = 32
    bands: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # edges, as shares of the spectrum


class Conv(nnx.Module):
    """A convolution over two axes; zeros around, so that stride 1 keeps the size."""

    def __init__(self, rngs: nnx.Rngs, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]):
        self.stride, self.size = stride, kernel
        scale = math.sqrt(2 / (inputs * math.prod(kernel)))
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), (*kernel, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, height, width, C] -> [B, height / stride, width / stride, C']."""
        padding = [(size // 2, size // 2) for size in self.size]
        kernel = self.kernel[...].astype(x.dtype)
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, self.stride, padding, dimension_numbers=layout)
        return y + self.bias[...].astype(x.dtype)


def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.1."""
    return jax.nn.leaky_relu(x, 0.1)


class PeriodDiscriminator(nnx.Module):
    """Sees every p-th sample, p times over."""

    def __init__(self, rngs: nnx.Rngs, config: DiscriminatorConfig, period: int):
        self.period = period
        widths = (1, *config.period_channels)
        steps = zip(widths[:-1], widths[1:], [3] * (len(widths) - 2) + [1], strict=True)
        self.layers = nnx.List([Conv(rngs, inputs, outputs, (5, 1), (stride, 1)) for inputs, outputs, stride in steps])
        self.verdict = Conv(rngs, widths[-1], 1, (3, 1), (1, 1))

    def __call__(self, wave: jax.Array) -> list[jax.Array]:
        """wave [B, T] -> layers."""
        wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % self.period)), mode="reflect")
        x = wave.reshape(wave.shape[0], -1, self.period, 1)
        features = []
        for layer in self.layers:
            x = leaky(layer(x))
            features.append(x)
        return [*features, self.verdict(x)]


class BandDiscriminator(nnx.Module):
    """Sees one complex spectrum, each band of it through layers of its own."""

    def __init__(self, rngs: nnx.Rngs, config: DiscriminatorConfig, window: int):
        self.window, C = window, config.band_channels
        edges = [int(share * (window // 2 + 1)) for share in config.bands]
        self.edges = tuple(edges)

        def layers() -> nnx.List:
            strides = (1, 2, 2, 2)
            wide = [Conv(rngs, 2 if i == 0 else C, C, (3, 9), (1, stride)) for i, stride in enumerate(strides)]
            return nnx.List([*wide, Conv(rngs, C, C, (3, 3), (1, 1))])

        self.bands = nnx.List([layers() for _ in edges[1:]])
        self.verdict = Conv(rngs, C, 1, (3, 3), (1, 1))

    def __call__(self, wave: jax.Array) -> list[jax.Array]:
        """wave [B, T] -> layers of all bands."""
        x = self.spectrum(wave.astype(jnp.float32)).astype(wave.dtype)
        features, ends = [], []
        for start, stop, layers in zip(self.edges[:-1], self.edges[1:], self.bands, strict=True):
            band = x[:, :, start:stop]
            for layer in layers:
                band = leaky(layer(band))
                features.append(band)
            ends.append(band)
        return [*features, self.verdict(jnp.concatenate(ends, axis=2))]

    def spectrum(self, wave: jax.Array) -> jax.Array:
        """wave f32 [B, T] -> real and imaginary part f32 [B, frames, bins, 2]; Hann, a hop of a quarter window."""
        hop = self.window // 4
        wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % hop)))
        frames = wave.shape[1] // hop
        margin = (self.window - hop) // 2
        quarters = jnp.pad(wave, ((0, 0), (margin, margin + hop)), mode="reflect")[:, : (frames + 3) * hop]
        quarters = quarters.reshape(wave.shape[0], frames + 3, hop)
        pieces = jnp.concatenate([quarters[:, i : i + frames] for i in range(4)], axis=-1)
        spectrum = jnp.fft.rfft(pieces * np.hanning(self.window + 1)[:-1].astype(np.float32))
        return jnp.stack([spectrum.real, spectrum.imag], axis=-1)


class Discriminators(nnx.Module):
    """All of them."""

    def __init__(self, config: DiscriminatorConfig, rngs: nnx.Rngs):
        self.periods = nnx.List([PeriodDiscriminator(rngs, config, period) for period in config.periods])
        self.windows = nnx.List([BandDiscriminator(rngs, config, window) for window in config.windows])

    def __call__(self, wave: jax.Array) -> Features:
        """wave [B, T] -> what each of them sees; whatever its level, a wave is brought to the same peak first."""
        wave = wave - jnp.mean(wave, axis=1, keepdims=True)
        wave = 0.8 * wave / (jnp.max(jnp.abs(wave), axis=1, keepdims=True) + 1e-5)
        return [each(wave) for each in [*self.periods, *self.windows]]
