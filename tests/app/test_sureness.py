"""How sure notes are, on sound whose every partial is known."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.app.sureness import energy, judge
from musicgen.data_prep import Performance
from musicgen.data_prep.audio import SAMPLE_RATE

NOTES = np.array([[0.5, 1.5, 60, 70], [1.5, 2.5, 67, 70], [2.5, 3.5, 76, 70]])
RNG = np.random.default_rng(0)


def strings(notes: np.ndarray, seconds: float = 5.0) -> np.ndarray:
    """Each note as six partials that die away."""
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(at))
    for onset, end, pitch, _ in notes:
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        dies = np.exp(-3 * (at - onset)) * ((at >= onset) & (at < end))
        sound += sum(dies * np.sin(2 * np.pi * hertz * number * at) / number for number in range(1, 7))
    return (0.1 * sound).astype(np.float32)


def share(sound: np.ndarray, notes: np.ndarray = NOTES) -> float:
    explained, total = energy(sound.astype(np.float32), notes, 0.0, np.inf)
    return explained / total


def as_loud(noise: np.ndarray, sound: np.ndarray, ratio: float) -> np.ndarray:
    return noise * ratio * np.sqrt(np.mean(sound**2) / np.mean(noise**2))


def test_what_was_played_is_explained_and_what_was_not_is_not() -> None:
    sound = strings(NOTES)
    other = NOTES + np.array([0, 0, 1, 0])
    noise = as_loud(RNG.normal(size=len(sound)), sound, 1.0)
    hum = as_loud(np.sin(2 * np.pi * 50 * np.arange(len(sound)) / SAMPLE_RATE), sound, 0.7)
    clean = share(sound)
    assert clean > 0.95
    assert share(sound, other) < 0.3 and share(sound, NOTES[:0]) == 0.0
    assert share(sound + noise) < 0.85 > share(sound + hum)


def test_parts_add_up_to_the_whole() -> None:
    sound = strings(NOTES)
    parts = [energy(sound, NOTES, start, start + 1.0) for start in range(5)]
    assert np.sum(parts, axis=0) == pytest.approx(energy(sound, NOTES, 0.0, np.inf))
    assert energy(sound[:1000], NOTES, 0.0, np.inf) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("explained", "told"), [(91.0, "explain 91 % of the sound"), (70.0, "hum, another"), (30.0, "hardly a piano alone")]
)
def test_what_is_said(explained: float, told: str) -> None:
    music = Performance(NOTES[:, 0], NOTES[:, 1], NOTES[:, 2], NOTES[:, 3], np.zeros((0, 2)))
    (remark,) = judge(music, explained, 100.0)
    assert told in remark


def test_more_keys_than_hands_hold() -> None:
    many = np.arange(14)
    music = Performance(many / 100, many / 100 + 3, 40 + 2 * many, np.full(14, 70), np.zeros((0, 2)))
    assert "up to 14 keys are held at once" in judge(music, 95.0, 100.0)[1]
