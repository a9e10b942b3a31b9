"""Notes as the page draws them, while the tokens still come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.data_prep import STEPS_PER_SECOND
from musicgen.data_prep.events import NoteDecoder

# [onset seconds, end seconds or None while it sounds, pitch, velocity, surprise in nats or None]
Note = list[float | int | None]


class NoteStream:
    """The notes of one row of tokens.

    Args:
        before: int16[P] the tokens that are continued, BOS first; keys they leave sounding can be ended.
        offset: seconds at which the new tokens' time begins.
        held: onsets in seconds and velocities of the keys that ``before`` leaves sounding, by pitch, for telling their
            ends.
    """

    def __init__(self, before: np.ndarray, offset: float, held: dict[int, tuple[float, int]] | None = None) -> None:
        """Nothing has been fed."""
        self.offset = offset
        self._decoder = NoteDecoder(before)
        kept = held or {}
        self._open = {pitch: kept[pitch] for pitch in self._decoder.sounding if pitch in kept}

    @property
    def step(self) -> int:
        """The time reached, in steps of new music."""
        return self._decoder.step

    @property
    def notes(self) -> int:
        """How many have been struck."""
        return self._decoder.notes

    @property
    def seconds(self) -> float:
        """How much new music is certain."""
        return self.step / STEPS_PER_SECOND

    def feed(self, tokens: Sequence[int] | np.ndarray) -> list[Note]:
        """The notes these tokens strike or end, in order; one that goes on sounding has None for its end.

        A note that was given with None is given again, with the same onset and pitch, when it ends.
        """
        changed: dict[int, Note] = {}
        for note, step, pitch, velocity in self._decoder.feed(tokens):
            at = round(self.offset + step / STEPS_PER_SECOND, 4)
            if velocity:
                self._open[pitch] = (at, velocity)
                changed[note] = [at, None, pitch, velocity, None]
            elif pitch in self._open:
                changed[note] = self._end(pitch, at)
        return list(changed.values())

    def close(self, at: float) -> list[Note]:
        """End everything that sounds at ``at`` seconds of new time."""
        return [self._end(pitch, round(self.offset + at, 4)) for pitch in sorted(self._open)]

    def _end(self, pitch: int, at: float) -> Note:
        onset, velocity = self._open.pop(pitch)
        end = max(at, onset + 1 / STEPS_PER_SECOND)
        return [onset, round(end, 4), pitch, velocity, None]
