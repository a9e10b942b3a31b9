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

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MAX_BYTES = 16 * 2**20
MAX_EVENTS = 3_000_000
MAX_TEXT_BYTES = 2**20
DEFAULT_TEMPO = 500_000
"""Microseconds per quarter note where a file says nothing: 120 quarter notes a minute."""

# Length of system messages by status byte; they have no business in a file, but some writers leave them there.
_SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1}


class MidiError(ValueError):
    """A MIDI file that cannot be used; one line that says what is wrong, where, and what to do."""


class Tempo(NamedTuple):
    tick: int
    microseconds: int  # per quarter note


@dataclass(frozen=True)
class MidiEvents:
    """The channel messages of a file, track after track in the file's order.

    tick i64[e] (from the start of the file), track i32[e], status u8[e] (kind and channel), data1 u8[e], data2 u8[e]
    (0 where a message has one data byte). track_end: i64[tracks], the tick of each track's last event.
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

    def seconds(self, tick: np.ndarray) -> np.ndarray:
        """f64 seconds of i64 ticks under the tempo map."""
        if self.division & 0x8000:  # SMPTE: frames a second (as a negative byte) and ticks a frame; tempo has no say
            frames, ticks = 256 - (self.division >> 8), self.division & 0xFF
            return tick * (1.0 / ((30000 / 1001 if frames == 29 else frames) * ticks))
        starts, bases, scales = [0], [0.0], [60.0 / (6e7 / DEFAULT_TEMPO * self.division)]
        for change in self.tempos:
            scale = 60.0 / (6e7 / change.microseconds * self.division)
            if change.tick == 0:
                scales[0] = scale
            elif scale != scales[-1]:
                bases.append(bases[-1] + scales[-1] * (change.tick - starts[-1]))
                starts.append(change.tick)
                scales.append(scale)
        start, base, each = np.array(starts), np.array(bases), np.array(scales)
        region = np.searchsorted(start, tick, side="right") - 1
        return base[region] + each[region] * (tick - start[region])


def parse(data: bytes) -> MidiEvents:
    """The events of a Standard MIDI File of type 0 or 1, given whole; MidiError for anything else.

    Tempo changes count wherever they stand, not only in the first track. Chunks of unknown kinds are skipped, what
    follows the last promised track is ignored, and so is what follows a track's end-of-track event.
    """
    if len(data) > MAX_BYTES:
        raise MidiError(f"the file is larger than {MAX_BYTES // 2**20} MiB, too large for a piece of piano music")
    promised, division, position = _header(data)
    tracks: list[_Track] = []
    events = 0
    while len(tracks) < promised:
        if position + 8 > len(data):
            raise MidiError(
                f"the file is truncated at byte {len(data)}: it promises {promised} tracks and holds {len(tracks)}; "
                "get a complete copy"
            )
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "big")
        start = position + 8
        if start + size > len(data):
            raise MidiError(
                f"the file is truncated at byte {len(data)}: the chunk at byte {position} lasts until "
                f"byte {start + size}; get a complete copy"
            )
        if kind == b"MTrk":
            tracks.append(_Track(data, start, start + size, MAX_EVENTS - events))
            events += len(tracks[-1].positions)
        position = start + size
    return _collect(tracks, division)


def _header(data: bytes) -> tuple[int, int, int]:
    """(tracks promised, division, position of the first track chunk)."""
    if not data:
        raise MidiError("the file is empty; give a MIDI file")
    if data[:4] != b"MThd":
        raise MidiError("this is not a Standard MIDI File (no MThd at byte 0); give a .mid file")
    if len(data) < 14:
        raise MidiError(f"the file is truncated at byte {len(data)}, inside its header; get a complete copy")
    size, kind, promised, division = struct.unpack(">IHHH", data[4:14])
    if size < 6:
        raise MidiError(f"the header at byte 4 has {size} bytes where 6 are the least; this is not a usable MIDI file")
    if kind == 2:
        raise MidiError("a MIDI file of type 2 holds separate patterns, not one piece; export it as type 0 or 1")
    if kind > 2:
        raise MidiError(f"byte 8 gives MIDI file type {kind}; only types 0 and 1 can be read")
    if division == 0 or (division & 0x8000 and (256 - (division >> 8) not in (24, 25, 29, 30) or not division & 0xFF)):
        raise MidiError(f"the time division {division:#06x} at byte 12 has no meaning; export the file again")
    return promised, division, 8 + size


def _collect(tracks: list[_Track], division: int) -> MidiEvents:
    parts = [track.channel_events() for track in tracks]
    tempos = sorted((tempo for track in tracks for tempo in track.tempos()), key=lambda tempo: tempo.tick)

    def column(index: int, kind: type) -> np.ndarray:
        return np.concatenate([part[index] for part in parts] or [np.zeros(0)]).astype(kind, copy=False)

    return MidiEvents(
        tick=column(0, np.int64),
        track=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part[0]) for part in parts]),
        status=column(1, np.uint8),
        data1=column(2, np.uint8),
        data2=column(3, np.uint8),
        track_end=np.array([track.end_tick for track in tracks], np.int64),
        tempos=tuple(tempos),
        text=tuple(text for track in tracks for text in track.text),
        division=division,
    )


class _Track:
    """One track chunk: `data[start:stop]`, read on construction into the positions of its events."""

    def __init__(self, data: bytes, start: int, stop: int, room: int) -> None:
        self.data, self.start, self.stop, self.room = data, start, stop, room
        # 0xFF behind the end looks like damaged data, so no event of the table reaches beyond the track.
        self.bytes = np.frombuffer(data[start:stop] + b"\xff" * 8, np.uint8)
        self.positions: list[int] = []  # of every event, from the start of the track
        self.text: list[str] = []
        self._text_bytes = 0
        self._tempos: list[tuple[int, int]] = []  # (event number, microseconds)
        self._scan(_event_lengths(self.bytes))
        self._extract()

    def _scan(self, lengths: bytes) -> None:
        position, size, append = 0, self.stop - self.start, self.positions.append
        while position < size:
            length = lengths[position]
            while length:
                append(position)
                position += length
                length = lengths[position]
            if position < size:
                position = self.read_special(position, size, lengths)
            if len(self.positions) > self.room:
                break
        if len(self.positions) > self.room:
            raise MidiError(f"the file holds more than {MAX_EVENTS:,} events, too many for a piece of piano music")

    def read_special(self, position: int, size: int, lengths: bytes) -> int:
        """Reads events that the table of lengths has no answer for; returns where the next one it does begins, or
        `size`.

        Status bytes of messages with one data byte stay in force here (running status), which the table cannot know.
        """
        data, start = self.data, self.start
        one_byte_status = False
        while position < size:
            if len(self.positions) > self.room:
                return size
            body = self._after_delta(position, size)
            status = data[start + body]
            if status < 0x80:
                if not one_byte_status:
                    if lengths[position]:
                        return position
                    raise self._damage(body + 1, size)
                following = body + 1
            elif 0xC0 <= status < 0xE0:
                if body + 1 >= size or data[start + body + 1] >= 0x80:
                    raise self._damage(body + 1, size)
                one_byte_status, following = True, body + 2
            elif status < 0xF0:
                if lengths[position]:
                    return position
                bad = body + 1 if body + 1 >= size or data[start + body + 1] >= 0x80 else body + 2
                raise self._damage(bad, size)
            elif status in (0xF0, 0xF7, 0xFF):
                following = self._long_event(body, size, status == 0xFF)
            else:
                following = body + 1 + _SYSTEM_LENGTHS.get(status, 0)
                if following > size:
                    raise self._damage(size, size)
            self.positions.append(position)
            position = following
            if not one_byte_status and position < size and lengths[position]:
                return position
        return size

    def _long_event(self, body: int, size: int, meta: bool) -> int:
        """Where the meta or system exclusive event whose status is at `body` ends; keeps its tempo or text."""
        head = body + 2 if meta else body + 1
        length, payload = self._variable(head, size)
        following = payload + length
        if following > size:
            raise MidiError(
                f"the track is truncated: the event at byte {self.start + body} claims {length} bytes, "
                f"the track ends at byte {self.stop}; get a complete copy"
            )
        if not meta:
            return following
        kind = self.data[self.start + body + 1]
        content = self.data[self.start + payload : self.start + following]
        if kind == 0x2F:
            return size
        if kind == 0x51 and length == 3 and any(content):  # a tempo of zero would stop time: no tempo at all
            self._tempos.append((len(self.positions), int.from_bytes(content, "big")))
        if kind == 0x01 and self._text_bytes + length <= MAX_TEXT_BYTES:
            self._text_bytes += length
            self.text.append(_text(content))
        return following

    def _after_delta(self, position: int, size: int) -> int:
        """The position behind a delta time, where a status byte must be."""
        following = self._variable(position, size)[1]
        if following >= size:
            raise self._damage(size, size)
        return following

    def _variable(self, position: int, size: int) -> tuple[int, int]:
        """(value, following position) of a variable-length quantity."""
        value = 0
        for offset in range(position, position + 4):
            if offset >= size:
                raise self._damage(size, size)
            byte = self.data[self.start + offset]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, offset + 1
        raise MidiError(f"byte {self.start + position} begins a number of more than four bytes; the file is damaged")

    def _damage(self, position: int, size: int) -> MidiError:
        if position >= size:
            return MidiError(
                f"the track is truncated: byte {self.stop} ends it in the middle of an event; get a complete copy"
            )
        return MidiError(f"byte {self.start + position} is a status byte where data must be; the file is damaged")

    def _extract(self) -> None:
        """Fields of all events at once from their positions."""
        position = np.array(self.positions, np.int64)
        delta, body = np.zeros(len(position), np.int64), position.copy()
        more = np.ones(len(position), bool)
        for offset in range(4):
            byte = self.bytes[position + offset if offset else position]
            delta = np.where(more, delta << 7 | (byte & 0x7F), delta)
            body += more
            more &= byte >= 0x80
            if not more.any():
                break
        self._tick = np.cumsum(delta)
        self.end_tick = int(self._tick[-1]) if len(position) else 0
        status = self.bytes[body]
        running = status < 0x80
        sets = (status >= 0x80) & (status < 0xF0)  # meta events leave the running status alone
        source = np.maximum.accumulate(np.where(sets, np.arange(len(position)), -1)) if len(position) else position
        if np.any(running & (source < 0)):
            bad = int(body[np.argmax(running & (source < 0))])
            raise MidiError(f"byte {self.start + bad} is data before any status byte; the file is damaged")
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

    def tempos(self) -> list[Tempo]:
        return [Tempo(int(self._tick[number]), microseconds) for number, microseconds in self._tempos]


def _event_lengths(track: np.ndarray) -> bytes:
    """For each byte of a track (u8, with eight spare bytes behind it): the length of a channel message of two data
    bytes, running status or not, that begins with its delta time there; 0 if there is none."""
    data_byte = track < 0x80
    two_data = np.zeros(256, bool)
    two_data[0x80:0xC0] = two_data[0xE0:0xF0] = True
    pair = np.zeros(len(track), bool)
    pair[:-1] = data_byte[:-1] & data_byte[1:]
    body = np.where(pair, np.uint8(2), np.uint8(0))  # running status: the data alone
    explicit = two_data[track[:-1]] & pair[1:]
    body[:-1][explicit] = 3
    count = len(track) - 4
    one, two, three, four = (body[offset : offset + count] for offset in range(1, 5))
    first, second, third, fourth = (~data_byte[offset : offset + count] for offset in range(4))
    # The delta time takes one byte more for each leading byte with its high bit set, four at most.
    follows = np.where(first, np.where(second, np.where(third, np.where(fourth, np.uint8(0), four), three), two), one)
    delta = (1 + first * (1 + second * (1 + third.astype(np.uint8)))).astype(np.uint8)
    return np.where(follows > 0, delta + follows, 0).astype(np.uint8).tobytes() + bytes(4)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
