"""What tokens say: two tables to look them up in, and a decoder that reads them as they come.

Whoever reads tokens asks these tables for a kind and a value, and so never spells where a range lies or which is the
last. A range of the vocabulary that `Kind` does not name says nothing about notes and is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from musicgen.data_prep.vocabulary import PITCHES, VOCABULARY_2

STEPS_PER_SECOND = VOCABULARY_2.steps_per_second
VELOCITY_BIN = -(-127 // VOCABULARY_2.velocity_bins)
"""MIDI velocities per bin, rounded up: 4."""

DEFAULT_VELOCITY = 65
"""For notes of a stream that names no velocity before them."""


class Kind(IntEnum):
    """What a token is about: the vocabulary's range of the same name."""

    OTHER = 0  # any range without a name here
    PAD = 1
    BOS = 2
    EOS = 3
    NOTE_ON = 4
    NOTE_OFF = 5
    TIME_SHIFT = 6
    VELOCITY = 7


KINDS = np.concatenate(
    [np.full(entry.size, Kind.__members__.get(entry.name.upper(), Kind.OTHER), np.int8) for entry in VOCABULARY_2.table]
)
"""i8[V], the `Kind` of each token of either vocabulary: the ids of the first begin the second."""

VALUES = np.concatenate([np.arange(entry.first, entry.last + 1, dtype=np.int16) for entry in VOCABULARY_2.table])
"""i16[V], the value of each token within its range: a pitch, steps, a velocity bin."""

SHIFTS = np.where(KINDS == Kind.TIME_SHIFT, VALUES, 0).astype(np.int64)
"""i64[V], the steps that pass at each token."""


def steps(tokens: np.ndarray) -> np.ndarray:
    """int64[T]: the time, in steps from the start, at which each token happens; for a time shift, the time after it."""
    return np.cumsum(SHIFTS[np.asarray(tokens)])


# As plain numbers: comparing a token with a member of an enumeration takes eight times as long.
NOTE_ON, NOTE_OFF = Kind.NOTE_ON.value, Kind.NOTE_OFF.value
TIME_SHIFT, VELOCITY, EOS = Kind.TIME_SHIFT.value, Kind.VELOCITY.value, Kind.EOS.value


class NoteEvent(NamedTuple):
    """A key is struck or let go."""

    note: int  # its number in order of onsets, from 0; below 0 for a note of the tokens before
    step: int  # when
    pitch: int
    velocity: int  # MIDI velocity 1..127 of a note struck, 0 for its end


class NoteDecoder:
    """Reads a stream of tokens in pieces of any size.

    Forgiving, since a model may have written the stream: BOS and PAD say nothing, EOS ends it, a note-off without a
    note is ignored, and a note-on ends the note that its key still sounds.

    step: the time reached, in steps.
    velocity: the MIDI velocity of the next note, if no other is named before it.
    sounding: the number of the note that each sounding pitch belongs to.
    notes: how many have been struck.
    ended: whether EOS has been read; nothing is read after it.
    """

    def __init__(self, before: Sequence[int] | np.ndarray = ()) -> None:
        """before: int[P] tokens that the stream continues; time and the numbers of notes begin behind them."""
        self.step = 0
        self.velocity = DEFAULT_VELOCITY
        self.sounding: dict[int, int] = {}
        self.notes = 0
        self.ended = False
        if len(before):
            self._skip(_check(before))

    def _skip(self, ids: np.ndarray) -> None:
        """Take over what tokens int64[P] leave: as `feed`, but at once, and without telling their notes."""
        ends = np.flatnonzero(KINDS[ids] == EOS)
        self.ended = len(ends) > 0
        ids = ids[: ends[0]] if self.ended else ids
        kinds, values = KINDS[ids], VALUES[ids]
        velocities = np.flatnonzero(kinds == VELOCITY)
        if len(velocities):
            self.velocity = 1 + (int(values[velocities[-1]]) - 1) * VELOCITY_BIN  # the softest of its bin
        on, off = np.flatnonzero(kinds == NOTE_ON), np.flatnonzero(kinds == NOTE_OFF)
        last_on, last_off = np.full(PITCHES, -1), np.full(PITCHES, -1)
        np.maximum.at(last_on, values[on], on)
        np.maximum.at(last_off, values[off], off)
        for pitch in np.flatnonzero(last_on > last_off).tolist():
            self.sounding[pitch] = int(np.searchsorted(on, last_on[pitch])) - len(on)

    def feed(self, tokens: Sequence[int] | np.ndarray) -> list[NoteEvent]:
        """What the next tokens, int[T], strike and end, in order. ValueError for ids outside the vocabulary."""
        ids = _check(tokens)
        events: list[NoteEvent] = []
        if self.ended:
            return events
        for kind, value in zip(KINDS[ids].tolist(), VALUES[ids].tolist(), strict=True):
            if kind == NOTE_ON:
                if value in self.sounding:
                    events.append(NoteEvent(self.sounding[value], self.step, value, 0))
                self.sounding[value] = self.notes
                events.append(NoteEvent(self.notes, self.step, value, self.velocity))
                self.notes += 1
            elif kind == NOTE_OFF:
                if value in self.sounding:
                    events.append(NoteEvent(self.sounding.pop(value), self.step, value, 0))
            elif kind == TIME_SHIFT:
                self.step += value
            elif kind == VELOCITY:
                self.velocity = 1 + (value - 1) * VELOCITY_BIN  # the softest of its bin
            elif kind == EOS:
                self.ended = True
                break
        return events


def _check(tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    ids = np.asarray(tokens, np.int64)
    if ids.size and not (ids.min() >= 0 and ids.max() < VOCABULARY_2.size):
        raise ValueError(f"tokens lie in 0..{VOCABULARY_2.size - 1}, not {int(ids.min())}..{int(ids.max())}")
    return ids
