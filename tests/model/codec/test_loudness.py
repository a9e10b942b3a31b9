"""The level of frames of codes is that of their sound, and a stream that strays from it is led back."""

from __future__ import annotations

import numpy as np
import pytest
from test_codes import FRAMES, S, random_parameters
from test_codes_engine import frames

from musicgen.model.codec import weight_norm as codec_parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.loudness import HEARD, SECOND, USUAL, Keeper, Loudness
from musicgen.model.codec.soundstream import LINES, SoundStream
from musicgen.model.codes_engine import CodesEngine
from musicgen.model.codes_jax import JaxCodes
from musicgen.model.cpu.frames import OnnxCodes


def in_steps() -> Loudness:
    """Entries that are ever louder by 5 dB, from -10 dB up; of one line."""
    level = -10 + 5 * np.arange(S)
    entries = np.zeros((FRAMES.channels, S, 1), np.float32)
    entries[0, :, 0] = 10 ** (level / 40)
    return Loudness(entries)


def test_the_level_is_that_of_the_transform() -> None:
    """Frames of a codec with an MDCT: the energy of the lines that its decoder makes of the codes, network apart."""
    config = CODEC_PRESETS["toy-mdct"]
    params = codec_parameters.initial(SoundStream, config, seed=0)
    codes = np.random.default_rng(0).integers(0, config.codebook_size, (1, 50, config.codebooks))
    z = np.asarray(codec_parameters.bind(SoundStream, config, params).quantizer.decode(codes))[0, :, : config.lines]
    low = z / LINES
    low = low * np.sqrt(np.sum(low**2, axis=-1, keepdims=True) + 1e-8)  # as the decoder undoes the encoder's level
    loudness = Loudness.of_codec(config, params)
    assert loudness is not None and Loudness.of_codec(CODEC_PRESETS["toy"], params) is None
    np.testing.assert_allclose(loudness.of(codes[0]), 10 * np.log10(np.sum(low**2, axis=-1)), atol=0.01)


def test_what_is_wanted() -> None:
    """The mean power of a prime's end; of silence and of no code at all, the usual level."""
    loud, soft = np.full((HEARD, FRAMES.channels), 4), np.full((10, FRAMES.channels), 0)
    wanted = Keeper(in_steps(), [np.concatenate([soft, loud]), np.full((5, FRAMES.channels), -2)]).wanted
    np.testing.assert_allclose(wanted, [10.0, USUAL], atol=1e-3)


def test_the_lean() -> None:
    """None while the level is held; when all is too loud, towards the softer entries, and the more the louder."""
    loudness = in_steps()
    prime = np.full((SECOND, FRAMES.channels), 2)
    keeper = Keeper(loudness, [prime, prime])
    np.testing.assert_allclose(keeper.after(np.full((2, 30, FRAMES.channels), 2)), 0.0, atol=1e-6)
    block = np.stack([np.full((30, FRAMES.channels), 2), np.full((30, FRAMES.channels), S - 1)])
    once, twice = keeper.after(block), keeper.after(block)
    assert not once[0].any() and (np.diff(once[1]) < 0).all()
    assert (np.abs(twice[1]) > np.abs(once[1]))[[0, -1]].all()


@pytest.mark.parametrize("kind", [JaxCodes, OnnxCodes])
def test_a_stream_is_kept(kind: type[CodesEngine]) -> None:
    """Rows that go on from soft and from loud primes, by a model that knows nothing of levels."""
    engine = kind(FRAMES, random_parameters(FRAMES))  # type: ignore[call-arg]
    loudness = in_steps()
    primes = [frames(40, 1), frames(40, 2)]
    primes[0][:, 0], primes[1][:, 0] = 3, 3 + S - 1

    def level(**how: Loudness) -> np.ndarray:
        stream = engine.start(primes, seed=0, **how)
        drawn = np.concatenate([next(stream) for _ in range(120)], axis=1)
        return np.asarray(loudness.of(drawn[:, drawn.shape[1] // 2 :] - 3).mean(axis=1))

    free, kept = level(), level(loudness=loudness)
    assert kept[0] < free[0] - 1 and kept[1] > free[1] + 1, (free, kept)
