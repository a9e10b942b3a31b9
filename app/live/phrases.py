"""Where phrases begin and end in the sound of a room.

A phrase begins with an attack: the room's own noise changes slowly, and what rings on only falls.  It ends when it has
been silent for the whole pause.  Strings decay and rooms are never quite silent, so silence is what is hardly louder
than the room, or far below the loudest of the phrase.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

import numpy as np

from musicgen.data_prep.audio import SAMPLE_RATE, decibels

LEAD = 0.5  # seconds before the attack that belong to a phrase: it is heard how its first note begins
TAIL = 0.5  # seconds of silence at its end
ROOM = 1.0  # seconds; the room is as loud as the quietest block within them
ATTACK = 10.0  # dB over the room
QUIET = 6.0  # dB over the room that are silence still
DECAYED = 35.0  # dB below the loudest block of the phrase that are silence, too
LOWEST = -70.0  # dBFS; a room is never quieter, whatever a microphone makes of silence
STEADY = 5.0  # seconds; what has not changed by more than EVEN for so long is the room: strings decay
EVEN = 3.0  # dB
LONGEST = 60.0  # seconds, then a phrase ends


@dataclass(frozen=True)
class Phrase:
    """sound: f32 [n] at `SAMPLE_RATE`.  began: the time of its first sample.  ended: when silence began."""

    sound: np.ndarray
    began: float
    ended: float


class Phrases:
    """Cuts phrases out of sound that comes in blocks."""

    def __init__(self, pause: float) -> None:
        """pause: seconds of silence that end a phrase."""
        self.pause = pause
        self.sounding = False  # within a phrase
        self._blocks: collections.deque[np.ndarray] = collections.deque()  # of the phrase, or of the lead
        self._samples = 0  # in them
        self._levels: collections.deque[tuple[int, float]] = collections.deque()  # samples and dBFS of the last second
        self._room = self._loudest = 0.0  # dBFS
        self._silent = 0  # samples since the last that was loud
        self._even, self._low, self._high = 0, 0.0, 0.0  # samples within EVEN, and their dBFS

    def take(self, block: np.ndarray, now: float, attentive: bool = True) -> Phrase | None:
        """Take the next samples f32 [n], the last of which sounded now; the phrase that is over with them, if one is.

        attentive: whether a phrase may begin here.
        """
        level = decibels(float(np.std(block)))  # whatever constant a cheap microphone adds
        self._blocks.append(block)
        self._samples += len(block)
        room = self._listen_to_room(len(block), level)
        if not self.sounding:
            self.sounding = attentive and level >= room + ATTACK
            self._room, self._loudest, self._silent = room, level, 0
            self._even, self._low, self._high = 0, level, level
            if not self.sounding:
                self._keep(LEAD * SAMPLE_RATE)
            return None
        self._loudest = max(self._loudest, level)
        self._watch_steadiness(len(block), level)
        is_silent = level < max(self._room + QUIET, self._loudest - DECAYED)
        self._silent = self._silent + len(block) if is_silent else 0
        over = self._silent >= self.pause * SAMPLE_RATE or self._samples >= LONGEST * SAMPLE_RATE
        return self.cut(now) if over else None

    def cut(self, now: float) -> Phrase | None:
        """End the phrase that sounds, if one does."""
        if not self.sounding:
            return None
        self.sounding = False
        sound = np.concatenate(self._blocks)
        began, ended = now - len(sound) / SAMPLE_RATE, now - self._silent / SAMPLE_RATE
        heard = len(sound) - max(self._silent - round(TAIL * SAMPLE_RATE), 0)
        self._keep(min(self._silent, LEAD * SAMPLE_RATE))
        return Phrase(sound[:heard], began, ended)

    def _keep(self, samples: float) -> None:
        """Forget all blocks but the last that hold so many samples."""
        while self._blocks and self._samples - len(self._blocks[0]) >= samples:
            self._samples -= len(self._blocks.popleft())

    def _watch_steadiness(self, samples: int, level: float) -> None:
        """Notice that the room has become louder, as it does when a fan begins or noise is no longer suppressed."""
        self._low, self._high = min(self._low, level), max(self._high, level)
        self._even += samples
        if self._high - self._low > EVEN:
            self._even, self._low, self._high = 0, level, level
        elif self._even >= STEADY * SAMPLE_RATE:
            self._room = self._high

    def _listen_to_room(self, samples: int, level: float) -> float:
        """Take a block's level into account; how loud the room is, in dBFS."""
        self._levels.append((samples, level))
        while sum(n for n, _ in self._levels) - self._levels[0][0] >= ROOM * SAMPLE_RATE:
            self._levels.popleft()
        return max(LOWEST, min(level for _, level in self._levels))
