"""The transform of a codec: nothing is lost, causal, the same on a stream; a fresh codec is a transform codec."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.model import parameters
from musicgen.model.codec import mdct
from musicgen.model.codec.config import CODEC_PRESETS, CodecConfig
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.streaming import StreamingDecoder, StreamingEncoder

CODEC = CODEC_PRESETS["toy-mdct"]
HOP = CODEC.hop


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def tone(hertz: float, samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(samples) / CODEC.sample_rate).astype(np.float32)


@functools.partial(jax.jit, static_argnames="hop")
def there_and_back(wave: np.ndarray, hop: int) -> jax.Array:
    """[B, T] -> [B, T], one frame late, with silence before."""
    lines = mdct.analysis(jnp.pad(jnp.asarray(wave), ((0, 0), (hop, 0))), hop)
    pieces = jnp.pad(mdct.windows(lines, hop), ((0, 0), (1, 0), (0, 0)))
    return mdct.overlap_add(pieces, hop)


@given(hop=st.sampled_from([4, 10, 32]), frames=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_nothing_is_lost(hop: int, frames: int, seed: int) -> None:
    wave = noise(2, frames * hop, seed=seed)
    np.testing.assert_allclose(there_and_back(wave, hop)[:, hop:], wave[:, :-hop], atol=1e-6)


def test_the_lines_are_those_of_the_definition() -> None:
    """Princen & Bradley's sum, one number at a time in float64, with a window whose squares add up to 1."""
    hop, wave = 6, noise(1, 12)
    window = mdct.window(hop)
    np.testing.assert_allclose(window[:hop] ** 2 + window[hop:] ** 2, 1.0)
    expected = [
        sum(
            np.sqrt(2 / hop) * window[n] * wave[0, n] * np.cos(np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
            for n in range(2 * hop)
        )
        for k in range(hop)
    ]
    np.testing.assert_allclose(np.asarray(mdct.analysis(jnp.asarray(wave), hop))[0, 0], expected, atol=1e-6)


def test_a_tone_is_in_its_line_and_nowhere_far_from_it() -> None:
    """1,012.5 Hz is the middle of line 27 of 320; a hundred lines away there is nothing, 90 dB below."""
    lines = np.abs(np.asarray(mdct.analysis(jnp.asarray(tone(1012.5, 8 * HOP))[None], HOP))[0])
    assert (abs(lines.argmax(axis=1) - 27) <= 1).all()
    assert lines[:, 130:].max() < 3e-5 * lines.max()


@pytest.fixture(scope="module")
def codec() -> SoundStream:
    return parameters.bind(CODEC, parameters.initial(CODEC, 0, SoundStream), SoundStream)


def test_a_fresh_codec_gives_the_lowest_lines_back(codec: SoundStream) -> None:
    """What is learned is added to a transform codec: unlearned, and without the quantiser, it adds little."""
    low = 0.3 * tone(150.0, 12 * HOP)[None]  # within the toy's 8 lines of 37.5 Hz
    sound = np.asarray(jax.jit(lambda wave: codec.wave(codec.latents(wave)[0])[0])(low))
    steady = slice(3 * HOP, None)
    error = sound[0, HOP:][steady] - low[0, :-HOP][steady]
    assert np.sqrt(np.mean(error**2)) < 0.15 * np.sqrt(np.mean(low**2))


def test_any_chunking_gives_what_the_whole_gives(codec: SoundStream) -> None:
    wave = noise(1, 6 * HOP, seed=1)
    encode, decode = jax.jit(codec.encode), jax.jit(codec.decode)
    codes, _ = encode(wave)
    back, _ = decode(codes)
    past = decoder_past = None
    made, sounds = [], []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        part, past = encode(wave[:, start * HOP : stop * HOP], past)
        sound, decoder_past = decode(codes[:, start:stop], decoder_past)
        made.append(part)
        sounds.append(sound)
    np.testing.assert_array_equal(np.concatenate(made, axis=1), codes)
    np.testing.assert_allclose(np.concatenate(sounds, axis=1), back, atol=1e-6)


def test_the_end_of_a_stream_brings_the_last_samples() -> None:
    """Samples that fill no frame, and those that wait for the frame after theirs."""
    params = parameters.initial(CODEC, 0, SoundStream)
    encoder = StreamingEncoder(CODEC, params)
    wave = noise(2 * HOP + 5, seed=3)
    codes = np.concatenate([encoder.push(wave), encoder.finish()])
    assert len(codes) == 4
    assert len(StreamingDecoder(CODEC, params).push(codes)) - CODEC.delay >= len(wave)


def test_nothing_is_seen_before_it_happens(codec: SoundStream) -> None:
    wave = jnp.asarray(noise(1, 6 * HOP, seed=2))
    other = wave.at[0, 4 * HOP - 1].add(0.5)  # the last sample that frame 3 may see
    latents, sound_of = jax.jit(codec.latents), jax.jit(codec.wave)
    (before, _), (after, _) = latents(wave), latents(other)
    differs = np.abs(np.asarray(before - after)).max(axis=(0, 2)) > 0
    assert not differs[:3].any()
    assert differs[3]
    (sound, _), (changed, _) = sound_of(before), sound_of(before.at[:, 3].add(1.0))
    differs = np.abs(np.asarray(sound - changed))[0] > 0
    assert not differs[: 3 * HOP].any()
    assert differs[3 * HOP : 4 * HOP].any()


def test_the_hop_is_the_transforms() -> None:
    assert (CODEC.hop, CODEC.frame_rate, CODEC.delay) == (320, 75, 320)
    assert CODEC_PRESETS["piano-75"].delay == 0
    with pytest.raises(ValueError, match="lines between 1 and its width"):
        CodecConfig(mdct=320, lines=200, strides=(), encoder_widths=(8,), decoder_widths=(8,))
    with pytest.raises(ValueError, match="has no strides"):
        CodecConfig(mdct=320, lines=20)
