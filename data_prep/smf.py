"""A reader of Standard MIDI File events in plain Python and numpy.

Why our own: mido takes about 300 ms for an average piece of MAESTRO, hopeless for 1,276 of them in a minute; symusic
is fast but pairs notes differently and its native code has crashed on broken files, which no `except` can catch. Here
noise can do nothing but raise `MidiError`: every read is bounds-checked, sizes and event counts are bounded.

How it is fast: nearly all events of a track are channel messages of two data bytes. For every byte of the track at
once, numpy computes how long such an event would be *if one began there*; a small loop then hops from event to event
through that table. Whatever the table cannot answer (meta events, system exclusive, one-byte messages, damage) goes
through `_Track.read_special`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from musicgen.data_prep import limits
from musicgen.data_prep.chunks import BrokenOffError, Header, read_header, read_tracks, unwrap
from musicgen.data_prep.errors import MidiError
from musicgen.data_prep.time_base import Tempo, TimeBase

__all__ = ["LongEvent", "MidiError", "MidiEvents", "Tempo", "parse"]

META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
TEXT, END_OF_TRACK, SET_TEMPO = 0x01, 0x2F, 0x51  # kinds of meta events
_BLOCK = 2**20  # bytes whose event lengths are computed at once, lest a large file take many times its size

# Length of system messages by status byte; they have no business in a file, but some writers leave them there.
_SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class LongEvent(NamedTuple):
    """A meta event or a system exclusive message.

    tick: from the start of the file.  track: of the file, from 0.
    before: the number of the channel message before which it stands in the file's order.
    data: its status (0xFF, 0xF0 or 0xF7), the kind of a meta event, and its content without the length.
    """

    tick: int
    track: int
    before: int
    data: bytes


@dataclass(frozen=True)
class MidiEvents:
    """The channel messages of a file, track after track in the file's order.

    tick i64[e] (from the start of the file), track i32[e], status u8[e] (kind and channel), data1 u8[e], data2 u8[e]
    (0 where a message has one data byte). track_end: i64[tracks], the tick of each track's last event. long: all other
    events but the ends of tracks. remarks: on what in the file was not as the standard has it.
    """

    tick: np.ndarray
    track: np.ndarray
    status: np.ndarray
    data1: np.ndarray
    data2: np.ndarray
    track_end: np.ndarray
    tempos: tuple[Tempo, ...]
    text: tuple[str, ...]
    division: int
    long: tuple[LongEvent, ...]
    remarks: tuple[str, ...]

    @cached_property
    def time_base(self) -> TimeBase:
        """The division and the tempo map."""
        return TimeBase(self.division, self.tempos)

    def seconds(self, tick: np.ndarray) -> np.ndarray:
        """f64 seconds of i64 ticks under the tempo map."""
        return self.time_base.seconds(tick)


def parse(data: bytes) -> MidiEvents:
    """The events of a Standard MIDI File of type 0 or 1, or of type 2 with one pattern, given whole.

    What wraps the file, and headers and chunks that lie, are dealt with as `chunks` says. Tempo changes count wherever
    they stand, not only in the first track. Chunks of unknown kinds are skipped, and so is what follows a track's
    end-of-track event. Raises MidiError for anything else.
    """
    if len(data) > limits.MIDI_BYTES:
        raise MidiError(f"the file is larger than {limits.MIDI_BYTES >> 20} MiB, too large for a piece of piano music")
    data, remarks = unwrap(data)
    header = read_header(data)
    tracks, more = _read(data, header)
    if header.kind == 2 and sum(track.plays for track in tracks) > 1:
        raise MidiError("a MIDI file of type 2 holds separate patterns, not one piece; export it as type 0 or 1")
    return _collect(tracks, header.division, remarks + more)


def _read(data: bytes, header: Header) -> tuple[list[_Track], list[str]]:
    """The tracks, and remarks; nothing else stays in memory."""
    # 0xFF behind the end looks like damaged data, so no event of the table reaches beyond the file.
    content = np.frombuffer(data + b"\xff" * 8, np.uint8)
    lengths = bytearray()
    for block in range(0, len(data), _BLOCK):
        lengths += _event_lengths(content[block : block + _BLOCK + 8])
    lengths += bytes(8)
    room = [limits.MIDI_EVENTS, limits.MIDI_LONG_EVENTS]

    def read(start: int, stop: int) -> _Track:
        return _Track(data, content, lengths, (start, stop), room)

    return read_tracks(data, header, read)


def _collect(tracks: list[_Track], division: int, remarks: list[str]) -> MidiEvents:
    parts = [track.channel_events() for track in tracks]
    first = np.cumsum([0] + [len(part[0]) for part in parts])
    long = [
        LongEvent(tick, number, int(first[number]) + before, data)
        for number, track in enumerate(tracks)
        for tick, before, data in track.long_events()
    ]
    tempos = [
        Tempo(event.tick, int.from_bytes(event.data[2:], "big"))
        for event in long
        # A tempo of zero would stop time: it is no tempo at all.
        if event.data[:2] == bytes([META, SET_TEMPO]) and len(event.data) == 5 and any(event.data[2:])
    ]

    def column(index: int, kind: type) -> np.ndarray:
        return np.concatenate([part[index] for part in parts] or [np.zeros(0)]).astype(kind, copy=False)

    return MidiEvents(
        tick=column(0, np.int64),
        track=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part[0]) for part in parts]),
        status=column(1, np.uint8),
        data1=column(2, np.uint8),
        data2=column(3, np.uint8),
        track_end=np.array([track.end_tick for track in tracks], np.int64),
        tempos=tuple(sorted(tempos, key=lambda tempo: tempo.tick)),
        text=_texts(long),
        division=division,
        long=tuple(long),
        remarks=tuple(remarks),
    )


def _texts(long: list[LongEvent]) -> tuple[str, ...]:
    texts, size = [], 0
    for event in long:
        if event.data[:2] == bytes([META, TEXT]) and size + len(event.data) - 2 <= limits.MIDI_TEXT_BYTES:
            size += len(event.data) - 2
            texts.append(_text(event.data[2:]))
    return tuple(texts)


class _Track:
    """One track: bytes start to stop of a file, read on construction into the positions of its events, up to its
    end-of-track event if there is one.

    end: where the two bytes of that event end, None if there is none.
    plays: whether it holds channel messages.
    """

    def __init__(
        self, data: bytes, content: np.ndarray, lengths: bytearray, place: tuple[int, int], room: list[int]
    ) -> None:
        """room: how many more events, and long events, the file may hold; what this track takes is taken off."""
        self.data, self.bytes, self.lengths = data, content, lengths
        self.start, self.stop = place
        self.room = room
        self.end: int | None = None
        self.positions = array("i")  # of every event
        self._long: list[tuple[int, int, int]] = []  # event number, first and last byte of the content
        self._scan()
        self._extract()
        room[0] -= len(self.positions)
        room[1] -= len(self._long)
        del self.bytes, self.lengths, self.positions  # several times the file's size

    def _scan(self) -> None:
        position, size, lengths, append = self.start, self.stop, self.lengths, self.positions.append
        while position < size:
            length = lengths[position]
            while length and position < size:
                append(position)
                position += length
                length = lengths[position]
            if position > size:
                raise self._broken_off(self.positions[-1])
            if position < size:
                position = self._read_special(position)
            if len(self.positions) > self.room[0]:
                break
        if len(self.positions) > self.room[0]:
            raise MidiError(f"the file holds more than {limits.MIDI_EVENTS:,} events, too many for a piece")

    def _read_special(self, position: int) -> int:
        """Reads events that the table of lengths has no answer for; returns where the next one it does begins, or
        the track's last byte plus one.

        Status bytes of messages with one data byte stay in force here (running status), which the table cannot know.
        """
        data, size, lengths = self.data, self.stop, self.lengths
        one_byte_status = False
        while position < size:
            if len(self.positions) > self.room[0]:
                return size
            body = self._variable(position, position)[1]
            if body >= size:
                raise self._broken_off(position)
            status = data[body]
            if status < 0x80:
                if not one_byte_status:
                    if lengths[position]:
                        return position
                    raise self._damage(position, body + 1)
                following = body + 1
            elif 0xC0 <= status < 0xE0:
                if body + 1 >= size or data[body + 1] >= 0x80:
                    raise self._damage(position, body + 1)
                one_byte_status, following = True, body + 2
            elif status < 0xF0:
                if lengths[position]:
                    return position
                bad = body + 1 if body + 1 >= size or data[body + 1] >= 0x80 else body + 2
                raise self._damage(position, bad)
            elif data[body : body + 2] == bytes([META, END_OF_TRACK]):
                self.positions.append(position)
                self.end = body + 2
                return size
            elif status in (SYSEX, ESCAPE, META):
                following = self._long_event(position, body, status == META)
            else:
                following = body + 1 + _SYSTEM_LENGTHS.get(status, 0)
                if following > size:
                    raise self._broken_off(position)
            self.positions.append(position)
            position = following
            if not one_byte_status and position < size and lengths[position]:
                return position
        return size

    def _long_event(self, position: int, body: int, meta: bool) -> int:
        """Where the meta or system exclusive event ends that begins at ``position`` and whose status is at ``body``."""
        length, payload = self._variable(body + 2 if meta else body + 1, position)
        following = payload + length
        if following > self.stop:
            raise BrokenOffError(
                f"the track is truncated: the event at byte {body} claims {length} bytes, "
                f"the track ends at byte {self.stop}; get a complete copy",
                position,
            )
        if len(self._long) == self.room[1]:
            raise MidiError(
                f"the file holds more than {limits.MIDI_LONG_EVENTS:,} meta events and system exclusive messages,"
                " too many for a piece"
            )
        self._long.append((len(self.positions), payload, following))
        return following

    def _variable(self, position: int, event: int) -> tuple[int, int]:
        """(value, following position) of a variable-length quantity in the event that begins at ``event``."""
        value = 0
        for offset in range(position, position + 4):
            if offset >= self.stop:
                raise self._broken_off(event)
            byte = self.data[offset]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, offset + 1
        raise MidiError(f"byte {position} begins a number of more than four bytes; the file is damaged")

    def _broken_off(self, event: int) -> MidiError:
        return BrokenOffError(
            f"the track is truncated: byte {self.stop} ends it in the middle of an event; get a complete copy", event
        )

    def _damage(self, event: int, position: int) -> MidiError:
        if position >= self.stop:
            return self._broken_off(event)
        return MidiError(f"byte {position} is a status byte where data must be; the file is damaged")

    def _extract(self) -> None:
        """Fields of all events at once from their positions."""
        position = np.array(self.positions, np.int32)
        delta, body = np.zeros(len(position), np.int32), position.copy()
        more = np.ones(len(position), bool)
        for offset in range(4):
            byte = self.bytes[position + offset if offset else position]
            delta = np.where(more, delta << 7 | (byte & 0x7F), delta)
            body += more
            more &= byte >= 0x80
            if not more.any():
                break
        self._tick = np.cumsum(delta, dtype=np.int64)
        self.end_tick = int(self._tick[-1]) if len(position) else 0
        self._body = body
        status = self.bytes[body]
        running = status < 0x80
        sets = (status >= 0x80) & (status < 0xF0)  # meta events leave the running status alone
        numbers = np.arange(len(position), dtype=np.int32)
        source = np.maximum.accumulate(np.where(sets, numbers, -1)) if len(position) else position
        if np.any(running & (source < 0)):
            bad = int(body[np.argmax(running & (source < 0))])
            raise MidiError(f"byte {bad} is data before any status byte; the file is damaged")
        self._channel = sets | running
        self._status = np.where(running, status[source], status)
        first = body + ~running
        last = len(self.bytes) - 1
        self._data1 = self.bytes[np.minimum(first, last)]
        two = (self._status < 0xC0) | (self._status >= 0xE0)
        self._data2 = np.where(two, self.bytes[np.minimum(first + 1, last)], 0).astype(np.uint8)

    def channel_events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(tick, status, data1, data2) of the channel messages."""
        keep = self._channel
        return self._tick[keep], self._status[keep], self._data1[keep], self._data2[keep]

    @property
    def plays(self) -> bool:
        return bool(self._channel.any())

    def long_events(self) -> list[tuple[int, int, bytes]]:
        """(tick, number of channel messages before it, data as `LongEvent` has it)."""
        before = np.cumsum(self._channel)
        return [
            (int(self._tick[number]), int(before[number]), self._head(number) + self.data[payload:following])
            for number, payload, following in self._long
        ]

    def _head(self, number: int) -> bytes:
        body = self._body[number]
        return self.data[body : body + 2] if self.data[body] == META else self.data[body : body + 1]


def _event_lengths(track: np.ndarray) -> bytes:
    """For each byte of a block (u8, with the next eight bytes behind it): the length of a channel message of two data
    bytes, running status or not, that begins with its delta time there; 0 if there is none."""
    data_byte = track < 0x80
    two_data = np.zeros(256, bool)
    two_data[0x80:0xC0] = two_data[0xE0:0xF0] = True
    pair = np.zeros(len(track), bool)
    pair[:-1] = data_byte[:-1] & data_byte[1:]
    body = np.where(pair, np.uint8(2), np.uint8(0))  # running status: the data alone
    explicit = two_data[track[:-1]] & pair[1:]
    body[:-1][explicit] = 3
    count = len(track) - 8
    one, two, three, four = (body[offset : offset + count] for offset in range(1, 5))
    first, second, third, fourth = (~data_byte[offset : offset + count] for offset in range(4))
    # The delta time takes one byte more for each leading byte with its high bit set, four at most.
    follows = np.where(first, np.where(second, np.where(third, np.where(fourth, np.uint8(0), four), three), two), one)
    delta = (1 + first * (1 + second * (1 + third.astype(np.uint8)))).astype(np.uint8)
    return np.where(follows > 0, delta + follows, 0).astype(np.uint8).tobytes()


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
