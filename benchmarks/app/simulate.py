"""What a crowd would find: the queue of `musicgen app` by its rules and measured rates, in simulated time.

    python benchmarks/app/simulate.py --measure > rates.json                how quick this machine is, nothing beside it
    python benchmarks/app/simulate.py rates.json --people 50                what `crowd.py --people 50` should find
    python benchmarks/app/simulate.py rates.json --people 10000 --lanes 400 --waiting 10000

People behave as those of `crowd.py`, and the same figures are told.  The server takes turns as `Scheduler` does: in
rounds, with batches of what can be made together, `streams` of them in turn in each lane.  A block of a batch takes as
long as was measured of a batch of its size, the first one longer; then the endings of all its takes are drawn at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from crowd import quantiles, wish_of

SIZES = (1, 2, 4, 8)
LATENTS, CONTEXT = 512, 2048
TOKENS_PER_SECOND = 21.0  # of the music that a crowd was given (benchmarks/app/README.md)
LONGEST_ENDING = 10.0  # seconds of music
LISTENS = 1.0, 4.0  # seconds between a piece and the next click


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds, by the size of a batch: to begin one, and for a block; the tokens of a block; seconds for endings."""

    begin: dict[int, float]
    block: dict[int, float]
    tokens: int
    ending: float


@dataclasses.dataclass(eq=False)
class Click:
    """Somebody's request.  left: tokens of each of its takes that are still to be drawn."""

    person: int
    chance: random.Random
    wish: dict[str, Any]
    at: float
    order: tuple[int, int] = (0, 0)
    began: float = 0.0
    heard: bool = False
    left: float = 0.0
    over: bool = False

    @property
    def takes(self) -> int:
        return int(self.wish.get("takes", 1))

    @property
    def key(self) -> object:
        """What can share its batch; None: nothing."""
        return None if "seed" in self.wish else str(self.wish.get("prime"))


@dataclasses.dataclass(eq=False)
class Batch:
    """Clicks that are made together."""

    clicks: list[Click]
    size: int
    ending: float  # seconds of work that the endings of its takes still are
    fresh: bool = True


class Site:
    """The queue, its lanes, and what has come of everybody's clicks."""

    def __init__(
        self, rates: Rates, lanes: int, streams: int, rows: int, waiting: int, length: float, ending: float
    ) -> None:
        """length: seconds of a piece; ending: those of them that are drawn as its ending."""
        self.rates, self.streams, self.rows, self.most = rates, streams, rows, waiting
        self.length, self.before = length, length - ending
        self.lanes: list[list[Batch]] = [[] for _ in range(lanes)]
        self.idle = set(range(lanes))
        self.queue: list[Click] = []
        self.rounds: dict[int, int] = {}
        self.round = 0
        self.numbers = itertools.count()
        self.events: list[tuple[float, int, Any]] = []  # (when, number, what: a click, or a lane that is free)
        self.ends = {"a piece": 0, "stopped": 0, "left in the middle": 0, "a clear message": 0}
        self.waited: list[float] = []
        self.first_note: list[float] = []
        self.seconds = self.ended = 0.0

    def at(self, when: float, what: Any) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), what))

    def run(self, people: int, until: float, seed: int) -> float:
        """Everybody comes, and comes again until the time is over; when the last one has gone."""
        for number in range(people):
            chance = random.Random(f"{seed} {number}")
            self._click(number, chance, chance.random() * 2)
        while self.events:
            now, _, what = heapq.heappop(self.events)
            if isinstance(what, Click):
                self._ask(what, now, until)
            else:
                self._work(what, now, until)
        return self.ended

    def _click(self, person: int, chance: random.Random, when: float) -> None:
        self.at(when, Click(person, chance, wish_of(chance, self.length), when))

    def _leave(self, click: Click, how: str, now: float, until: float) -> None:
        click.over = True
        self.ends[how] += 1
        self.ended = max(self.ended, now)
        back = now + click.chance.uniform(*LISTENS)
        if back < until:
            self._click(click.person, click.chance, back)

    def _ask(self, click: Click, now: float, until: float) -> None:
        broken = "midi" in (click.wish.get("prime") or {})
        if broken or len(self.queue) >= self.most:
            self._leave(click, "a clear message", now, until)
            return
        turn = max(self.round, self.rounds.get(click.person, -1) + 1)
        self.rounds[click.person] = turn
        click.order = turn, next(self.numbers)
        click.left = self.before * TOKENS_PER_SECOND
        self.queue.append(click)
        if self.idle:
            self.at(now, self.idle.pop())

    def _work(self, lane: int, now: float, until: float) -> None:
        """One round of a lane: begin a batch if there is room, then a block of each batch."""
        batches = self.lanes[lane]
        if self.queue and len(batches) < self.streams:
            batches.append(self._choose(now))
        for batch in list(batches):
            if next(click.left for click in batch.clicks if not click.over) <= 0:
                now += self.rates.block[SIZES[-1]]
                batch.ending -= self.rates.block[SIZES[-1]]
            else:
                now += self.rates.block[batch.size] + batch.fresh * self.rates.begin[batch.size]
            batch.fresh = False
            for click in batch.clicks:
                if not click.over:
                    self._drawn(click, batch, now, until)
            if all(click.over for click in batch.clicks):
                batches.remove(batch)
        if batches or self.queue:
            self.at(now, lane)
        else:
            self.idle.add(lane)

    def _choose(self, now: float) -> Batch:
        first, *others = sorted(self.queue, key=lambda click: click.order)
        chosen, rows = [first], first.takes
        for click in others:
            if first.key is not None and click.key == first.key and rows + click.takes <= self.rows:
                chosen.append(click)
                rows += click.takes
        self.round = max(self.round, first.order[0])
        self.queue = [click for click in self.queue if click not in chosen]
        for click in chosen:
            click.began = now
        return Batch(
            chosen,
            next(size for size in SIZES if size >= rows),
            self.rates.ending * (self.length - self.before) / LONGEST_ENDING,
        )

    def _drawn(self, click: Click, batch: Batch, now: float, until: float) -> None:
        """A block of somebody's piece is there: it is heard for the first time, stopped, left, or finished."""
        click.left -= self.rates.tokens
        if not click.heard:
            click.heard = True
            self.waited.append(click.began - click.at)
            self.first_note.append(now - click.began)
            leaves, stops = click.chance.random() < 0.1, click.chance.random() < 0.1
            if leaves or stops:
                self.seconds += click.takes * self.rates.tokens / TOKENS_PER_SECOND * stops
                self._leave(click, "left in the middle" if leaves else "stopped", now, until)
        elif click.left <= 0 and batch.ending <= 0:
            self.seconds += click.takes * self.length
            self._leave(click, "a piece", now, until)


