"""How a MIDI file sounds on a piano, by a player that does one event after the other: slow, simple, and sharing nothing
with `data_prep`. The tests and the parity check hold the real reader against it.

After the Standard MIDI File 1.0 and MIDI 1.0 texts: the tracks of a type 1 file are one stream, in order of time, then
of track, then of place in the track. What the texts leave to the receiver has a name here:

* SCORE: each note-off ends the youngest open note of its channel and key. A note that no note-off is left for ends with
  the first one after it, or, if there is none, at the end of its track, a second after that track's last note at most.
* ONE PIANO: all channels play one piano. A key that is struck again while it sounds begins anew, and sounds until the
  last of its notes ends; struck twice at one moment, the louder stroke counts.
* LAST EVENT: a pedal that nobody lifts holds until the last event of the sustain pedal or release
  (of a key, or of what sostenuto held) of its channel.
* DRUMS: what the caller says, or else channel 10, is left out.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection
from fractions import Fraction
from typing import NamedTuple

ALL_KEYS_UP = (120, 123, 124, 125, 126, 127)  # all sound off, all notes off, and the changes of mode, which imply it


class Event(NamedTuple):
    """One event of the stream: tick, track, place in the track, its bytes without the delta time."""

    tick: int
    track: int
    place: int
    message: bytes


class Strange(ValueError):
    """Not a plain file of type 0 or 1: this reader mends nothing."""


def read_events(data: bytes) -> tuple[int, list[Event], list[int]]:
    """(division, all events in the order of the stream, the last tick of each track)."""
    if data[:4] != b"MThd" or int.from_bytes(data[4:8], "big") < 6 or len(data) < 14:
        raise Strange("no header")
    kind, tracks, division = (int.from_bytes(data[at : at + 2], "big") for at in (8, 10, 12))
    if kind > 1 or not division:
        raise Strange("not of type 0 or 1")
    events: list[Event] = []
    ends: list[int] = []
    at = 8 + int.from_bytes(data[4:8], "big")
    while at + 8 <= len(data):
        size, start = int.from_bytes(data[at + 4 : at + 8], "big"), at + 8
        if start + size > len(data):
            raise Strange("a chunk is longer than the file")
        if data[at : at + 4] == b"MTrk":
            part = _track(data[start : start + size], len(ends))
            ends.append(part[-1].tick if part else 0)
            events += part
        at = start + size
    if len(ends) != tracks or at != len(data):
        raise Strange("the header counts other tracks")
    return division, sorted(events, key=lambda event: event[:3]), ends


def _track(data: bytes, number: int) -> list[Event]:
    events: list[Event] = []
    at = tick = status = 0

    def quantity() -> int:
        nonlocal at
        value = 0
        for _ in range(4):
            byte = data[at]
            at += 1
            value = value * 128 + byte % 128
            if byte < 128:
                return value
        raise Strange("a number of more than four bytes")

    try:
        while at < len(data):
            tick += quantity()
            if data[at] >= 0x80:
                first = data[at]
                at += 1
            else:
                first = status
            if first == 0xFF:
                kind = data[at]
                at += 1
                size = quantity()
                message = bytes([0xFF, kind]) + data[at : at + size]
            elif first in (0xF0, 0xF7):
                size = quantity()
                message = bytes([first]) + data[at : at + size]
            elif 0x80 <= first < 0xF0:
                status, size = first, 1 if 0xC0 <= first < 0xE0 else 2
                message = bytes([first]) + data[at : at + size]
                if max(message[1:], default=255) > 127:
                    raise Strange("a status byte among the data")
            else:
                raise Strange("an event that no file has")
            if at + size > len(data):
                raise Strange("an event is longer than its track")
            at += size
            events.append(Event(tick, number, len(events), message))
            if message[:2] == b"\xff\x2f":
                break
    except IndexError:
        raise Strange("the track ends in an event") from None
    return events


class Clock:
    """Seconds of ticks."""

    def __init__(self, division: int, events: list[Event]) -> None:
        if division >= 0x8000:
            frames = 256 - (division >> 8)
            rate = Fraction(30000, 1001) if frames == 29 else Fraction(frames)
            self.changes = [(0, Fraction(0), 1 / (rate * (division % 256)))]
            return
        self.changes = [(0, Fraction(0), Fraction(500_000, division * 1_000_000))]
        for event in events:
            if event.message[:2] == b"\xff\x51" and len(event.message) == 5 and any(event.message[2:]):
                tick, now, each = self.changes[-1]
                now += (event.tick - tick) * each
                microseconds = int.from_bytes(event.message[2:], "big")
                self.changes.append((event.tick, now, Fraction(microseconds, division * 1_000_000)))

    def __call__(self, tick: int) -> float:
        start, now, each = self.changes[bisect.bisect_right(self.changes, tick, key=lambda change: change[0]) - 1]
        return float(now + (tick - start) * each)


def play(data: bytes, drums: Collection[int] = (9,)) -> list[tuple[float, float, int, int]]:
    """(onset, end, pitch, velocity) of all that sounds on the one piano, in seconds, in order.

    drums: the channels, from 0, that are left out.
    """
    division, events, track_ends = read_events(data)
    clock = Clock(division, events)
    latest = []  # the seconds until which a note of each track is held that never ends
    for track, end in enumerate(track_ends):
        own = [e.tick for e in events if e.track == track and (_is_on(e.message) or _is_off(e.message))]
        latest.append(min(clock(end), clock(max(own, default=0)) + 1.0))
    notes: list[tuple[float, float, int, int]] = []
    for channel in range(16):
        if channel not in drums:
            own = [event for event in events if event.message[0] < 0xF0 and event.message[0] & 0x0F == channel]
            notes += _play_channel(own, clock, latest)
    return one_piano(notes)


def _is_on(message: bytes) -> bool:
    return message[0] & 0xF0 == 0x90 and message[2] > 0


def _is_off(message: bytes) -> bool:
    return message[0] & 0xF0 == 0x80 or (message[0] & 0xF0 == 0x90 and message[2] == 0)


def _controller(message: bytes) -> tuple[int, int]:
    return (message[1], message[2]) if message[0] & 0xF0 == 0xB0 else (-1, 0)


def _pair(events: list[Event]) -> tuple[dict[Event, list[Event]], list[Event]]:
    """SCORE: which note-ons each event of a channel ends, and those that nothing ends."""
    ended: dict[Event, list[Event]] = {}
    open_notes: dict[int, list[Event]] = {}
    ends_of: dict[int, list[Event]] = {}
    everything: list[Event] = []
    for event in events:
        if _is_on(event.message):
            open_notes.setdefault(event.message[1], []).append(event)
        elif _is_off(event.message):
            ends_of.setdefault(event.message[1], []).append(event)
            if open_notes.get(event.message[1]):
                ended.setdefault(event, []).append(open_notes[event.message[1]].pop())
        elif _controller(event.message)[0] in ALL_KEYS_UP:
            everything.append(event)
            for notes in open_notes.values():
                ended.setdefault(event, []).extend(note for note in notes)
                notes.clear()
    never = []
    for key, notes in open_notes.items():
        for note in notes:
            later = [event for event in ends_of.get(key, []) if event > note]
            if later:
                ended.setdefault(later[0], []).append(note)
            else:
                never.append(note)
    return ended, never


def _play_channel(events: list[Event], clock: Clock, latest_end: list[float]) -> list[tuple[float, float, int, int]]:
    ended, never = _pair(events)
    strokes = [event for event in events if _is_on(event.message)]
    releases = [(clock(event.tick), event) for event in events]
    for note in never:
        last = Event(2**60, note.track, len(releases), b"\0\0")
        ended[last] = [note]
        releases.append((max(latest_end[note.track], clock(note.tick)), last))
    releases.sort(key=lambda pair: pair[0])
    end: dict[Event, float] = {}
    down: set[Event] = set()
    ringing: set[Event] = set()  # down or not
    caught: set[Event] = set()  # by sostenuto
    sustain = sostenuto = False
    latest = 0.0
    for now, event in releases:
        controller, value = _controller(event.message)
        if event.tick < 2**60 and _is_on(event.message):
            down.add(event)
            ringing.add(event)
        if ended.get(event):
            down -= set(ended[event])
            latest = max(latest, now)
        if controller == 64:
            sustain, latest = value >= 64, max(latest, now)
        elif controller == 66:
            if value >= 64 and not sostenuto:
                caught |= down
            sostenuto = value >= 64
        elif controller == 121:
            sustain = sostenuto = False
        if not sostenuto:
            latest = now if caught - down else latest  # let go
            caught.clear()
        silent = ringing if controller == 120 else ringing - down - caught if not sustain else set()
        for note in list(silent):
            end[note] = now
            ringing.discard(note)
            down.discard(note)
            caught.discard(note)
            latest = max(latest, now)
    for note in ringing:  # LAST EVENT
        end[note] = max(latest, clock(note.tick))
    return [(clock(note.tick), end[note], note.message[1], note.message[2]) for note in strokes]


def one_piano(notes: list[tuple[float, float, int, int]]) -> list[tuple[float, float, int, int]]:
    """ONE PIANO: the notes of all channels on one keyboard."""
    result = []
    for pitch in range(128):
        of_key = sorted((note for note in notes if note[2] == pitch), key=lambda note: (note[0], note[3]))
        sounds_until = 0.0
        for place, (begin, end, _, velocity) in enumerate(of_key):
            sounds_until = max(sounds_until, end)
            again = of_key[place + 1][0] if place + 1 < len(of_key) else sounds_until
            if place + 1 == len(of_key) or again > begin:
                result.append((begin, min(sounds_until, again), pitch, velocity))
    return sorted(result, key=lambda note: (note[0], note[2]))
