"""The level of frames of codes is that of their sound, and a stream that strays from it is led back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_engine_of_frames import frames
from test_frames import FRAMES, S, random_parameters

from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.loudness import EVERY, HEARD, USUAL, LevelControl, LevelState, Loudness
from musicgen.model.codec.soundstream import LINES, SoundStream
from musicgen.model.config import SPECIALS
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.engine import Engine, Rules
from musicgen.model.jax_engine import JaxEngine

SECOND = 75  # frames


def in_steps() -> Loudness:
    """Entries that are ever louder by 5 dB, from -10 dB up; of one line."""
    level = -10 + 5 * np.arange(S)
    entries = np.zeros((FRAMES.channels, S, 1), np.float32)
    entries[0, :, 0] = 10 ** (level / 40)
    return Loudness(entries)


def test_the_level_is_that_of_the_transform() -> None:
    """Frames of a codec with an MDCT: the energy of the lines that its decoder makes of the codes, network apart."""
    config = CODEC_PRESETS["toy-mdct"]
    params = parameters.initial(config, 0, SoundStream)
    codes = np.random.default_rng(0).integers(0, config.codebook_size, (1, 50, config.codebooks))
    z = np.asarray(parameters.bind(config, params, SoundStream).quantizer.decode(codes))[0, :, : config.lines]
    low = z / LINES
    low = low * np.sqrt(np.sum(low**2, axis=-1, keepdims=True) + 1e-8)  # as the decoder undoes the encoder's level
    loudness = Loudness.of_codec(config, params)
    assert loudness is not None and Loudness.of_codec(CODEC_PRESETS["toy"], params) is None
    np.testing.assert_allclose(loudness.of(codes[0]), 10 * np.log10(np.sum(low**2, axis=-1)), atol=0.01)


def test_what_is_wanted() -> None:
    """The mean power of a prime's end; of silence and of no code at all, the usual level."""
    loud, soft = np.full((HEARD * SECOND, FRAMES.channels), 4), np.full((10, FRAMES.channels), 0)
    primes = [np.concatenate([soft, loud]), np.full((5, FRAMES.channels), -2)]
    wanted = LevelControl(in_steps(), SECOND).start([prime + SPECIALS for prime in primes]).wanted
    np.testing.assert_allclose(wanted, [10.0, USUAL], atol=1e-3)


def after(rule: LevelControl, state: LevelState, frames: int, *codes: int) -> LevelState:
    """When each row has so many frames more of one code."""
    token = np.repeat(np.array(codes, np.int32)[:, None], FRAMES.channels, axis=1) + SPECIALS
    for _ in range(frames):
        state = rule.advance(state, token)
    return state


def test_the_bias() -> None:
    """None while the level is held; when all is too loud, towards the softer entries, and the more the louder."""
    rule = LevelControl(in_steps(), SECOND)
    prime = np.full((SECOND, FRAMES.channels), 2) + SPECIALS
    start = rule.start([prime, prime])
    held = after(rule, start, 4 * EVERY, 2, 2)
    np.testing.assert_allclose(held.bias, 0.0, atol=1e-6)
    once = after(rule, held, 4 * EVERY, 2, S - 1)
    twice = after(rule, once, 4 * EVERY, 2, S - 1)
    assert not once.bias[0].any() and (np.diff(once.bias[1]) < 0).all()
    assert (np.abs(twice.bias[1]) > np.abs(once.bias[1]))[[0, -1]].all()
    logits = np.random.default_rng(0).normal(size=(2, S)).astype(np.float32)
    np.testing.assert_array_equal(rule.apply(once, logits), logits + once.bias)


def test_the_bias_follows_now_and_then() -> None:
    """In between the level is measured and nothing else."""
    rule = LevelControl(in_steps(), SECOND)
    state = rule.start([np.full((SECOND, FRAMES.channels), 2) + SPECIALS])
    for frame in range(1, 3 * EVERY + 1):
        before, state = state, after(rule, state, 1, S - 1)
        assert state.power > before.power
        assert (state.bias != before.bias).any() == (frame % EVERY == 0)


def test_jax_computes_the_same() -> None:
    """Inside a compiled function, to the precision of float32."""
    rule = LevelControl(in_steps(), SECOND)
    primes = [frames(40, 1), frames(30, 2)]
    here, there = rule.start(primes), rule.start(primes, jnp)
    advance = jax.jit(rule.advance)
    for token in np.random.default_rng(1).integers(3, S + 3, (50, 2, FRAMES.channels)).astype(np.int32):
        here, there = rule.advance(here, token), advance(there, token)
    for mine, its in zip(here, there, strict=True):
        assert isinstance(its, jax.Array)
        np.testing.assert_allclose(its, mine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [JaxEngine, OnnxEngine])
def test_a_stream_is_kept(kind: type[Engine]) -> None:
    """Rows that go on from soft and from loud primes, by a model that knows nothing of levels."""
    engine = kind(FRAMES, random_parameters(FRAMES))  # type: ignore[call-arg]
    loudness = in_steps()
    primes = [frames(40, 1), frames(40, 2)]
    primes[0][:, 0], primes[1][:, 0] = 3, 3 + S - 1

    def level(rules: Rules | None = None) -> np.ndarray:
        stream = engine.start(primes, seed=0, rules=rules)
        drawn = np.concatenate([next(stream) for _ in range(120)], axis=1)
        return np.asarray(loudness.of(drawn[:, drawn.shape[1] // 2 :] - 3).mean(axis=1))

    free, kept = level(), level(LevelControl(loudness, SECOND))
    assert kept[0] < free[0] - 1 and kept[1] > free[1] + 1, (free, kept)