def measure() -> Iterator[tuple[str, Any]]:
    """The rates of the default weights on this machine, by the scheduler's own batches."""
    from musicgen.app.generate import open_model, open_weights, start
    from musicgen.app.settings import Settings
    from musicgen.app.web.notes.speeds import TOKENS_PER_SECOND as LIVELY
    from musicgen.app.web.notes.speeds import measuring, opening

    model = open_model(open_weights(None))
    settings = Settings(latents=LATENTS, context=CONTEXT, num_samples=1)
    begin, block = {}, {}
    tokens = 0
    for size in SIZES:
        primes = [opening()[:300]] * size
        for _ in range(2):  # the first one compiles
            began = time.perf_counter()
            stream = start(model, primes, settings, 0)
            tokens = next(stream).shape[1]
            first = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(16):
            next(stream)
        block[size] = (time.perf_counter() - began) / 16
        begin[size] = max(first - block[size], 0.0)
    for speeds in measuring(model, [(LATENTS, CONTEXT)], lambda: False):
        # Of as lively music as it reckons with, and the longest there is.
        ending = speeds.ending * TOKENS_PER_SECOND / LIVELY if speeds is not None else 0.0
    yield from {"begin": begin, "block": block, "tokens": tokens, "ending": ending, "weights": model.name}.items()


def read_rates(path: Path) -> Rates:
    """As `--measure` has written them."""
    told = json.loads(path.read_text())
    by_size = lambda name: {int(size): value for size, value in told[name].items()}  # noqa: E731
    return Rates(by_size("begin"), by_size("block"), told["tokens"], told["ending"])


def main() -> None:
    """Measure, or simulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rates", nargs="?", type=Path)
    parser.add_argument("--measure", action="store_true", help="measure this machine's rates and print them")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--lanes", type=int, default=1, help="workers (%(default)s)")
    parser.add_argument("--streams", type=int, default=2, help="batches that take turns in a lane (%(default)s)")
    parser.add_argument("--rows", type=int, default=8, help="takes in a batch (%(default)s)")
    parser.add_argument("--waiting", type=int, default=200, help="clicks that may wait (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long people keep coming (%(default)g)")
    parser.add_argument("--length", type=float, default=15.0, help="seconds of new music in a piece (%(default)g)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(dict(measure())))
        return
    from musicgen.app.best_ending import lead

    bounds = asked.lanes, asked.streams, asked.rows, asked.waiting
    site = Site(read_rates(asked.rates), *bounds, asked.length, lead(asked.length))
    wall = site.run(asked.people, asked.seconds, asked.seed)
    told = {
        "people": asked.people,
        "lanes": asked.lanes,
        "wall_seconds": round(wall, 1),
        "requests": sum(site.ends.values()),
        "ends": site.ends,
        "seconds_of_music": round(site.seconds, 1),
        "music_per_second": round(site.seconds / wall, 2),
        "first_note_after_its_turn": quantiles(site.first_note),
        "waited_for_its_turn": quantiles(site.waited),
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
