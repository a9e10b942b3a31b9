"""benchmarks/app/simulate.py: what can be reckoned by hand comes out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "app"


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import simulate as module

    always = {"settings": {"seconds": 10.0}}
    monkeypatch.setattr(module, "wish_of", lambda chance, seconds: always)
    yield module
    for name in ("simulate", "crowd"):
        sys.modules.pop(name, None)


def site(simulate: Any, lanes: int = 1, rows: int = 8, waiting: int = 200) -> Any:
    """A block of 21 tokens takes a second whatever the size of its batch; to begin one takes half of one."""
    sizes = simulate.SIZES
    rates = simulate.Rates(dict.fromkeys(sizes, 0.5), dict.fromkeys(sizes, 1.0), 21, 3.0)
    return simulate.Site(rates, lanes, 1, rows, waiting, 20.0, 10.0)


@pytest.mark.parametrize(
    ("people", "lanes", "rows", "seconds"),
    [
        (1, 1, 8, 13.5),  # ten blocks and three of the ending
        (2, 2, 8, 13.5),  # each has a lane
        (2, 1, 1, 27.0),  # one after the other
    ],
)
def test_how_long_it_takes(simulate: Any, people: int, lanes: int, rows: int, seconds: float) -> None:
    made = site(simulate, lanes, rows)
    wall = made.run(people, 0.0, 3)
    assert seconds <= wall <= seconds + 2.0  # they come within two seconds
    done = made.ends["a piece"]
    assert done + made.ends["stopped"] + made.ends["left in the middle"] == people
    assert made.seconds >= 20.0 * done
    assert made.first_note == pytest.approx([1.5] * people)


def test_those_who_come_meanwhile_share_a_batch_and_too_many_are_refused(simulate: Any) -> None:
    """The first is alone, the next eight are made at once, one is refused."""
    made = site(simulate, waiting=8)
    made.run(10, 0.0, 1)
    assert made.ends["a clear message"] == 1
    assert sum(waited > 2.0 for waited in made.waited) == 8 and max(made.waited) - sorted(made.waited)[1] < 2.0
