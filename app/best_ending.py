"""Endings worth hearing: the last seconds of a piece are drawn several times, and the best is kept.

`Endings` sees to it that a stream ends, but what it ends with is seldom an ending.  At the same moment of the same
piece one draw in a few closes as pianists do, and the model can tell which (benchmarks/endings).  So a piece is drawn
up to its last seconds as if it went on, several endings are drawn from there, and that one is kept after which the
model finds it likeliest that the piece is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from musicgen.app.settings import derive_seed
from musicgen.data_prep import EOS, PAD, STEPS_PER_SECOND, steps
from musicgen.data_prep.rules.endings import OPENS, PART

CANDIDATES = 8  # endings drawn for all rows of a batch together, so that it costs no more than one row's
RINGS_ON = 10.0  # seconds after which a piece that was to end is cut; its rules let it ring for half of that


def lead(seconds: float) -> float:
    """How long before its end, in seconds, a piece of so many is drawn several times."""
    return min(OPENS, PART * seconds)


def candidates_per_row(rows: int) -> int:
    """How many endings are drawn for each row of a batch of so many; 1 is better drawn by `Endings` alone."""
    return max(1, CANDIDATES // rows)


def best_of_n_ending(
    stream: Iterator[np.ndarray],
    primes: Sequence[np.ndarray],
    seconds: float,
    seed: int | Sequence[int],
    start: Callable[[np.ndarray, int, int, float], Iterator[np.ndarray]],
    nats: Callable[[np.ndarray], float],
) -> Iterator[np.ndarray]:
    """Blocks int16[B, k] of rows that each end, with EOS, near so many seconds of new music.

    A row that has nothing new to say, because others are not as far or endings are being drawn, says PAD.

    Args:
        stream: blocks int16[B, k] without an end.
        primes: int16[T] each, what it continues, BOS first.
        seconds: of new music.
        seed: of the stream, or of each row where it is one of its own; those of the endings follow from it.
        start: gives blocks of so many streams that continue one, drawn with a seed, and end near so many seconds.
        nats: what the model gives to EOS after a stream.
    """
    fork = round((seconds - lead(seconds)) * STEPS_PER_SECOND)
    rows, now = [[prime] for prime in primes], [0] * len(primes)
    while min(now) < fork:
        block = np.array(next(stream))
        for row, tokens in enumerate(block):
            time = now[row] + steps(tokens)
            kept = int(np.searchsorted(time, fork)) + 1 if now[row] < fork else 0  # with the shift that gets there
            tokens[kept:] = PAD
            rows[row].append(tokens[:kept])
            now[row] = int(time[:kept][-1]) if kept else now[row]
        yield block
    del stream  # its memory is free before the next one takes some
    if isinstance(seed, int):
        many, seeds = candidates_per_row(len(rows)), [derive_seed(seed, row, 1) for row in range(len(rows))]
    else:
        many, seeds = candidates_per_row(1), [derive_seed(own, 0, 1) for own in seed]
    for row, parts in enumerate(rows):
        body, left = np.concatenate(parts), seconds - now[row] / STEPS_PER_SECOND
        drawn = np.zeros((many, 0), np.int16)
        for block in _until_over(start(body, many, seeds[row], left), left + RINGS_ON):
            drawn = np.concatenate([drawn, block], axis=1)
            yield np.full((len(rows), 1), PAD, np.int16)
        ended = [ending[: np.argmax(ending == EOS)] for ending in drawn if EOS in ending]
        best = np.append(min(ended, key=lambda ending: nats(np.append(body, ending))), EOS) if ended else drawn[0]
        shown = np.full((len(rows), len(best)), PAD, np.int16)
        shown[row] = best
        yield shown


def _until_over(stream: Iterator[np.ndarray], seconds: float) -> Iterator[np.ndarray]:
    """The blocks int16[B, k] of a stream until every row has ended, or has lasted so long that it will not."""
    now: np.ndarray | float = 0.0
    while np.min(now) <= seconds * STEPS_PER_SECOND:
        block = next(stream)
        now = now + np.where((block == EOS).any(axis=1), np.inf, [steps(row)[-1] for row in block])
        yield block
