"""The codec's encoder and decoder: causal, and the same on a stream as on a whole file."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from codec_reference import TOY_CODEC, toy_parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import assert_close

from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS, CodecConfig
from musicgen.model.codec.soundstream import Past, SoundStream, sine_squared
from musicgen.model.codec.streaming import StreamingDecoder, StreamingEncoder, powers_of_two

HOP, FRAMES = TOY_CODEC.hop, 8
MEBIBYTE = 1 << 20


def bound() -> SoundStream:
    return parameters.bind(TOY_CODEC, toy_parameters(), SoundStream)


@functools.cache
def latents_of() -> jax.stages.Wrapped:
    return jax.jit(lambda wave, past=None: bound().latents(wave, past))


@functools.cache
def wave_of() -> jax.stages.Wrapped:
    return jax.jit(lambda latents, past=None: bound().wave(latents, past))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


@functools.cache
def silence() -> tuple[Past, Past]:
    """The pasts before anything: their shapes do not depend on how much comes at once."""
    _, past = latents_of()(jnp.zeros((1, FRAMES * HOP)))
    _, decoder_past = wave_of()(jnp.zeros((1, FRAMES, TOY_CODEC.width)))
    return jax.tree.map(jnp.zeros_like, (past, decoder_past))


@given(steps=st.lists(st.integers(1, 3), min_size=FRAMES, max_size=FRAMES))
@settings(max_examples=15)
def test_any_chunking_gives_what_the_whole_gives(steps: list[int]) -> None:
    wave = noise(1, FRAMES * HOP)
    whole, _ = latents_of()(wave)
    back, _ = wave_of()(whole)
    edges = [0, *(int(cut) for cut in np.cumsum(steps) if cut < FRAMES), FRAMES]
    past, decoder_past = silence()
    latents, waves = [], []
    for start, stop in itertools.pairwise(edges):
        piece, past = latents_of()(wave[:, start * HOP : stop * HOP], past)
        sound, decoder_past = wave_of()(piece, decoder_past)
        latents.append(piece)
        waves.append(sound)
    assert_close(np.concatenate(latents, axis=1), np.asarray(whole), 1e-5)
    assert_close(np.concatenate(waves, axis=1), np.asarray(back), 1e-5)


@given(sizes=st.lists(st.integers(0, HOP), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_a_stream_of_any_samples_gives_the_codes_of_the_whole(sizes: list[int], seed: int) -> None:
    params = toy_parameters()
    total = sum(sizes)
    wave = noise(total, seed=seed)
    whole = StreamingEncoder(TOY_CODEC, params)
    expected = np.concatenate([whole.push(wave), whole.finish()])
    assert len(expected) == -(-total // HOP)
    stream, at, codes = StreamingEncoder(TOY_CODEC, params), 0, []
    for size in sizes:
        codes.append(stream.push(wave[at : at + size]))
        at += size
    np.testing.assert_array_equal(np.concatenate([*codes, stream.finish()]), expected)


def test_decoding_a_stream_gives_the_sound_of_the_whole() -> None:
    params = toy_parameters()
    codes = np.random.default_rng(0).integers(0, TOY_CODEC.codebook_size, (12, TOY_CODEC.codebooks))
    whole = StreamingDecoder(TOY_CODEC, params).push(codes)  # as 8 and 4
    stream = StreamingDecoder(TOY_CODEC, params)
    pieces = [stream.push(codes[start : start + 5]) for start in range(0, 12, 5)]  # as 4 and 1, 4 and 1, 2
    assert_close(np.concatenate(pieces), whole, 1e-5)
    assert whole.shape == (12 * HOP,)


@pytest.mark.parametrize("frame", [0, 4, 7])
def test_nothing_is_seen_before_it_happens(frame: int) -> None:
    wave = noise(1, FRAMES * HOP)
    other = wave.copy()
    other[:, (frame + 1) * HOP - 1] += 0.5  # the last sample that frame may see
    before, _ = latents_of()(wave)
    after, _ = latents_of()(other)
    differs = np.abs(np.asarray(before - after)).max(axis=(0, 2)) > 0
    assert not differs[:frame].any()
    assert differs[frame]

    changed = np.asarray(before).copy()
    changed[:, frame] += 1.0
    sound, _ = wave_of()(before)
    other_sound, _ = wave_of()(changed)
    differs = np.abs(np.asarray(sound - other_sound))[0] > 0
    assert not differs[: frame * HOP].any()
    assert differs[frame * HOP : (frame + 1) * HOP].any()


def test_a_delay_of_one_frame_is_all() -> None:
    """An output sample of frame f changes with an input sample of frame f, and of none after it."""
    wave = noise(1, FRAMES * HOP)

    def output(wave: jax.Array) -> jax.Array:
        latents, _ = bound().latents(wave)
        return bound().wave(latents)[0][0, 5 * HOP]  # the first sample of frame 5

    gradient = np.abs(np.asarray(jax.jit(jax.grad(output))(wave)))[0]
    assert gradient[5 * HOP : 6 * HOP].max() > 0
    assert gradient[6 * HOP :].max() == 0


def test_snake_is_the_real_sine() -> None:
    x = np.linspace(-40, 40, 100_001)
    np.testing.assert_allclose(sine_squared(jnp.float32(x)), np.sin(np.float32(x).astype(np.float64)) ** 2, atol=4e-6)
    small = np.linspace(-3, 3, 10_001)
    slope = jax.vmap(jax.grad(sine_squared))(jnp.float32(small))
    np.testing.assert_allclose(slope, np.sin(2 * small), atol=4e-6)


def test_samples_that_are_no_whole_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{HOP + 1} samples are not whole frames of {HOP}"):
        bound().latents(jnp.zeros((1, HOP + 1)))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((3, 4), 32), "a code lies in 0..31, not 32..32"),
        (np.full((3, 4), -1), "a code lies in 0..31, not -1..-1"),
        (np.zeros((3, 5), int), "rows of 4 numbers, not of shape \\(3, 5\\)"),
    ],
)
def test_codes_of_another_codec_are_refused(codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingDecoder(TOY_CODEC, toy_parameters()).push(codes)


@given(st.integers(0, 1000))
def test_powers_of_two_cover_everything(count: int) -> None:
    parts = list(powers_of_two(count))
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert len({part.stop - part.start for part in parts}) <= 7


@pytest.mark.parametrize("name", [name for name in CODEC_PRESETS if not name.startswith("toy")])
def test_presets_are_what_was_asked_for(name: str) -> None:
    config = CODEC_PRESETS[name]
    assert config.sample_rate == 24_000
    assert config.frame_rate in (50, 75)
    assert config.bitrate() == 12_000
    assert config.bitrate(config.codebooks_at(6_000)) == 6_000
    assert config.bitrate(config.codebooks_at(3_000)) == 3_000
    sizes = parameters.shapes(config, SoundStream).values()
    assert sum(int(np.prod(size)) for size in sizes) <= 20 * MEBIBYTE  # bytes as int8
    assert CodecConfig.from_dict(config.to_dict()) == config


def test_configs_that_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="encoder_widths must name 3 widths"):
        dataclasses.replace(TOY_CODEC, encoder_widths=(1, 2))
    with pytest.raises(ValueError, match="does not divide"):
        dataclasses.replace(TOY_CODEC, sample_rate=8_001)
    with pytest.raises(ValueError, match="activation must be one of"):
        dataclasses.replace(TOY_CODEC, activation="relu")
    with pytest.raises(ValueError, match="unknown fields: colour"):
        CodecConfig.from_dict({**TOY_CODEC.to_dict(), "colour": 1})
    with pytest.raises(ValueError, match="this codec has 0.75 to 12 kbps, not 24"):
        CODEC_PRESETS["piano-75"].codebooks_at(24_000)


@pytest.mark.parametrize("name", ["toy", "toy-mdct"])
def test_a_codec_forgets_how_it_began(name: str) -> None:
    """After the frames of its memory: codes and sound are what they are with anything else before."""
    codec = CODEC_PRESETS[name]
    params = {name: np.asarray(x) for name, x in parameters.initial(codec, 0, SoundStream).items()}
    model, F = parameters.bind(codec, params, SoundStream), codec.memory
    one, other = noise(2, 2 * F * codec.hop, seed=1)
    other[F * codec.hop :] = one[F * codec.hop :]
    latents = jax.jit(lambda wave: model.latents(wave)[0])(jnp.stack([one, other]))
    assert_close(latents[0, -1], latents[1, -1])
    assert np.abs(latents[0, 0] - latents[1, 0]).max() > 1e-3
    latents = noise(2, F + 1, codec.width, seed=2)
    latents[0, 1:] = latents[1, 1:]
    waves = np.asarray(jax.jit(lambda latents: model.wave(latents)[0])(latents))
    assert_close(waves[0, -codec.hop :], waves[1, -codec.hop :])
    assert np.abs(waves[0, : 2 * codec.hop] - waves[1, : 2 * codec.hop]).max() > 1e-4


@pytest.mark.parametrize("name", ["piano-75", "piano-50", "piano-mdct"])
def test_the_memory_of_the_real_ones(name: str) -> None:
    assert CODEC_PRESETS[name].memory == 128
