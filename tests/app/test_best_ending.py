"""Of several endings the likeliest is kept; up to there a piece is what it is without --end."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from musicgen.app.best_ending import CANDIDATES, RINGS_ON, best_of_n_ending, lead
from musicgen.app.generate import begin
from musicgen.app.settings import Settings
from musicgen.data_prep import BOS, EOS, PAD, STEPS_PER_SECOND, steps
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT

START = np.array([BOS], np.int16)


def rows_of(blocks: Iterator[np.ndarray], rows: int) -> list[np.ndarray]:
    """What each row says, up to its EOS."""
    said = [np.zeros(0, np.int16)] * rows
    while not all(EOS in row for row in said):
        said = [np.concatenate([row, new[new != PAD]]) for row, new in zip(said, next(blocks), strict=True)]
    return [row[: np.flatnonzero(row == EOS)[0]] for row in said]


@pytest.mark.parametrize("rows, each", [(1, CANDIDATES), (3, 2), (4, 2)])
def test_the_likeliest_of_several_endings(fake: ModuleType, rows: int, each: int) -> None:
    """The part before the last seconds is that of a piece without an end; of the endings the judge's choice is kept."""
    model = fake.fake_model()
    settings = Settings(seconds=8.0, end=True, latents=64, context=256)
    ended = rows_of(begin(model, [START] * rows, settings, 5, trimmed=False), rows)
    judged = model.engine.judged
    assert len(judged) == each * rows
    usual = begin(model, [START] * rows, Settings(seconds=8.0, latents=64, context=256), 5, trimmed=False)
    plain = np.concatenate([next(usual) for _ in range(40)], axis=1)
    for row in range(rows):
        time = steps(plain[row])
        fork = int(np.searchsorted(time, (8.0 - lead(8.0)) * STEPS_PER_SECOND)) + 1
        body = np.append(START, plain[row, :fork])
        np.testing.assert_array_equal(ended[row][:fork], plain[row, :fork])
        mine = judged[row * each : (row + 1) * each]
        assert all(np.array_equal(stream[: fork + 1], body) for stream in mine)
        assert len({tuple(stream) for stream in mine}) > 1
        best = min(mine, key=lambda stream: stream[-1])  # as the fake engine judges
        np.testing.assert_array_equal(np.append(START, ended[row]), best)
        assert 4.0 <= steps(ended[row])[-1] / STEPS_PER_SECOND <= 8.0 + RINGS_ON


def test_a_large_batch_draws_one_ending_each(fake: ModuleType) -> None:
    """Together, as it draws the rest, and nothing is judged."""
    model = fake.fake_model()
    settings = Settings(seconds=8.0, end=True, latents=64, context=256)
    ended = rows_of(begin(model, [START] * 5, settings, 5), 5)
    assert not model.engine.judged and len({tuple(row) for row in ended}) == 5


def test_a_row_waits_for_the_others() -> None:
    """One that is there first says nothing more, and none twice, until each has its ending in its turn."""
    slow = [TIME_SHIFT + 9, NOTE_ON + 60, TIME_SHIFT + 9, NOTE_OFF + 60]
    quick = [TIME_SHIFT + 99, NOTE_ON + 62, TIME_SHIFT + 99, NOTE_OFF + 62]
    asked: list[tuple[int, int, float]] = []

    def start(body: np.ndarray, count: int, seed: int, seconds: float) -> Iterator[np.ndarray]:
        asked.append((len(body), seed, seconds))
        yield from [np.full((count, 1), token, np.int16) for token in (TIME_SHIFT, EOS, EOS)]

    plain = iter([np.array([slow, quick], np.int16)] * 100)
    blocks = list(best_of_n_ending(plain, [START, START], 4.0, 1, start, lambda stream: 0.0))
    ends = [next(i for i, block in enumerate(blocks) if EOS in block[row]) for row in (0, 1)]
    assert ends[0] < ends[1] == len(blocks) - 1
    said = rows_of(iter(blocks), 2)
    assert said[0].tolist() == [*(slow * 10)[:39], TIME_SHIFT]  # 2 s in shifts of 0.1 s
    assert said[1].tolist() == [*quick[:3], TIME_SHIFT]
    assert [seconds for _, _, seconds in asked] == [2.0, 2.0]
    assert asked[0][1] != asked[1][1]


def test_endings_that_do_not_end() -> None:
    """Should rules fail, there is enough music to be cut."""
    forever = iter([np.array([[TIME_SHIFT + 99]], np.int16)] * 100)

    def start(body: np.ndarray, count: int, seed: int, seconds: float) -> Iterator[np.ndarray]:
        while True:
            yield np.full((count, 1), TIME_SHIFT + 99, np.int16)

    blocks = list(best_of_n_ending(forever, [START], 4.0, 1, start, lambda stream: 0.0))
    row = np.concatenate(blocks, axis=1)[0]
    assert EOS not in row and steps(row)[-1] >= (4.0 + RINGS_ON) * STEPS_PER_SECOND
