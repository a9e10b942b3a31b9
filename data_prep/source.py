"""What a MIDI file says of a performance besides its notes and its sustain pedal, so that it can be written again as it
came: the order of events at one moment, release velocities, and all other events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from musicgen.data_prep.score import Score

META, CONTROL, KEY_PRESSURE, PRESSURE = 0xFF, 0xB0, 0xA0, 0xD0  # status bytes
NOT_OTHERS = (0x03, 0x2F, 0x51, 0x58, 0x59)  # meta events: names, ends of tracks, tempo, metre, key
AT_REST = (1, 66, 67, 68, 69)  # controllers that end with the music they belong to: modulation and the pedals
LOUDNESS = (7, 11)

# Places of events that come from no file: what new music does at a moment of the file's, it does around the file's own.
PEDAL_PLACE, END_PLACE, ONSET_PLACE = -2, -1, 2**30
REST_PLACE, JOIN_PLACE = ONSET_PLACE - 2, ONSET_PLACE - 1  # of what ends the file's own at a join: others, the pedal


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

    @property
    def says_more(self) -> bool:
        """Whether it says anything but a score."""
        return bool(self.channel or len(self.data) or np.any(self.end_place != END_PLACE))

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


def rank(times: Sequence[np.ndarray], places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """i64 for each event of several kinds, given by f64 seconds and i64 places: its rank in order of both, from 0; what
    is at one place has one rank."""
    time, place = np.concatenate(times), np.concatenate(places)
    order = np.lexsort((place, time))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum((np.diff(time[order], prepend=-1.0) != 0) | (np.diff(place[order], prepend=0) != 0)) - 1
    return np.split(ranks, np.cumsum([len(part) for part in times])[:-1])


def renumber(
    times: Sequence[np.ndarray], places: Sequence[np.ndarray], moved: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The places at new times, given in the same order, that keep the order of all events."""
    ranks, moment = np.concatenate(rank(times, places)), np.concatenate(moved)
    order = np.argsort(ranks, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = ranks[order] - ranks[order][np.searchsorted(moment[order], moment[order])]
    return np.split(place, np.cumsum([len(part) for part in times])[:-1])


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


def settle(source: Source, seconds: float) -> Source:
    """With what brings the channel back to rest at a time: bends, modulation and pedals end, volume and expression come
    back to the loudest they were."""
    bend, modulation = 0xE0 | source.channel, 0xB0 | source.channel
    now: dict[tuple[int, ...], bytes] = {}
    loudest: dict[int, int] = {}
    for message in source.data:
        if message[0] == modulation:
            now[(message[0], message[1])] = message
            if message[1] in LOUDNESS:
                loudest[message[1]] = max(loudest.get(message[1], 0), message[2])
        elif message[0] in (bend, PRESSURE | source.channel):
            now[(message[0],)] = message
    rest: dict[tuple[int, ...], bytes] = {
        (bend,): bytes([bend, 0, 64]),
        (PRESSURE | source.channel,): bytes([PRESSURE | source.channel, 0]),
    }
    for number, value in {**dict.fromkeys(AT_REST, 0), **loudest}.items():
        rest[(modulation, number)] = bytes([modulation, number, value])
    added = [message for key, message in rest.items() if key in now and now[key] != message]
    return replace(
        source,
        time=np.append(source.time, np.full(len(added), seconds)),
        place=np.append(source.place, np.full(len(added), REST_PLACE)),
        data=(*source.data, *added),
    )


def pack(source: Source, tick: float) -> bytes:
    """As bytes, without loss where times are whole numbers of ticks of so many seconds."""
    ticks = np.rint(source.time / tick).astype(np.int64)
    numbers = (source.onset_place, source.end_place, source.pedal_place, np.diff(ticks, prepend=0), source.place)
    lengths = np.array([len(message) for message in source.data], np.int64)
    data = b"".join(source.data)
    parts = [np.array([source.channel, len(lengths), len(data)], "<u4").tobytes()]
    # Bytes of equal weight side by side compress far better than whole integers do.
    parts += [column.astype("<i8").view(np.uint8).reshape(-1, 8).T.tobytes() for column in (*numbers, lengths)]
    return b"".join([*parts, source.release.tobytes(), data])


def unpack(packed: bytes, notes: int, pedal: int, tick: float, latest: int) -> Source:
    """Inverse of `pack` for bytes of anybody's; no time is after ``latest`` ticks. Raises ValueError."""
    channel, others, size = (int(number) for number in np.frombuffer(packed, "<u4", 3))
    counts = (notes, notes, pedal, others, others, others)
    if channel > 15 or len(packed) != 12 + 8 * sum(counts) + notes + size:
        raise ValueError("wrong length")
    columns, at = [], 12
    for count in counts:
        columns.append(np.frombuffer(packed, np.uint8, 8 * count, at).reshape(8, -1).T.copy().view("<i8").ravel())
        at += 8 * count
    onset_place, end_place, pedal_place, deltas, place, lengths = columns
    release = np.frombuffer(packed, np.uint8, notes, at)
    places = np.concatenate([onset_place, end_place, pedal_place, place])
    if np.any((places > ONSET_PLACE) | (places < -ONSET_PLACE)) or np.any(release > 127):
        raise ValueError("an event is at an impossible place")
    if np.any(lengths < 0) or np.any(lengths > size) or int(lengths.sum()) != size:
        raise ValueError("a message is longer than all of them")
    if np.any(deltas < 0) or np.any(deltas > latest) or np.cumsum(deltas)[-1:].sum() > latest:
        raise ValueError("a time in it is below zero or more than a day")
    ends = at + notes + np.cumsum(lengths)
    data = tuple(packed[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True))
    if not all(map(is_message, data)):
        raise ValueError("a message in it is none")
    return Source(onset_place, end_place, pedal_place, release, channel, np.cumsum(deltas) * tick, place, data)


def is_message(data: bytes) -> bool:
    """Whether it is a whole message other than a note, as `Source.data` has them."""
    if len(data) < 2 or data[0] < KEY_PRESSURE:
        return False
    if data[0] < 0xF0:
        return len(data) == (2 if 0xC0 <= data[0] < 0xE0 else 3) and max(data[1:]) < 0x80
    return (data[0] == META and data[1] < 0x80 and data[1] not in NOT_OTHERS) or data[0] in (0xF0, 0xF7)
