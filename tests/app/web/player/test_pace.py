"""When playing begins: machines of given speeds, whose arrivals are made up, heard as the player hears them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .test_music import run_node

SCRIPT = Path(__file__).with_name("pace_cases.mjs")
LENGTH, LEAD, BLOCK = 30.0, 10.0, 16  # seconds, the last of them an ending; tokens that come at once
Arrivals = list[tuple[float, float, int, float]]


def machine(speeds: Any, *, density: float = 45.0, ending: int = 0, told: int | None = None) -> dict[str, Any]:
    """A run of a machine: speeds(now) tokens a second, music of so many a second, an ending that takes as long as so
    many; told: as how many it is told, if not as many as that."""
    now, drawn, arrivals = 0.3, 0, Arrivals()
    until = LENGTH - LEAD if ending else LENGTH
    while (seconds := drawn / density) < until:
        now, drawn = now + BLOCK / speeds(now), drawn + BLOCK
        arrivals.append((now, min(drawn / density, until), drawn, float(told or ending)))
    for spent in range(BLOCK, ending, BLOCK):
        now += BLOCK / speeds(now)
        left = max((told or ending) - spent, 0.1 * (told or ending))
        arrivals.append((now, until, drawn + spent, left))
    assert seconds > 10
    return {"arrivals": arrivals, "until": until, "end": now + 0.05, "length": LENGTH}


def busy(now: float) -> float:
    """Half as fast from the fourth second on: somebody else's piece is made, too."""
    return 60.0 if now < 4 else 30.0


PATTERNS = {
    "quick": machine(lambda now: 400.0),
    "quick, with an ending": machine(lambda now: 400.0, ending=900),
    "as fast as it plays": machine(lambda now: 45.0),
    "as fast as it plays, with an ending": machine(lambda now: 45.0, ending=900),
    "slow": machine(lambda now: 25.0),
    "slow, with an ending": machine(lambda now: 25.0, ending=900),
    "slow, with an ending that takes longer than was told": machine(lambda now: 25.0, ending=900, told=780),
    "slower than it seemed": machine(busy, ending=600),
    "in fits and starts": machine(lambda now: 8.0 if int(now * 2) % 6 == 0 else 60.0, ending=600),
    "sparse": machine(lambda now: 25.0, density=15.0, ending=300),
    "dense": machine(lambda now: 60.0, density=90.0, ending=900),
}
SURPRISES = ("slower than it seemed", "in fits and starts", "sparse", "dense")  # of which the beginning says too little


def enough(run: dict[str, Any]) -> float:
    """When playing could have begun, as one knows afterwards."""
    edges = [0.0, *(seconds for _, seconds, *_ in run["arrivals"])]
    late = [now - edge for edge, (now, *_) in zip(edges, run["arrivals"], strict=False)]
    return max(*late, run["end"] - run["until"])


def test_playing_does_not_stop_before_the_end_and_begins_when_it_can() -> None:
    """Whatever the machine; a fast one is not waited for, and no countdown goes up by more than a fifth at a time."""
    for (name, run), heard in zip(PATTERNS.items(), run_node(SCRIPT, [*PATTERNS.values()]), strict=True):
        assert heard["stops"] == [], name
        needed = enough(run)
        assert needed - 0.1 <= heard["begun"] <= needed + 2.0 + 0.45 * (run["end"] - needed), name
        if name.startswith("quick"):
            assert heard["begun"] < 1.0
        shown = [seconds for _, seconds in heard["counted"]]
        assert all(after <= 1.2 * before for before, after in itertools.pairwise(shown)), name
        spent = [now for now, _, _, left in run["arrivals"] if left < run["arrivals"][0][3]]
        assert heard["ending"] == (pytest.approx(spent[0], abs=0.06) if spent else None), name
        assert (shown == []) == (heard["begun"] < 1), name
        if name not in SURPRISES and shown:
            first, told = heard["counted"][0]
            assert first < 3 and told == pytest.approx(heard["begun"] - first, rel=0.4), name


def test_who_plays_anyway_is_told_where_it_will_stop() -> None:
    """The promise is kept: it stops there, once, and about as long."""
    runs = [{**machine(lambda now, speed=speed: speed, ending=900), "anyway": True} for speed in (70.0, 45.0)]
    for heard in run_node(SCRIPT, runs):
        promised = heard["promised"]
        (at, seconds) = heard["stops"][0]
        assert heard["begun"] < 2.0
        assert promised["at"] == pytest.approx(at, abs=3.0) and promised["seconds"] == pytest.approx(seconds, rel=0.5)


def test_half_the_speed_needs_half_the_machine() -> None:
    whole, half = run_node(SCRIPT, [{**PATTERNS["as fast as it plays"], "tempo": x} for x in (1, 0.5)])
    assert half["begun"] < 1.5 < 3.0 < whole["begun"] and half["stops"] == whole["stops"] == []


@pytest.mark.parametrize("seed", range(3))
def test_machines_that_nobody_foresaw(seed: int) -> None:
    """Speeds drawn at random and changing all the time: where playing stops, that was said while it played."""
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(20):
        speeds = rng.uniform(10, 200) * rng.gamma(4, 1 / 4, 1000)
        runs.append(machine(lambda now, speeds=speeds: max(2.0, speeds[min(int(now), 999)]), ending=900))
    for heard in run_node(SCRIPT, runs):
        shown = [seconds for _, seconds in heard["counted"]]
        assert all(after <= 1.2 * before for before, after in itertools.pairwise(shown))
        for (_, seconds), warned in zip(heard["stops"], heard["warned"], strict=True):
            assert seconds < 2 or warned > 0
