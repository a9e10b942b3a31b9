"""How far a decoded wave is from the original: the distances of DAC's repository, in float64 numpy.

DAC (descriptinc/descript-audio-codec) defines, in dac/nn/loss.py with the spectrograms of audiotools:

    spectrogram     |STFT| with a periodic Hann window, a hop of a quarter of it, frames centred, reflection at the ends
    mel             |STFT| times Slaney mel filters of area 1 (librosa's defaults), 0 Hz to half the sample rate
    STFT distance   windows 2048 and 512, summed: mean |log10(max(x, 1e-5)^2) - log10(max(y, 1e-5)^2)| + mean |x - y|
    mel distance    two settings are in use:
                    "mel": conf/base.yml, which trains and validates DAC and is the mel distance of its paper: windows
                    32 .. 2048 with 5, 10, 20, 40, 80, 160, 320 bands, summed: mean |log10(max(x, 1e-5)) - log10(...)|
                    "mel_default": the class's own defaults, which scripts/evaluate.py takes: windows 2048 and 512 with
                    150 and 80 bands, both terms of the STFT distance
    SI-SDR          10 log10 of projected over residual energy, both waves without their mean

The terms without a logarithm depend on the level: DAC's test set is brought to -16 LUFS (ITU-R BS.1770), and so is the
original here; what a codec made of it gets the same gain.  DAC measured at 44.1 kHz (its evaluate.py resamples to 22.05
and 44.1 kHz), this is at 24 kHz: bands are narrower, and what 24 kHz cannot carry does not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from musicgen.model.codec.losses import mel_filters

CLAMP = 1e-5
LOUDNESS = -16.0  # LUFS
TRAINING_SCALES = tuple(zip((32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320), strict=True))
DEFAULT_SCALES = ((2048, 150), (512, 80))


def spectrogram(wave: np.ndarray, window: int) -> np.ndarray:
    """|STFT| of wave [T]: f64 [frames, bins]."""
    hop = window // 4
    padded = np.pad(np.asarray(wave, np.float64), window // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.abs(np.fft.rfft(pieces * np.hanning(window + 1)[:-1]))


def log_distance(x: np.ndarray, y: np.ndarray, power: float) -> float:
    """Mean absolute difference of log10 of the clamped magnitudes to this power."""
    return float(power * np.mean(np.abs(np.log10(np.maximum(x, CLAMP)) - np.log10(np.maximum(y, CLAMP)))))


def stft_distance(fake: np.ndarray, real: np.ndarray) -> float:
    """See above."""
    pairs = [(spectrogram(fake, window), spectrogram(real, window)) for window in (2048, 512)]
    return sum(log_distance(x, y, 2.0) + float(np.mean(np.abs(x - y))) for x, y in pairs)


def mel_distance(fake: np.ndarray, real: np.ndarray, rate: int) -> float:
    """The paper's and base.yml's: seven scales, logarithms alone."""
    total = 0.0
    for window, mels in TRAINING_SCALES:
        filters = mel_filters(rate, window, mels).astype(np.float64)
        total += log_distance(spectrogram(fake, window) @ filters, spectrogram(real, window) @ filters, 1.0)
    return total


def mel_default_distance(fake: np.ndarray, real: np.ndarray, rate: int) -> float:
    """That of evaluate.py: two scales, logarithms of squares and plain differences."""
    total = 0.0
    for window, mels in DEFAULT_SCALES:
        filters = mel_filters(rate, window, mels).astype(np.float64)
        x, y = spectrogram(fake, window) @ filters, spectrogram(real, window) @ filters
        total += log_distance(x, y, 2.0) + float(np.mean(np.abs(x - y)))
    return total


def si_sdr(fake: np.ndarray, real: np.ndarray) -> float:
    """dB; of waves [T]."""
    fake, real = (np.asarray(wave, np.float64) - np.mean(wave) for wave in (fake, real))
    target = real * (np.dot(fake, real) + 1e-8) / (np.dot(real, real) + 1e-8)
    return float(10 * np.log10(np.sum(target**2) / (np.sum((fake - target) ** 2) + 1e-12) + 1e-8))


def k_weighted(wave: np.ndarray, rate: int) -> np.ndarray:
    """ITU-R BS.1770's weighting of wave [T]: a shelf for the head, a high-pass; as filters of this sample rate."""
    w = 2 * np.pi * np.fft.rfftfreq(2 * len(wave), 1 / rate) / rate
    z = np.exp(-1j * w)

    def poles(hertz: float, q: float) -> tuple[float, np.ndarray]:
        k = float(np.tan(np.pi * hertz / rate))
        return k, 1 + k / q + k * k + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2

    # The analogue filters behind the standard's coefficients for 48 kHz.
    k, below = poles(1681.974450955533, 0.7071752369554196)
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416 * k / 0.7071752369554196
    shelf = (high + middle + k * k + 2 * (k * k - high) * z + (high - middle + k * k) * z**2) / below
    k, below = poles(38.13547087602444, 0.5003270373238773)
    high_pass = (1 - 2 * z + z**2) * (1 + k / 0.5003270373238773 + k * k) / below
    return np.fft.irfft(np.fft.rfft(wave, 2 * len(wave)) * shelf * high_pass)[: len(wave)]


def loudness(wave: np.ndarray, rate: int) -> float:
    """Integrated loudness of wave [T] in LUFS: gated blocks of 400 ms, a new one every 100 ms."""
    size = round(0.4 * rate)
    blocks = np.lib.stride_tricks.sliding_window_view(k_weighted(wave, rate), size)[:: size // 4]
    power = np.mean(blocks**2, axis=1)

    def of(power: np.ndarray) -> float:
        return float(-0.691 + 10 * np.log10(np.mean(power))) if power.size and np.mean(power) > 0 else -70.0

    loud = power[power > 10 ** ((-70 + 0.691) / 10)]
    return of(loud[loud > 10 ** ((of(loud) - 10 + 0.691) / 10)])


def aligned(fake: np.ndarray, real: np.ndarray, most: int = 4000) -> np.ndarray:
    """fake [T'] shifted by up to `most` samples to where it fits real [T] best, and cut or filled up to T."""
    size = 1 << (len(fake) + len(real)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(fake, size) * np.conj(np.fft.rfft(real, size)), size)
    lags = np.concatenate([np.arange(most + 1), np.arange(-most, 0)])
    lag = int(lags[np.argmax(correlation[lags])])
    shifted = fake[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag), fake])
    return np.pad(shifted, (0, max(0, len(real) - len(shifted))))[: len(real)]


def measure(fake: np.ndarray, real: np.ndarray, rate: int) -> dict[str, float]:
    """Everything, of waves [T], the original brought to LOUDNESS and what was made of it by the same gain."""
    gain = 10 ** ((LOUDNESS - loudness(real, rate)) / 20)
    fake, real = gain * np.asarray(fake, np.float64), gain * np.asarray(real, np.float64)
    by_rate: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
        "mel": mel_distance,
        "mel_default": mel_default_distance,
    }
    figures = {name: function(fake, real, rate) for name, function in by_rate.items()}
    return {**figures, "stft": stft_distance(fake, real), "si_sdr": si_sdr(fake, real)}
