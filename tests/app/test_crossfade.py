"""A recording goes over into a rendering: as loud, without a jump, and with nothing of either lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from musicgen.app.crossfade import FADE, KNEE, LEAD, join_sounds
from musicgen.data_prep.audio import SAMPLE_RATE

NOTHING = np.zeros(0, np.float32)


def tone(seconds: float, level: float, hertz: float = 220.0) -> np.ndarray:
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def pieces(sound: np.ndarray, size: int = 30_000) -> Iterator[np.ndarray]:
    return iter([sound[at : at + size] for at in range(0, len(sound), size)])


def joined(first: np.ndarray, second: np.ndarray, start: int) -> np.ndarray:
    return np.concatenate([NOTHING, *join_sounds(pieces(first), pieces(second), start)])


def decibels(sound: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(sound))))


@pytest.mark.parametrize("quieter", [0.01, 0.1, 1.0, 3.0])
def test_the_seam_has_no_jump_and_no_step_in_loudness(quieter: float) -> None:
    first, second = tone(14.0, 0.2), tone(LEAD + 5.0, 0.2 * quieter, 223.0)
    join, start = len(first), len(first) - round(LEAD * SAMPLE_RATE)
    made = joined(first, second, start)
    assert len(made) == start + len(second)
    fade = round(FADE * SAMPLE_RATE)
    assert np.array_equal(made[: join - fade], first[:-fade])
    step = np.abs(np.diff(first)).max()
    assert np.abs(np.diff(made[join - 2 * fade : join + fade])).max() < 1.5 * step
    before, after = made[join - SAMPLE_RATE - fade : join - fade], made[join : join + SAMPLE_RATE]
    assert abs(decibels(after) - decibels(before)) < 1.0


def test_a_recording_shorter_than_the_lead_goes_over_too() -> None:
    first, second = tone(1.0, 0.3), tone(3.0, 0.1)
    made = joined(first, second, 0)
    assert len(made) == len(second) and np.array_equal(made[:20_000], first[:20_000])


def test_after_silence_the_rendering_has_its_own_level() -> None:
    made = joined(np.zeros(2 * SAMPLE_RATE, np.float32), tone(4.0, 0.1), 0)
    assert np.abs(made[2 * SAMPLE_RATE :]).max() == pytest.approx(0.1, rel=0.01)


def test_a_rendering_that_ends_before_the_join_adds_nothing() -> None:
    first = tone(3.0, 0.2)
    made = joined(first, tone(0.5, 0.2), 0)
    assert len(made) == len(first)


def test_what_would_be_too_loud_is_rounded_off() -> None:
    first, second = tone(12.0, 0.9), tone(LEAD + 2.0, 0.1)
    second[round(LEAD * SAMPLE_RATE) :] *= 5
    made = joined(first, second, 2 * SAMPLE_RATE)
    assert KNEE < np.abs(made[len(first) :]).max() <= 1.0
    assert np.abs(np.diff(made[len(first) :])).max() < 0.3
