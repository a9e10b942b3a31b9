"""What a listener is told of the time that endings take."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from musicgen.app.best_ending import lead
from musicgen.app.settings import Settings
from musicgen.app.web.notes.left import EndingsLeft, Progress
from musicgen.app.web.notes.speeds import LONGEST_OF_ALL, Speeds
from musicgen.data_prep import EOS, PAD
from musicgen.data_prep.vocabulary import TIME_SHIFT

SETTINGS = Settings(seconds=30.0, end=True, latents=64, context=256)
MEASURED = Speeds({(64, 256): 100.0}, candidates=25.0, once=2.0)
BODY = np.full((1, 16), TIME_SHIFT + 4, np.int16)  # 50 ms a token: 20 tokens a second
NOTHING = np.full((1, 1), PAD, np.int16)


def test_an_ending_is_told_in_the_time_of_tokens_and_counted_down() -> None:
    """Four times as long a token, and two seconds more; what is spent is not left, but for a tenth."""
    endings, progress = EndingsLeft(SETTINGS, 1, MEASURED), Progress(1)
    assert endings.told_until(30.0) == 20.0
    for _ in range(25):
        progress.add(BODY)
    spent, left = endings.tokens(0, progress)
    density = (400 + 6 * 40) / (20 + 6)
    assert spent == 0 and progress.body == 400
    assert left == pytest.approx(LONGEST_OF_ALL * 10 * density * 4 + 200)
    whole = left
    for blocks in range(1, 12):
        progress.add(NOTHING)
        spent, left = endings.tokens(0, progress)
        assert spent == pytest.approx(blocks * 16 * 4) and left == pytest.approx(max(whole - spent, whole / 10))
    progress.add(np.array([[TIME_SHIFT + 99, EOS]], np.int16))
    assert progress.ended == 1


def test_endings_take_no_longer_than_one_after_the_other() -> None:
    """Whatever a machine that was busy while it was measured seemed to say."""
    progress = Progress(1)
    left = [EndingsLeft(SETTINGS, 1, Speeds({(64, 256): 100.0}, slow)).tokens(0, progress)[1] for slow in (12.5, 1.0)]
    assert left[0] == pytest.approx(left[1])


def test_takes_wait_for_one_another(make_scheduler: Any) -> None:
    """Of two takes the second has its ending last, and is told so; what is told never goes back."""
    fixture = make_scheduler()
    request = fixture.request(settings={"seconds": 12.0, "end": True}, takes=2, seed=3)
    events = list(fixture.scheduler.submit(request, "a"))
    (begin,) = (event for event in events if event["event"] == "begin")
    assert begin["told_until"] == pytest.approx(12.0 - lead(12.0)) and begin["density"] is None
    told = [[event for event in events if event["event"] == "notes" and event["take"] == take] for take in (1, 2)]
    for mine in told:
        assert all(later["drawn"] >= before["drawn"] for before, later in itertools.pairwise(mine))
        assert mine[0]["left"] > 0
    assert told[1][0]["left"] > 1.5 * told[0][0]["left"]
    plain = list(fixture.scheduler.submit(fixture.request(settings={"seconds": 4.0}), "a"))
    assert {event["left"] for event in plain if event["event"] == "notes"} == {0}
