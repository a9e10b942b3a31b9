"""Beats of steady music are found, and where there are none that is said."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.data_prep.beats import agree, find_beats


def pattern(seconds: float, pitches: tuple[int, ...], each: float, count: int, uneven: float = 0.01) -> tuple:
    """A beat of so many seconds, with a figure whose notes take `each` of one."""
    onset = 0.7 + np.arange(count) * each * seconds + np.random.default_rng(1).normal(0, uneven, count)
    return np.sort(onset), np.array([pitches[n % len(pitches)] for n in range(count)]), np.full(count, 80)


@pytest.mark.parametrize(
    ("pitches", "each"),
    [((48, 64, 60, 64), 0.5), ((48, 64, 64), 1.0), ((48, 60, 64, 67, 72, 67, 64, 60), 0.25)],
)
@pytest.mark.parametrize("seconds", [0.5, 0.65])
def test_a_steady_figure(pitches: tuple[int, ...], each: float, seconds: float) -> None:
    """At its own level, or twice or half as fast."""
    beats = find_beats(*pattern(seconds, pitches, each, 120))
    assert beats is not None and beats.heard
    level = np.median(np.diff(beats.seconds)) / seconds
    assert min(abs(level / known - 1) for known in (0.5, 1, 2)) < 0.03
    place = np.interp(beats.seconds, 0.7 + np.arange(200) * seconds, np.arange(200))
    assert np.mean(np.abs(place * 2 - np.rint(place * 2)) < 0.2) > 0.9


@pytest.mark.parametrize("count", [6, 12, 25, 50, 100, 500])
def test_strokes_at_random_have_no_beat(count: int) -> None:
    """Not even a few, which always lie on parts of some beat."""
    heard = []
    for seed in range(20):
        chance = np.random.default_rng(seed)
        onset = np.cumsum(chance.exponential(0.2, count))
        beats = find_beats(onset, chance.integers(40, 90, count), chance.integers(30, 100, count))
        heard.append(beats is not None and bool(beats.heard))
    assert sum(heard) <= 2


@pytest.mark.parametrize("count", [24, 60])
def test_a_short_piece_has_one(count: int) -> None:
    beats = find_beats(*pattern(0.5, (48, 64, 60, 64), 0.5, count))
    assert beats is not None and beats.heard


def test_too_few_notes() -> None:
    assert find_beats(np.array([0.0, 0.01, 1.0]), np.array([60, 64, 67]), np.array([80, 80, 80])) is None
    assert find_beats(np.zeros(0), np.zeros(0, int), np.zeros(0, int)) is None


def test_agreement() -> None:
    beats = np.arange(10.0)
    assert agree(beats, beats + 0.05) == 1.0
    assert agree(beats, beats + 0.2) == 0.0
    assert agree(beats[::2], beats) == pytest.approx(2 / 3)
