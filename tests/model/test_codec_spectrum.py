"""The Fourier kernels of a codec: what they say, what they make, causal, the same on a stream."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model import codec_parameters, codec_spectrum
from musicgen.model.codec_config import CODEC_PRESETS
from musicgen.model.soundstream import SoundStream

HOP = 40
CODEC = CODEC_PRESETS["toy-fourier"]


def tone(hertz: float, samples: int, rate: int = 24_000) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(samples) / rate).astype(np.float32)


def test_a_tone_is_seen_in_its_bin_with_its_magnitude() -> None:
    level = 0.1
    wave = level * tone(1500.0, 20 * HOP)  # bin 10 of 150 Hz
    seen = np.asarray(codec_spectrum.analysis(jnp.asarray(wave)[None], HOP))[0]
    assert seen.shape == (17, 4 * codec_spectrum.bins(HOP))
    compressed, linear = np.split(seen, 2, axis=1)
    magnitude = np.hypot(*np.split(compressed, 2, axis=1))
    assert (magnitude.argmax(axis=1) == 10).all()
    expected = codec_spectrum.COMPRESSED_IN * level**codec_spectrum.POWER
    np.testing.assert_allclose(magnitude[:, 10], expected, rtol=1e-3)
    plain = np.hypot(*np.split(linear, 2, axis=1)) / codec_spectrum.LINEAR_IN
    np.testing.assert_allclose(plain[:, 10], level, rtol=1e-3)


def test_the_magnitudes_of_a_real_spectrum_are_those_of_numpy() -> None:
    wave = np.random.default_rng(0).normal(0, 0.3, 4 * HOP).astype(np.float32)
    seen = np.asarray(codec_spectrum.analysis(jnp.asarray(wave)[None], HOP))[0, 0]
    window = codec_spectrum.window(HOP)
    expected = np.fft.rfft(wave * window) * 2 / window.sum()
    compressed = codec_spectrum.COMPRESSED_IN * expected * np.abs(expected) ** (codec_spectrum.POWER - 1)
    linear = codec_spectrum.LINEAR_IN * expected
    both = [compressed.real, compressed.imag, linear.real, linear.imag]
    np.testing.assert_allclose(seen, np.concatenate(both), atol=1e-3)


@pytest.mark.parametrize("linear", [False, True])
def test_steady_bins_make_a_steady_tone(linear: bool) -> None:
    """Bin 10 with the phase that 1500 Hz has at every step."""
    L, steps = codec_spectrum.bins(HOP), 24
    bands = np.zeros((1, steps, 5 * L), np.float32)
    phase = 2 * np.pi * 1500 * HOP * np.arange(steps) / 24_000
    bands[0, :, 10] = np.log(0.5)
    at, scale = (3, 0.5 / codec_spectrum.LINEAR_OUT) if linear else (1, 1.0)
    bands[0, :, at * L + 10], bands[0, :, (at + 1) * L + 10] = scale * np.sin(phase), -scale * np.cos(phase)
    pieces = codec_spectrum.windows(jnp.asarray(bands), HOP)
    silent = jnp.zeros((1, codec_spectrum.OVERLAP - 1, 4 * HOP))
    wave = codec_spectrum.overlapped(jnp.concatenate([silent, pieces], axis=1), HOP)[0]
    np.testing.assert_allclose(wave[3 * HOP :], 0.5 * tone(1500.0, steps * HOP)[3 * HOP :], atol=1e-5)


@pytest.fixture(scope="module")
def codec() -> SoundStream:
    return codec_parameters.bind(SoundStream, CODEC, codec_parameters.initial(SoundStream, CODEC, 0))


def test_any_chunking_gives_what_the_whole_gives(codec: SoundStream) -> None:
    wave = jnp.asarray(np.random.default_rng(1).normal(0, 0.1, (1, 6 * CODEC.hop)), jnp.float32)
    codes, _ = codec.encode(wave)
    back, _ = codec.decode(codes)
    past = decoder_past = None
    made, sounds = [], []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        part, past = codec.encode(wave[:, start * CODEC.hop : stop * CODEC.hop], past)
        sound, decoder_past = codec.decode(codes[:, start:stop], decoder_past)
        made.append(part)
        sounds.append(sound)
    np.testing.assert_array_equal(np.concatenate(made, axis=1), codes)
    np.testing.assert_allclose(np.concatenate(sounds, axis=1), back, atol=1e-6)


def test_nothing_is_seen_before_it_happens(codec: SoundStream) -> None:
    wave = jnp.asarray(np.random.default_rng(2).normal(0, 0.1, (1, 5 * CODEC.hop)), jnp.float32)
    other = wave.at[0, 3 * CODEC.hop].add(0.5)
    (before, _), (after, _) = codec.latents(wave), codec.latents(other)
    differs = np.abs(np.asarray(before - after)).max(axis=(0, 2)) > 0
    assert not differs[:3].any()
    assert differs[3]
    (sound, _), (changed, _) = codec.wave(before), codec.wave(before.at[:, 3].add(1.0))
    differs = np.abs(np.asarray(sound - changed))[0] > 0
    assert not differs[: 3 * CODEC.hop].any()
    assert differs[3 * CODEC.hop : 4 * CODEC.hop].any()


def test_a_step_of_fourier_kernels_counts_into_the_hop() -> None:
    assert (CODEC.hop, CODEC.frame_rate) == (320, 75)
    assert dataclasses.replace(CODEC, fourier_hop=20).hop == 160
