"""How quick the presets are on this machine, found out while nobody waits, and told as exactly as that allows."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from musicgen.app.best_ending import CANDIDATES, candidates_per_row, lead
from musicgen.app.bundled import FOLDER, bundled_primes
from musicgen.app.generate import JUDGED_BY, RULES, Model, eos_nats, start
from musicgen.app.settings import Settings
from musicgen.app.web import kept
from musicgen.app.web.notes.quality import Quality
from musicgen.data_prep import encode, read_midi
from musicgen.data_prep.rules.endings import OPENS, Endings

LOG = logging.getLogger("musicgen")
ROUNDS, READINGS = 5, 2
WARM_LENGTHS = (257, 65, 1)  # tokens of primes: one for each length of the engine's passes up to 1,024
TOKENS_PER_SECOND = 40.0  # of lively music: MAESTRO has 22.9 M tokens in 159 hours
LONGEST_OF_ALL = 1.5  # endings are drawn until the last of them is over; times the tokens of as long a part before them
ALIKE = 1.5  # speeds that differ by less may well be one: other programs come and go while they are measured
USUAL_SECONDS = 30.0  # of new music, as long as nobody asks for another length
SAME = ", at any of these settings"
LITTLE = 0.005  # nats a token: what two strides make of one setting

ENDINGS = "endings"

Pair = tuple[int, int]  # latents and context
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Speeds:
    """tokens: (latents, context) -> tokens a second of one take alone; a preset that cannot be run here is not there.
    candidates: tokens a second of each of the endings that are drawn at once; 0 if that is not known.
    once: seconds that reading the piece before them and judging them takes.
    """

    tokens: Mapping[Pair, float]
    candidates: float = 0.0
    once: float = 0.0

    @property
    def ending(self) -> float:
        """Seconds that the endings of a lively piece take; 0 if that is not known."""
        return LONGEST_OF_ALL * OPENS * TOKENS_PER_SECOND / self.candidates + self.once if self.candidates else 0.0

    def pace(self, pair: Pair) -> float | None:
        """Seconds of lively music that one take alone gets in a second; None if that is not known."""
        speed = pool_alike(self.tokens).get(pair)
        return None if speed is None else speed / TOKENS_PER_SECOND

    def seconds(self, pair: Pair, asked: float, end: bool) -> float | None:
        """How long so many seconds of lively music take; None if that is not known."""
        speed = pool_alike(self.tokens).get(pair)
        if speed is None:
            return None
        alone = asked - lead(asked) if end else asked
        return alone * TOKENS_PER_SECOND / speed + (self.ending if end else 0.0)


def pool_alike(speeds: Mapping[Pair, float]) -> dict[Pair, float]:
    """The same speeds, where those that differ by less than can be known are one, the mean of them."""
    pooled: dict[Pair, float] = {}
    group: list[Pair] = []
    for pair in sorted(speeds, key=speeds.__getitem__, reverse=True):
        if group and speeds[pair] * ALIKE < speeds[group[0]]:
            group = []
        group.append(pair)
        pooled |= dict.fromkeys(group, sum(speeds[one] for one in group) / len(group))
    return pooled


def describe_preset(pair: tuple[int, int], speeds: Speeds | None, quality: Quality | None) -> str:
    """What a preset (latents, context) costs and gains, for a person; speeds: None while they are being measured."""
    memory = f"Remembers about the last {pair[1] / TOKENS_PER_SECOND:.0f} seconds"
    lost = quality.lost(*pair) if quality is not None else None
    if lost is not None:
        memory += (
            "; nothing here does notably better" if lost < LITTLE else f"; {lost:.3f} nats per token behind the best"
        )
    if speeds is None:
        return f"{memory}. Its speed here is being measured."
    cut, ended = (speeds.seconds(pair, USUAL_SECONDS, end) for end in (False, True))
    if cut is None or ended is None:
        return f"{memory}. How long it takes here is not known."
    without = f", {roughly(cut)} without an ending" if roughly(cut) != roughly(ended) else ""
    same = SAME if len(speeds.tokens) > 1 and len(set(pool_alike(speeds.tokens).values())) == 1 else ""
    times = f"about {roughly(ended)} to make{without}{same}"
    return f"{memory}. Here, {USUAL_SECONDS:.0f} seconds of music take {times}."


def measuring(model: Model, pairs: Sequence[Pair]) -> Iterator[Speeds | None]:
    """Do a little of the work at each `next`, and in the end give the speeds.

    All streams are begun before one is timed, and they are timed in turns, so that whatever else the machine does is
    not charged to one of them; the best round counts, since other programs only ever make it slower.

    Args:
        model: what is measured; its functions for these settings have been compiled.
        pairs: of the presets; endings are measured with the first.
    """
    prime = opening()
    streams: dict[Pair | str, Iterator[np.ndarray]] = {}
    for pair in pairs:
        yield None
        try:
            stream = start(model, [prime[:1]], _settings(*pair), 0)
            next(stream)
            streams[pair] = stream
        except Exception:  # a preset that this machine cannot run is one whose speed is not known
            LOG.exception("latents %d, context %d could not be measured", *pair)
    if pairs[0] in streams:
        yield None
        streams[ENDINGS] = _endings(model, prime, pairs[0])
        next(streams[ENDINGS])
    best: dict[Pair | str, float] = {}
    for _ in range(ROUNDS):
        for name, stream in streams.items():
            yield None
            block, seconds = _timed(functools.partial(next, stream))
            best[name] = max(best.get(name, 0.0), block.shape[1] / seconds)
    reading = judging = np.inf
    for _ in range(READINGS if ENDINGS in best else 0):
        yield None
        block, seconds = _timed(lambda: next(_endings(model, prime, pairs[0])))
        reading = min(reading, max(seconds - block.shape[1] / best[ENDINGS], 0.0))
        yield None
        judging = min(judging, _timed(lambda: eos_nats(model, np.resize(prime, JUDGED_BY["context"])))[1])
    once = reading + CANDIDATES * judging if ENDINGS in best else 0.0
    yield Speeds({pair: best[pair] for pair in pairs if pair in best}, best.get(ENDINGS, 0.0), once)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the seconds it takes."""
    began = time.perf_counter()
    return work(), max(time.perf_counter() - began, 1e-6)


