"""Rows that teach a model to fill a gap: a region of seconds and pitches, knowing what stays in it and what follows.

An example of a gap is written so, the region being the steps [start, stop):

    AFTER   what follows the region (AHEAD: only what is known to stay of it, the region goes on)
    BEFORE  [BOS] [style] [mood]   what comes before the region, and a wait up to its start
    GAP     [lowest and highest pitch as note-ons, of a band]   [how many steps the last second has, as a time shift]
    SECOND n     what stays in this second     FILL     the fill of this second
    SECOND n-1   ...
    TAIL         ends, after the region, of what stays       FILL    those of the fill
    END

A note belongs where it begins.  Each part is a stream of the ordinary events: AFTER counts time from `stop`, each
second from its own start, the tail from `stop`; velocities are stated anew where AFTER, BEFORE, what stays and the
fill begin.  Second by second a model needs to look back by a second only to know what it accompanies, and it has read
what follows long before.  A row of training holds one or several examples; in what is called given, no target counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicgen.data_prep.events import STEPS_PER_SECOND, VELOCITY_BIN
from musicgen.data_prep.performance import Performance
from musicgen.data_prep.tokens import encoded_notes
from musicgen.data_prep.vocabulary import (
    BOS,
    EOS,
    GAPS,
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    TIME_SHIFT,
    VELOCITY,
    VOCABULARY_2,
)

AFTER, AHEAD, BEFORE = (VOCABULARY_2.first(name) for name in ("after", "ahead", "before"))
GAP, SECOND, FILL, TAIL, END = (VOCABULARY_2.first(name) for name in ("gap", "second", "fill", "tail", "end"))
MOST_SECONDS = VOCABULARY_2.range("second").last
_NONE = -1  # the segment of an event that is not written


class Steps(NamedTuple):
    """Notes in steps of 10 ms, in the order of their events: i64[n] each, velocities as bins from 1."""

    start: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    bin: np.ndarray


class Gap(NamedTuple):
    """A region: steps [start, stop), its kind (one of GAPS), of a band its lowest and highest pitch.

    after: how much of what follows is told: "all", what "stays" of it, or "none".
    """

    start: int
    stop: int
    kind: str = "whole"
    low: int = 0
    high: int = 127
    after: str = "all"


class Example(NamedTuple):
    """Tokens i16[T], and bool[T] which of them are given: nothing that a model is to predict."""

    tokens: np.ndarray
    given: np.ndarray


def in_steps(performance: Performance) -> Steps:
    """As `tokens.encode` places notes: pedal applied, one onset of a key in a step."""
    notes = encoded_notes(performance)

    def step(seconds: np.ndarray) -> np.ndarray:
        return np.minimum(seconds * STEPS_PER_SECOND + 0.5, 2.0**52).astype(np.int64)

    start = step(notes.onset)
    end = np.maximum(step(notes.end), start + 1)
    velocity_bin = (notes.velocity.astype(np.int64) - 1) // VELOCITY_BIN + 1
    return Steps(start, end, notes.pitch.astype(np.int64), velocity_bin)


def streams(
    notes: Steps, begins: np.ndarray, ends: np.ndarray, origins: np.ndarray, voices: np.ndarray
) -> list[np.ndarray]:
    """The events of each segment, i16[T] each.

    begins, ends: i64[n], the segment that holds each note's beginning and its end, -1 for none.  origins: the step
    from which each segment counts time.  voices: segments of one voice share the current velocity.
    """
    n = len(notes.start)
    segment, step = np.concatenate([ends, begins]), np.concatenate([notes.end, notes.start])
    order = np.lexsort((np.arange(2 * n) >= n, step, segment))  # stable: then by number
    order = order[segment[order] > _NONE]
    segment, step, is_on, note = segment[order], step[order], order >= n, order % max(n, 1)
    previous = np.concatenate([[0], step[:-1]]) if len(step) else step
    first = np.diff(segment, prepend=_NONE) != 0
    wait = step - np.where(first, origins[segment], previous)
    changes = np.zeros(len(order), bool)
    for voice in np.unique(voices):
        mine = is_on & (voices[segment] == voice)
        changes[mine] = np.diff(notes.bin[note[mine]], prepend=0) != 0
    shifts = (wait + MAX_SHIFT - 1) // MAX_SHIFT
    sizes = shifts + changes + 1
    last = np.cumsum(sizes) - 1
    tokens = np.full(int(sizes.sum()), TIME_SHIFT + MAX_SHIFT - 1, np.int16)
    tokens[last] = np.where(is_on, NOTE_ON, NOTE_OFF) + notes.pitch[note]
    tokens[last[changes] - 1] = VELOCITY + notes.bin[note[changes]] - 1
    waits = shifts > 0
    remainder = wait[waits] - (shifts[waits] - 1) * MAX_SHIFT
    tokens[last[waits] - changes[waits] - 1] = TIME_SHIFT + remainder - 1
    lengths = np.bincount(segment, sizes, len(origins)).astype(np.int64)
    return np.split(tokens, np.cumsum(lengths)[:-1])


def _segments(notes: Steps, gap: Gap, stays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each note's beginning and end are written: 0 AFTER, 1 BEFORE, then what stays and the fill in turns."""
    seconds = -(-(gap.stop - gap.start) // STEPS_PER_SECOND)

    def place(step: np.ndarray, fill: np.ndarray) -> np.ndarray:
        second = np.where(step >= gap.stop, seconds, (step - gap.start) // STEPS_PER_SECOND)
        return 2 + 2 * second + fill

    earlier, later = notes.start < gap.start, notes.start >= gap.stop
    fill = ~earlier & ~later & ~stays
    told = later & (stays if gap.after == "stays" else gap.after == "all")
    unseen = (later & ~told) | (stays & ~earlier & ~later & (gap.kind == "blind"))
    begins = np.where(earlier, 1, np.where(told, 0, place(notes.start, fill)))
    ends = np.where(told, 0, np.where(earlier & (notes.end < gap.start), 1, place(notes.end, fill)))
    return np.where(unseen, _NONE, begins), np.where(unseen, _NONE, ends)


def _waits(steps: int) -> list[int]:
    full, rest = divmod(int(steps), MAX_SHIFT)
    return [TIME_SHIFT + MAX_SHIFT - 1] * full + ([TIME_SHIFT + rest - 1] if rest else [])


def head(gap: Gap) -> list[int]:
    """The tokens that say what is asked for."""
    band = [NOTE_ON + gap.low, NOTE_ON + gap.high] if gap.kind in ("band", "blind") else []
    last = (gap.stop - gap.start - 1) % STEPS_PER_SECOND + 1
    return [GAP + GAPS.index(gap.kind), *band, TIME_SHIFT + last - 1]


def example(
    notes: Steps,
    gap: Gap,
    stays: np.ndarray,
    *,
    style: Sequence[int] = (),
    whole: tuple[bool, bool] = (True, True),
    most_before: int = 1 << 30,
    most_after: int = 1 << 30,
) -> Example:
    """The gap in these notes as a model sees it.

    stays: bool[n], which notes a region leaves; outside the region it matters for `after` "stays" only.  whole: whether
    the notes begin and end where the piece does.  most_before, most_after: tokens of the two that are kept.
    """
    seconds = -(-(gap.stop - gap.start) // STEPS_PER_SECOND)
    begins, ends = _segments(notes, gap, stays)
    inside = np.minimum(gap.start + STEPS_PER_SECOND * np.arange(seconds), gap.stop)
    origin = 0 if whole[0] or not len(notes.start) else min(int(notes.start.min()), gap.start)
    origins = np.concatenate([[gap.stop, origin], np.repeat(np.append(inside, gap.stop), 2)])
    voices = np.concatenate([[0, 1], np.tile([2, 3], seconds + 1)])
    after, before, *region = streams(notes, begins, ends, origins, voices)
    parts: list[tuple[Sequence[int] | np.ndarray, bool]] = []
    if gap.after != "none":
        given = gap.after == "stays"
        if whole[1] and len(after) < most_after:
            after = np.append(after, EOS)
        parts += [([AFTER if gap.after == "all" else AHEAD], True), (after[:most_after], given)]
    from_start = whole[0] and len(before) <= most_before
    parts += [([BEFORE, *([BOS] if from_start else []), *style], True)]
    earlier = [*notes.start[begins == 1], *notes.end[ends == 1]]
    wait = gap.start - (max(earlier) if earlier else origin)
    parts += [(before[len(before) - min(len(before), most_before) :], False), (_waits(wait), True), (head(gap), True)]
    for second in range(seconds + 1):
        left = seconds - second
        parts.append(([SECOND + min(left, MOST_SECONDS) - 1 if left else TAIL], second == 0))
        parts += [(region[2 * second], True), ([FILL], True), (region[2 * second + 1], False)]
    parts.append(([END], False))
    tokens = np.concatenate([np.asarray(part, np.int16) for part, _ in parts])
    return Example(tokens, np.concatenate([np.full(len(part), given) for part, given in parts]))


def skyline(notes: Steps, steps_back: int, steps_on: int = 4, *, lowest: bool = False) -> np.ndarray:
    """bool[n]: the notes above all that begin up to `steps_back` before and `steps_on` after them; or below all."""
    if not len(notes.start):
        return np.zeros(0, bool)
    pitch = -notes.pitch if lowest else notes.pitch
    first = np.searchsorted(notes.start, notes.start - steps_back)
    past = np.searchsorted(notes.start, notes.start + steps_on, side="right")
    bounds = np.stack([first, past], axis=1).reshape(-1)
    padded = np.append(pitch, -128)  # so that `past` may be the number of notes
    return np.asarray(np.maximum.reduceat(padded, bounds)[::2] <= pitch)


class FillReader:
    """Turns the tokens of a region, from its first second's mark on, into an ordinary stream of the fill alone.

    steps: of the region.  over: whether END has come.  step: the time reached.
    """

    def __init__(self, steps: int) -> None:
        """Nothing has been read."""
        self.steps, self.over = steps, False
        self.step = self._told = self._seconds = 0
        self._in_fill = False

    def read(self, tokens: Sequence[int] | np.ndarray) -> list[int]:
        """The ordinary tokens that the next ones mean; time counts from the region's start."""
        found: list[int] = []
        for token in np.asarray(tokens).tolist():
            if self.over:
                break
            if token == FILL:
                self._in_fill = True
            elif token >= SECOND:  # a mark: what stays comes next
                self._in_fill, self.over = False, token == END
                self.step = self.step if self.over else min(STEPS_PER_SECOND * self._seconds, self.steps)
                self._seconds += 1
            elif self._in_fill and TIME_SHIFT <= token < TIME_SHIFT + MAX_SHIFT:
                self.step += token - TIME_SHIFT + 1
            elif self._in_fill:
                found += [*_waits(self.step - self._told), token]
                self._told = self.step
        return found

    def rest(self) -> list[int]:
        """The wait from what was read last up to the time reached."""
        return _waits(self.step - self._told)
