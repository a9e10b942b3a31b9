"""Ticks <-> seconds: how a MIDI file counts time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

DEFAULT_TEMPO = 500_000
"""Microseconds per quarter note where a file says nothing: 120 quarter notes a minute."""

FINEST = 2**15 - 1  # ticks a quarter note that a header can say
ROUNDED = 13e-6  # seconds: how far a time on our grid of 25 microseconds is from the tick it was


class Tempo(NamedTuple):
    tick: int
    microseconds: int  # per quarter note


class _Regions(NamedTuple):
    """Where a tempo holds: its first tick, the seconds there, and the seconds of each tick. f64 or i64[regions]."""

    tick: np.ndarray
    seconds: np.ndarray
    each: np.ndarray


@dataclass(frozen=True)
class TimeBase:
    """A division and a tempo map.

    division: as the header has it: ticks a quarter note, or (with its highest bit) frames a second and ticks a frame.
    tempos: in order of their ticks.
    """

    division: int
    tempos: tuple[Tempo, ...] = ()

    @property
    def in_frames(self) -> bool:
        """Whether ticks are parts of frames (SMPTE): tempo has no say."""
        return bool(self.division & 0x8000)

    @cached_property
    def _regions(self) -> _Regions:
        if self.in_frames:  # frames a second as a negative byte
            frames, ticks = 256 - (self.division >> 8), self.division & 0xFF
            each = 1.0 / ((30000 / 1001 if frames == 29 else frames) * ticks)
            return _Regions(np.zeros(1, np.int64), np.zeros(1), np.array([each]))
        starts, bases, scales = [0], [0.0], [60.0 / (6e7 / DEFAULT_TEMPO * self.division)]
        for change in self.tempos:
            scale = 60.0 / (6e7 / change.microseconds * self.division)
            if change.tick == 0:
                scales[0] = scale
            elif scale != scales[-1]:
                bases.append(bases[-1] + scales[-1] * (change.tick - starts[-1]))
                starts.append(change.tick)
                scales.append(scale)
        return _Regions(np.array(starts), np.array(bases), np.array(scales))

    def seconds(self, tick: np.ndarray) -> np.ndarray:
        """f64 seconds of i64 ticks."""
        regions = self._regions
        region = np.searchsorted(regions.tick, tick, side="right") - 1
        return regions.seconds[region] + regions.each[region] * (tick - regions.tick[region])

    def position(self, seconds: np.ndarray) -> np.ndarray:
        """f64: where times in seconds lie between ticks; what is a tick but for rounding is that tick."""
        regions = self._regions
        region = np.searchsorted(regions.seconds, seconds + ROUNDED, side="right") - 1
        tick = regions.tick[region] + (seconds - regions.seconds[region]) * (1 / regions.each[region])
        near = np.rint(tick)
        return np.where(np.abs(tick - near) * regions.each[region] <= ROUNDED, near, tick)


@dataclass(frozen=True)
class Clock:
    """The ticks that music is written in: parts of those of a time base."""

    base: TimeBase
    parts: int

    @classmethod
    def of(cls, base: TimeBase) -> Clock:
        """As fine as a header can say, but no finer than what tells the times of our grid apart."""
        tempos = base.tempos if base.tempos and base.tempos[0].tick == 0 else (Tempo(0, DEFAULT_TEMPO), *base.tempos)
        fastest = min(tempo.microseconds for tempo in tempos)
        return cls(base, max(min(FINEST // base.division, int(fastest / base.division / (2e6 * ROUNDED))), 1))

    @property
    def division(self) -> int:
        """Ticks a quarter note."""
        return self.base.division * self.parts

    def ticks(self, seconds: np.ndarray) -> np.ndarray:
        """i64 ticks of f64 seconds; a tick of the time base is exactly so many of these."""
        return np.rint(self.base.position(seconds) * self.parts).astype(np.int64)


def from_seconds(division: int, tempos: Iterable[tuple[float, int]]) -> TimeBase:
    """The time base whose tempos, in microseconds a quarter note, begin at these seconds, in order."""
    tick, begins, each = 0, 0.0, DEFAULT_TEMPO / 1e6 / division
    found = []
    for seconds, microseconds in tempos:
        passed = round((seconds - begins) / each)
        tick, begins, each = tick + passed, begins + passed * each, microseconds / 1e6 / division
        found.append(Tempo(tick, microseconds))
    return TimeBase(division, tuple(found))
