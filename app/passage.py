"""A passage of a song as a model is asked to fill it: what it reads first, what is given in between, and what fits.

Prompt and script are a training example without its fill, made by the same function (data_prep/dataset/gaps.py); the
table says which keys are free when (data_prep/rules/fills.py).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from musicgen.data_prep import STEPS_PER_SECOND, Performance, apply_pedal
from musicgen.data_prep.dataset.gaps import END, SECOND, TAIL, Gap, Steps, example, in_steps
from musicgen.data_prep.rules.fills import Script
from musicgen.data_prep.vocabulary import GAPS, PITCHES, VOCABULARY_2

RING = 2 * STEPS_PER_SECOND  # steps that a fill may sound beyond its region
MOST_AFTER = 384  # tokens of what follows, about ten seconds
NOTES_AROUND = 2_000  # that are looked at before and after a window: more than a context holds
MARKS = (*range(SECOND, SECOND + VOCABULARY_2.range("second").size), TAIL, END)


@dataclasses.dataclass(frozen=True, eq=False)
class Passage:
    """What is known where a region is to be filled: steps [start, stop) of a song.

    notes: all that stays of the song, its pedal not applied.
    kind: of the gap.  alone: whether what follows the region, too, is nothing but what stays (of a melody, say).
    lowest, highest: i64[stop - start], the keys that may be struck at each step.
    releases: f64[r] seconds, i64[r] pitches of messages that would release keys of the fill.
    density: tokens a second that are expected.
    style: tokens that tell it, or none.
    """

    notes: Performance
    start: int
    stop: int
    kind: str
    alone: bool
    lowest: np.ndarray
    highest: np.ndarray
    releases: tuple[np.ndarray, np.ndarray]
    density: float
    style: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """About how many tokens the region will have."""
        return round(self.density * (self.stop - self.start) / STEPS_PER_SECOND)

    @functools.cached_property
    def sounding(self) -> Performance:
        """What stays, its pedal applied."""
        return apply_pedal(self.notes)

    def window(self, start: int, stop: int, written: Performance, room: int) -> tuple[np.ndarray, Script]:
        """The prompt i16[T], of at most `room` tokens, and the script of a part of the region.

        written: the fill's notes before it.
        """
        steps, whole = self._around(start, stop, written)
        part = slice(start - self.start, stop - self.start)
        band = (int(self.lowest[part].min()), int(self.highest[part].max()))
        last = stop == self.stop and not self.alone
        after = "all" if last else "none" if self.kind == "whole" else "stays"
        gap = Gap(start, stop, self.kind, *band, after)
        assert self.kind in GAPS
        stays, most_after = np.ones(len(steps.start), bool), min(MOST_AFTER, room // 2)

        def shown(most_before: int) -> tuple[np.ndarray, np.ndarray]:
            tokens = example(
                steps, gap, stays, style=self.style, whole=whole, most_before=most_before, most_after=most_after
            ).tokens
            return tokens, np.flatnonzero(np.isin(tokens, MARKS))

        most = room
        tokens, marks = shown(most)
        while marks[0] > room and most > 0:
            most = max(0, most - int(marks[0] - room))
            tokens, marks = shown(most)
        length = stop - start
        begins = np.zeros(len(tokens), np.int32)
        begins[marks] = np.minimum(STEPS_PER_SECOND * np.arange(len(marks)), length)
        begins[-1] = length + RING + 1
        return tokens[: marks[0]], Script(tokens[marks[0] :], begins[marks[0] :], self._until(start, stop, written))

    def _around(self, start: int, stop: int, written: Performance) -> tuple[Steps, tuple[bool, bool]]:
        """The notes before and behind a window as a model sees them, and whether these are all there are."""
        notes = [in_steps(part) for part in (self.notes, written)]
        columns = [np.concatenate(pair) for pair in zip(*notes, strict=True)]
        order = np.argsort(columns[0], kind="stable")  # within a step as they were
        first = max(0, int(np.searchsorted(columns[0][order], start)) - NOTES_AROUND)
        past = int(np.searchsorted(columns[0][order], stop)) + NOTES_AROUND
        chosen = order[first:past]
        return Steps(*(column[chosen] for column in columns)), (first == 0, past >= len(order))

    def _until(self, start: int, stop: int, written: Performance) -> np.ndarray:
        """i16[T, 128], as in `Script`: what stays or is written already keeps its keys to itself while it sounds."""
        length, part = stop - start, slice(start - self.start, stop - self.start)
        last = length + RING
        keys = np.arange(PITCHES)
        own = (keys >= self.lowest[part, None]) & (keys <= self.highest[part, None])
        until = np.zeros((last + 1, PITCHES), np.int16)
        until[:length][own] = last
        sounding = [self.sounding, written]
        onset, end, pitch = (
            np.concatenate([getattr(notes, name) for notes in sounding]) for name in ("onset", "end", "pitch")
        )
        seconds, released = self.releases
        begins = np.concatenate([onset, seconds]) * STEPS_PER_SECOND - start
        ends = np.concatenate([end * STEPS_PER_SECOND - start, np.full(len(seconds), -np.inf)])
        pitch = np.concatenate([pitch.astype(np.int64), released])
        near = (begins < last + 1) & ((ends >= 0) | (begins > 0))
        for begin, finish, key in zip(begins[near].tolist(), ends[near].tolist(), pitch[near].tolist(), strict=True):
            first, past = max(int(np.ceil(begin)), 0), int(np.floor(np.clip(finish, -1, last))) + 1
            column = until[:first, key]
            np.minimum(column, first - 1, out=column)  # released before it begins
            until[first:past, key] = 0
        return until
