"""What the presets are said to cost: measured when nothing else is done, side by side, and told with its doubt."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.generate import Model
from musicgen.app.web import kept, serve
from musicgen.app.web.notes import speeds
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.notes.speeds import LONGEST_OF_ALL, Speeds, describe_preset, measuring, pool_alike, roughly

FAST, BALANCED, BEST = (8, 64), (16, 128), (64, 256)
PAIRS = [BALANCED, FAST, BEST]


class Slow:
    """An engine on a clock of its own, busy with something else at first: a step takes 10 ms, a row more 2 ms, and
    three times that in the first seconds."""

    compiles = True

    def __init__(self) -> None:
        self.now = 0.0

    def spend(self, seconds: float) -> None:
        self.now += seconds * (3 if self.now < 6.0 else 1)

    def start(self, primes: Any, *, latents: int, context: int, copies: int = 1, **more: Any) -> Iterator[np.ndarray]:
        rows = len(primes) * copies
        while True:
            self.spend(16 * (0.010 + 0.002 * (rows - 1)))
            yield np.zeros((rows, 16), np.int16)

    def nats(self, stream: np.ndarray, token: int, **more: Any) -> float:
        self.spend(0.1)
        return 1.0


@pytest.fixture
def slow(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    engine = Slow()
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: engine.now)
    return dataclasses.replace(fake.fake_model(), engine=engine)


def test_no_preset_pays_for_what_else_the_machine_does(slow: Any) -> None:
    """Equally quick presets are found to be so, although the first rounds were disturbed; endings are measured, too."""
    *_, found = measuring(slow, PAIRS)
    assert found is not None
    assert found.tokens == {pair: pytest.approx(100.0) for pair in PAIRS}
    assert found.pace(BEST) == pytest.approx(100 / 40) and found.pace((4, 4)) is None
    assert found.ending == pytest.approx(LONGEST_OF_ALL * 10 * 40 * 0.024 + 8 * 0.1)
    assert found.seconds(BEST, 30.0, end=False) == pytest.approx(12.0)
    assert found.seconds(BEST, 30.0, end=True) == pytest.approx(8.0 + found.ending)


def test_a_preset_that_cannot_be_run_costs_only_itself(slow: Any, caplog: pytest.LogCaptureFixture) -> None:
    start = slow.engine.start

    def refusing(primes: Any, **settings: Any) -> Any:
        if settings["context"] == 256:
            raise MemoryError
        return start(primes, **settings)

    slow.engine.start = refusing
    *_, found = measuring(slow, PAIRS)
    assert found is not None and set(found.tokens) == {FAST, BALANCED}
    assert "not known" in describe_preset(BEST, found, None) and "seconds to make" in describe_preset(FAST, found, None)


def test_differences_that_may_be_none_are_not_told() -> None:
    """12, 10 and 6 seconds in one start, 8, 15 and 7 in another: that was the machine, not the presets."""
    assert len(set(pool_alike({FAST: 140.0, BALANCED: 121.0, BEST: 151.0}).values())) == 1
    known = pool_alike({FAST: 200.0, BALANCED: 190.0, BEST: 120.0})
    assert known == {FAST: 195.0, BALANCED: 195.0, BEST: 120.0}
    same, other = (Speeds({FAST: 150.0, BALANCED: 121.0, BEST: best}, 50.0, 2.0) for best in (140.0, 60.0))
    assert len({describe_preset(pair, same, None).split("Here")[1] for pair in PAIRS}) == 1
    assert describe_preset(FAST, same, None) == (
        "Remembers about the last 2 seconds. Here, 30 seconds of music take about 20 seconds to make, 9 seconds"
        " without an ending, at any of these settings."
    )
    assert "whichever" not in describe_preset(BEST, other, None)
    assert "25 seconds to make, 20 seconds without" in describe_preset(BEST, other, None)


def test_times_are_rounded() -> None:
    told = [roughly(seconds) for seconds in (0.02, 1.6, 9.4, 9.6, 12.6, 44.0, 58.0, 123.0)]
    assert told == [f"{n} seconds" if n > 1 else "1 second" for n in (1, 2, 9, 10, 15, 45, 60, 120)]


def test_nothing_is_measured_before_the_machine_is_free(make_scheduler: Any) -> None:
    """Not even while nobody waits: only when the page's own preparations are over."""
    fixture = make_scheduler()
    time.sleep(0.2)
    assert not fixture.engine.started and fixture.notes.speeds is None
    fixture.scheduler.prepare()
    deadline = time.monotonic() + 120
    while fixture.notes.speeds is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert set(fixture.notes.speeds.tokens) == set(fixture.dials.presets.values())


def test_the_next_start_knows(slow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What one start has measured, the next has at once: of these weights, on this machine, for a day."""
    first = NoteMaker(lambda: slow)
    first.open()
    assert first.speeds is None
    list(first.prepare())
    (file,) = (tmp_path / "musicgen" / "speeds").iterdir()

    def known(model: Model = slow) -> Speeds | None:
        maker = NoteMaker(lambda: model)
        maker.open()
        return maker.speeds

    assert first.speeds is not None and known() == first.speeds
    assert known(dataclasses.replace(slow, sha256="0" * 64)) is None
    with monkeypatch.context() as other:
        other.setattr(kept, "cores", lambda: 999)
        assert known() is None
    os.utime(file, (time.time() - 2 * kept.LATELY,) * 2)
    assert known() is None
    for torn in ("", "[1]", '{"(16, 128)": "fast"}', '{"(16, 128)": NaN}', '{"(16, 128)": 0}'):
        file.write_text(torn)
        assert known() is None


@pytest.mark.parametrize("broken", [False, True])
def test_the_piano_comes_first(broken: bool) -> None:
    """Its samples are rendered on the same cores; a machine that has none is measured all the same."""
    done: list[str] = []

    def samples() -> None:
        done.append("samples")
        if broken:
            raise EnvironmentProblem("there is no soundfont")

    renderer, scheduler = (
        SimpleNamespace(prepare=samples, closed=False),
        SimpleNamespace(prepare=lambda: done.append("speed")),
    )
    service = SimpleNamespace(renderer=renderer, scheduler=scheduler, visited=threading.Event())
    preparing = threading.Thread(target=serve._prepare, args=[service])
    preparing.start()
    assert not done, "the first page comes before it"
    service.visited.set()
    preparing.join(60)
    assert done == ["samples", "speed"]
