"""What a MIDI file says of a performance besides its notes and its sustain pedal, so that it can be written again as it
came: the order of events at one moment, release velocities, and all other events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from musicgen.data_prep.score import Score

META, CONTROL, KEY_PRESSURE = 0xFF, 0xB0, 0xA0  # status bytes

# Places of events that come from no file: what new music does at a moment of the file's, it does around the file's own.
PEDAL_PLACE, END_PLACE, ONSET_PLACE = -2, -1, 2**30


@dataclass(frozen=True, eq=False)
class Source:
    """Belongs to the notes and the pedal of one `Performance`, in their order.

    onset_place, end_place: i64[n], pedal_place: i64[p]: the place of each event among those of its moment, from 0, as
        the file has them. A pedal event at the place of one of the others is what that message does: it is not
        written.
    release: u8[n], the velocities of note-offs.
    channel: 0..15, of all notes and of the pedal.
    time: f64[e] seconds, place: i64[e], data: e messages from their status byte on, a meta event or system exclusive
        message without its length: all other events, in order of (time, place).
    score: tempo, metre, keys and names of tracks, which are none of the others; None says nothing.
    """

    onset_place: np.ndarray
    end_place: np.ndarray
    pedal_place: np.ndarray
    release: np.ndarray
    channel: int
    time: np.ndarray
    place: np.ndarray
    data: tuple[bytes, ...]
    score: Score | None = None

    def take(self, notes: np.ndarray, pedal: np.ndarray) -> Source:
        """The same of some notes and pedal events, given as masks or indices."""
        return replace(
            self,
            onset_place=self.onset_place[notes],
            end_place=self.end_place[notes],
            release=self.release[notes],
            pedal_place=self.pedal_place[pedal],
        )

    def ending_as(self, notes: np.ndarray) -> Source:
        """With each note released as another one, given by its index i64[n]."""
        return replace(self, end_place=self.end_place[notes], release=self.release[notes])

    def part(self, start: float, stop: float) -> Source:
        """With the other events from start to stop seconds, and before them what is in force at the start."""
        inside = np.flatnonzero((self.time >= start) & (self.time < stop))
        in_force: dict[bytes, int] = {}
        for index, message in enumerate(self.data[: int(np.searchsorted(self.time, start))]):
            if message[0] != META:
                in_force.pop(_purpose(message), None)  # in the order in which they came last
                in_force[_purpose(message)] = index
        before = list(in_force.values())
        return replace(
            self,
            time=np.concatenate([np.full(len(before), start), self.time[inside]]),
            place=np.concatenate([np.arange(len(before)) + PEDAL_PLACE - len(before), self.place[inside]]),
            data=tuple(self.data[index] for index in [*before, *inside.tolist()]),
            score=self.score and self.score.part(start, stop),
        )

    def shifted(self, seconds: float) -> Source:
        """Everything so much later."""
        return replace(self, time=self.time + seconds, score=self.score and self.score.shifted(seconds))


def _purpose(message: bytes) -> bytes:
    """What a message sets: a later one for the same purpose takes its place."""
    if message[0] >= 0xF0:
        return message
    return message[:2] if message[0] & 0xF0 in (CONTROL, KEY_PRESSURE) else message[:1]


def no_source(notes: int, pedal: int) -> Source:
    """That of music which comes from no file."""
    return Source(
        np.full(notes, ONSET_PLACE),
        np.full(notes, END_PLACE),
        np.full(pedal, PEDAL_PLACE),
        np.zeros(notes, np.uint8),
        0,
        np.zeros(0),
        np.zeros(0, np.int64),
        (),
    )


def of_score(score: Score | None, notes: int, pedal: int) -> Source | None:
    """A source that says nothing but a score; None if there is none."""
    return replace(no_source(notes, pedal), score=score) if score is not None else None


def join_sources(sources: Sequence[Source]) -> Source:
    """One after the other, on the channel of the first and with the first score; the others in order."""
    time = np.concatenate([source.time for source in sources])
    place = np.concatenate([source.place for source in sources])
    data = [message for source in sources for message in source.data]
    order = np.lexsort((place, time))
    return Source(
        np.concatenate([source.onset_place for source in sources]),
        np.concatenate([source.end_place for source in sources]),
        np.concatenate([source.pedal_place for source in sources]),
        np.concatenate([source.release for source in sources]),
        sources[0].channel,
        time[order],
        place[order],
        tuple(data[index] for index in order.tolist()),
        next((source.score for source in sources if source.score is not None), None),
    )
