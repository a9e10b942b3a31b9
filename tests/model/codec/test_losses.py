"""Spectra against float64 numpy, losses against their definitions, discriminators as they are drawn."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import TOY_DISCRIMINATORS

from musicgen.model import parameters
from musicgen.model.codec import losses as codec_losses
from musicgen.model.codec import weight_norm
from musicgen.model.codec.discriminators import Discriminators
from musicgen.model.codec.losses import LossConfig, mel_distance, mel_filters, si_sdr, spectrum


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


@pytest.mark.parametrize(("window", "samples"), [(32, 500), (128, 512), (256, 1001)])
def test_the_spectrum_is_a_short_time_fourier_transform(window: int, samples: int) -> None:
    wave = noise(2, samples)
    actual = np.asarray(jax.jit(spectrum, static_argnums=1)(wave, window))
    hop = window // 4
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(wave.astype(np.float64), ((0, 0), (window // 2, window // 2)), mode="reflect")
    expected = [np.fft.rfft(padded[:, t * hop : t * hop + window] * hann) for t in range(samples // hop + 1)]
    np.testing.assert_allclose(actual, np.stack(expected, axis=1), atol=1e-4)


@pytest.mark.parametrize(("rate", "window", "mels"), [(24_000, 2048, 80), (44_100, 512, 20)])
def test_mel_filters_are_slaneys(rate: int, window: int, mels: int) -> None:
    filters = mel_filters(rate, window, mels)
    assert filters.shape == (window // 2 + 1, mels)
    areas = filters.sum(axis=0) * rate / window
    np.testing.assert_allclose(areas[filters.sum(axis=0) > 0][-5:], 1, rtol=0.05)  # wide enough to be sampled well
    librosa = pytest.importorskip("librosa.filters")
    np.testing.assert_allclose(filters, librosa.mel(sr=rate, n_fft=window, n_mels=mels).T, atol=1e-6)


def test_mel_distance() -> None:
    real = jnp.asarray(noise(2, 4800))
    losses = LossConfig(windows=(64, 256), mels=(5, 10))
    distance = jax.jit(lambda x: mel_distance(x, real, 24_000, losses.windows, losses.mels))
    same, softer = distance(real), distance(0.1 * real)
    assert float(same) == 0
    np.testing.assert_allclose(softer, 2.0, rtol=1e-3)  # one decade at each of two scales
    gradient = jax.jit(jax.grad(distance))(jnp.zeros_like(real))
    assert bool(jnp.isfinite(gradient).all())
    with pytest.raises(ValueError, match="2 windows and 1 numbers of mel bands do not pair"):
        LossConfig(windows=(64, 256), mels=(5,))


def test_si_sdr() -> None:
    t = np.arange(8000) / 8000
    real = np.sin(2 * np.pi * 100 * t)[None]
    other = np.sin(2 * np.pi * 200 * t)[None]  # orthogonal, so the ratio is that of the levels
    ratio = jax.jit(si_sdr)(jnp.float32(3 * (real + 0.1 * other) + 0.2), jnp.float32(real))
    np.testing.assert_allclose(ratio, 20.0, atol=1e-2)


def test_the_waveform_term_is_a_ratio_and_the_mel_loss_listens_at_one_level() -> None:
    real = noise(3, 4800) * np.float32([[1.0], [0.1], [0.03]])
    np.testing.assert_allclose(jax.jit(codec_losses.relative_error)(1.4 * real, real), 0.4, rtol=1e-2)
    level = np.sqrt(np.mean(np.square(jax.jit(codec_losses.gain)(real) * real), axis=1))
    np.testing.assert_allclose(level, codec_losses.LEVEL, rtol=1e-4)
    assert float(codec_losses.gain(jnp.zeros((1, 10)))[0, 0]) == codec_losses.MOST_GAIN
    silent = jax.jit(jax.grad(lambda x: codec_losses.relative_error(x, jnp.zeros_like(x))))(jnp.zeros((1, 10)))
    assert bool(jnp.isfinite(silent).all())


def test_adversarial_losses() -> None:
    sure = [[jnp.ones((2, 3)), jnp.ones((2, 5))], [jnp.ones((4,)), jnp.ones((2, 2))]]
    fooled = [[jnp.zeros((2, 3)), jnp.ones((2, 5))], [jnp.zeros((4,)), jnp.ones((2, 2))]]
    not_fooled = jax.tree.map(jnp.zeros_like, sure)
    assert float(codec_losses.discriminator_loss(not_fooled, sure)) == 0
    assert float(codec_losses.discriminator_loss(sure, not_fooled)) == 4
    assert float(codec_losses.adversarial_loss(fooled)) == 0
    assert float(codec_losses.adversarial_loss(not_fooled)) == 2
    assert float(codec_losses.feature_loss(fooled, sure)) == 2  # verdicts are no features
    gradient = jax.grad(lambda real: codec_losses.feature_loss(fooled, real))(sure)
    assert all(float(jnp.abs(x).max()) == 0 for x in jax.tree.leaves(gradient))


def test_discriminators_see_every_part_of_a_wave_of_any_length_and_level() -> None:
    params = parameters.initial(TOY_DISCRIMINATORS, 0, Discriminators)
    discriminate = jax.jit(lambda wave: parameters.bind(TOY_DISCRIMINATORS, params, Discriminators)(wave))
    wave = jnp.asarray(noise(2, 601))
    features = discriminate(wave)
    assert [len(each) for each in features] == [2 + 1, 2 * 5 + 1]
    assert features[0][-1].shape == (2, math.ceil(math.ceil(601 / 3) / 3), 3, 1)
    for quiet, loud in zip(jax.tree.leaves(discriminate(0.1 * wave)), jax.tree.leaves(features), strict=True):
        np.testing.assert_allclose(quiet, loud, atol=2e-3)
    gradient = jax.jit(jax.grad(lambda wave: sum(jnp.sum(x[-1] ** 2) for x in discriminate(wave))))(wave)
    assert bool((jnp.abs(gradient) > 0).mean() > 0.99)


def test_folding_kernels() -> None:
    params = parameters.initial(TOY_DISCRIMINATORS, 0, Discriminators)
    unfold, fold = jax.jit(weight_norm.unfold), jax.jit(weight_norm.fold)
    unfolded = unfold(params)
    folded = fold(unfolded)
    assert set(folded) == set(params)
    assert len(unfolded) > len(params)
    for name, value in params.items():
        np.testing.assert_allclose(folded[name], value, rtol=1e-5, atol=1e-7)
    twice = fold({n: 7 * v if n.endswith(".direction") else v for n, v in unfolded.items()})
    for name, value in params.items():  # the length of a direction means nothing
        np.testing.assert_allclose(twice[name], value, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="parameters do not fit the config"):
        parameters.bind(TOY_DISCRIMINATORS, unfolded, Discriminators)
