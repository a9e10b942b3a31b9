"""The line between the hands."""

from __future__ import annotations

import numpy as np

from musicgen.data_prep.hands import MIDDLE_C, line_at, split_line


def test_two_hands_that_move_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(0, 20, 300))
    right = rng.random(300) < 0.5
    centre = np.where(right, 72 + 5 * np.sin(time), 48 + 8 * np.sin(time / 2))
    pitch = (centre + rng.integers(-6, 7, 300)).astype(int)
    line = line_at(split_line(time, pitch), time)
    assert np.mean((pitch >= line) == right) > 0.98


def test_one_hand_is_where_it_is_and_silence_has_a_line() -> None:
    time = np.arange(20.0)
    for key in (40, 80):
        line = line_at(split_line(time, np.full(20, key)), time)
        assert np.all((key >= line) == (key > MIDDLE_C))
    assert line_at(split_line(np.zeros(0), np.zeros(0, int)), time).tolist() == [MIDDLE_C] * 20
