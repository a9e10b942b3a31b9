"""Tokens to notes while the tokens still come: what `decode` says of the whole, told piece by piece."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from musicgen.app.join import sounding, velocity_after
from musicgen.data_prep import STEPS_PER_SECOND
from musicgen.data_prep.tokens import velocity_of
from musicgen.data_prep.vocabulary import MAX_SHIFT, NOTE_OFF, NOTE_ON, PITCHES, TIME_SHIFT, VELOCITY

# [onset seconds, end seconds or None while it sounds, pitch, velocity, surprise in nats or None]
Note = list[float | int | None]


class Listener:
    """Hears one row of tokens.

    Args:
        before: int16[P] the tokens that are continued, BOS first; keys they leave sounding can be ended.
        offset: seconds at which the new tokens' time begins.
        held: onsets in seconds of the keys that ``before`` leaves sounding, by pitch, for telling their ends.
    """

    def __init__(self, before: np.ndarray, offset: float, held: dict[int, tuple[float, int]] | None = None) -> None:
        """Hear nothing yet."""
        self.velocity = velocity_after(before)
        self.offset = offset
        self.step = 0
        self.notes = 0  # struck so far
        kept = held or {}
        self.open: dict[int, tuple[float, int]] = {int(key): kept[key] for key in sounding(before) if int(key) in kept}

    @property
    def seconds(self) -> float:
        """How much new music is certain."""
        return self.step / STEPS_PER_SECOND

    def hear(self, tokens: Iterable[int]) -> list[Note]:
        """The notes these tokens strike or end, in order; one that goes on sounding has None for its end.

        A note that was told with None is told again, with the same onset and pitch, when it ends.
        """
        told: dict[tuple[float, int], Note] = {}
        for token in tokens:
            if NOTE_ON <= token < NOTE_ON + PITCHES:
                pitch = token - NOTE_ON
                self._end(pitch, told)
                onset = self._now()
                self.open[pitch] = (onset, self.velocity)
                told[onset, pitch] = [onset, None, pitch, self.velocity, None]
                self.notes += 1
            elif NOTE_OFF <= token < NOTE_OFF + PITCHES:
                self._end(token - NOTE_OFF, told)
            elif TIME_SHIFT <= token < TIME_SHIFT + MAX_SHIFT:
                self.step += token - TIME_SHIFT + 1
            elif token >= VELOCITY:
                self.velocity = velocity_of(token)
        return list(told.values())

    def close(self, at: float) -> list[Note]:
        """End everything that sounds at ``at`` seconds of new time."""
        told: dict[tuple[float, int], Note] = {}
        for pitch in sorted(self.open):
            self._end(pitch, told, round(self.offset + at, 4))
        return list(told.values())

    def _now(self) -> float:
        return round(self.offset + self.step / STEPS_PER_SECOND, 4)

    def _end(self, pitch: int, told: dict[tuple[float, int], Note], at: float | None = None) -> None:
        if pitch in self.open:
            onset, velocity = self.open.pop(pitch)
            end = max(at if at is not None else self._now(), onset + 1 / STEPS_PER_SECOND)
            told[onset, pitch] = [onset, round(end, 4), pitch, velocity, None]