def _endings(model: Model, prime: np.ndarray, pair: Pair) -> Iterator[np.ndarray]:
    """A stream of endings as they are drawn for one take, none of which ends while it is timed."""
    rules = Endings(RULES, 10 * OPENS)
    return start(model, [prime], _settings(*pair), 0, rules=rules, copies=CANDIDATES)


def warming(model: Model, pair: Pair, rows: int) -> Iterator[None]:
    """Begin takes as the page begins them, a little at each `next`, so that when somebody comes their functions are
    there: those of an engine that compiles for primes of several lengths, and for endings."""
    usual, tokens = _settings(*pair), opening()
    for length in WARM_LENGTHS if model.engine.compiles else WARM_LENGTHS[-1:]:
        next(start(model, [tokens[:length]] * rows, usual, 0))
        yield
    if model.engine.compiles:
        many = candidates_per_row(rows)
        primes = [tokens] * (rows if many == 1 else 1)
        next(start(model, primes, usual, 0, rules=Endings(RULES, OPENS), copies=many))
        yield
        eos_nats(model, tokens)
        yield


def kept_speeds(model: Model, pairs: Sequence[Pair]) -> Speeds | None:
    """What an earlier start has measured here of late, if it did."""
    numbers = kept.read_numbers(kept.measured(model.sha256, model.backend))
    tokens = {pair: numbers[str(pair)] for pair in pairs if str(pair) in numbers}
    return Speeds(tokens, numbers.get(ENDINGS, 0.0), numbers.get("once", 0.0)) if tokens else None


def keep_speeds(model: Model, speeds: Speeds) -> None:
    """For the next start on this machine."""
    numbers = {str(pair): speed for pair, speed in speeds.tokens.items()}
    if speeds.candidates:
        numbers |= {ENDINGS: speeds.candidates, "once": speeds.once}
    kept.keep_numbers(kept.measured(model.sha256, model.backend), numbers)


def opening() -> np.ndarray:
    """int16[T] the tokens of an opening."""
    music, _ = read_midi(FOLDER / f"{bundled_primes()[0]}.mid")
    return encode(music, bos=True)


def roughly(seconds: float) -> str:
    """A time that is about right, in words."""
    if seconds < 1.5:
        return "1 second"
    step = 1 if seconds < 9.5 else 5 if seconds < 60 else 10
    return f"{step * round(seconds / step)} seconds"


def _settings(latents: int, context: int) -> Settings:
    return Settings(latents=latents, context=context)
