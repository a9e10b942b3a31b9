"""The sustain pedal of a region: left as the song has it, or written anew so that everything sounds as it did without.

A model says how long notes sound, not what the foot does.  Under a pedal that stays, its keys are let go so that they
fall silent as near to that as they can: where the pedal is lifted next, or before it was pressed.  One that is written
anew goes down where no note ends before several end together, and up with these: nothing sounds longer for it.  What
rings when the region begins keeps the pedal it had, up to its first lift; and where the region ends the pedal is as it
was.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicgen.app.prime import TICK
from musicgen.data_prep.performance import PEDAL_DOWN

TOGETHER = 0.025  # seconds between the first and the last end that one lift of the pedal makes
SHORTEST = 0.2  # seconds that it is down
LATE = 0.05  # seconds behind the end before, as feet are


class Foot(NamedTuple):
    """What of a pedal stays, bool[p] of its events; from when on it is written anew, inf for never; and what is said
    then and where the region ends: (seconds, value)."""

    kept: np.ndarray
    anew_from: float
    borders: tuple[tuple[float, int], ...]


def foot(seconds: np.ndarray, values: np.ndarray, start: float, stop: float, anew: bool) -> Foot:
    """What stays of a pedal, f64[p] seconds and i64[p] values, in a region; anew: whether it is to be written anew."""
    as_it_was = Foot(np.ones(len(seconds), bool), np.inf, ())
    if not anew:
        return as_it_was
    first, past = np.searchsorted(seconds, [start, stop]).tolist()
    anew_from, before = start, values[first - 1] if first else 0
    if before >= PEDAL_DOWN:
        lifts = np.flatnonzero(values[first:past] < PEDAL_DOWN)
        if not len(lifts):
            return as_it_was
        first += int(lifts[0]) + 1
        anew_from, before = float(seconds[first - 1]), values[first - 1]
    after = values[past - 1] if past else 0
    borders = [(anew_from, 0)] * bool(before) + [(stop - TICK, int(after))] * bool(after)
    kept = as_it_was.kept.copy()
    kept[first:past] = False
    return Foot(kept, anew_from, tuple(borders))


def staying(seconds: np.ndarray, values: np.ndarray, found: Foot) -> tuple[np.ndarray, np.ndarray]:
    """The events that stay and those at the borders, in order."""
    times, feet = np.array(found.borders).reshape(-1, 2).T
    seconds, values = np.append(seconds[found.kept], times), np.append(values[found.kept], feet)
    order = np.argsort(seconds, kind="stable")
    return seconds[order], values[order]


def let_go(onset: np.ndarray, end: np.ndarray, seconds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """f64[n]: when the keys of notes f64[n] are let go under a pedal's events, f64[p] seconds and values, in order.

    Under a pedal that is down a note sounds until it is lifted.  If it was pressed nearer to the note's end, and after
    its onset, the key is let go just before that.
    """
    down = values >= PEDAL_DOWN
    moves = seconds[np.flatnonzero(np.diff(down, prepend=False))]  # a press, a lift, a press ..
    downs, ups = moves[::2], np.append(moves[1::2], np.inf)
    last = np.searchsorted(downs, end, side="right") - 1
    pressed, lifted = np.append(downs, -np.inf)[last], np.append(ups[: len(downs)], -np.inf)[last]
    before = pressed - TICK
    nearer = (end < lifted) & (end - pressed < lifted - end) & (before - onset >= TICK)
    return np.where(nearer, before, end)


def presses(ends: np.ndarray, start: float, stop: float) -> list[tuple[float, int]]:
    """(seconds, value) of a pedal in [start, stop) that makes no note that ends at one of these, f64[n], longer by more
    than `TOGETHER`."""
    ends = np.sort(ends[(ends >= start) & (ends < stop)])
    found: list[tuple[float, int]] = []
    previous, first = start, 0
    while first < len(ends):
        past = int(np.searchsorted(ends, ends[first] + TOGETHER, side="right"))
        down = previous + LATE
        if past - first > 1 and ends[first] - down >= SHORTEST:
            found += [(down, 127), (float(ends[past - 1]), 0)]
        previous, first = float(ends[past - 1]), past
    return found
