"""What counts as a loop, and that music which only comes back does not."""

from __future__ import annotations

import numpy as np

from musicgen.data_prep.performance import NO_PEDAL, Performance
from musicgen.data_prep.rules.loops import LOOKED_AT, REMEMBERED, REPEATS, context_limit
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.tokens import encode

BAR = np.array([60, 64, 67, 72, 71, 67, 65, 62])


def played(pitch: np.ndarray, seed: int = 0) -> np.ndarray:
    """Tokens of these keys, struck one after the other as a hand does: never quite evenly, never equally loud."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.15, 0.25, len(pitch)))
    return encode(Performance(onset, onset + 0.1, pitch, rng.integers(40, 90, len(pitch)), NO_PEDAL), bos=True)


def other(bars: int) -> np.ndarray:
    """Keys in no order."""
    return np.random.default_rng(1).integers(40, 90, 8 * bars)


def test_a_bar_again_and_again_is_a_loop() -> None:
    """Whatever its timing and loudness; one time fewer is none."""
    assert context_limit(played(np.tile(BAR, REPEATS))) == REMEMBERED
    assert context_limit(played(np.tile(BAR, REPEATS - 1))) is None
    assert context_limit(played(np.concatenate([other(40), np.tile(BAR, REPEATS)]))) == REMEMBERED


def test_what_was_long_ago_does_not_count() -> None:
    """A loop that was left is left."""
    stream = played(np.concatenate([np.tile(BAR, 20), other(60)]))
    assert len(stream) > LOOKED_AT and context_limit(stream[:700]) == REMEMBERED
    assert context_limit(stream) is None


def test_music_is_no_loop() -> None:
    """Nor is nothing, nor what the model is shown before a piece."""
    assert context_limit(played(other(60))) is None
    assert context_limit(np.concatenate([preamble(), played(other(2))])) is None
    assert context_limit(np.concatenate([preamble(), played(np.tile(BAR, REPEATS))])) == REMEMBERED
    assert context_limit(preamble()) is None and context_limit(np.array([1], np.int16)) is None
