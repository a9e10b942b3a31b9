"""A MIDI file as something notes are taken out of and put into, while all else in it stays event by event.

Reading it for a model (`midi.read_midi`) makes one piano of all its channels; here every track, channel and message is
kept as the file has it, and a note is the two messages that make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from musicgen.data_prep import midi, playing, smf
from musicgen.data_prep.drums import find_drums
from musicgen.data_prep.performance import Performance, empty
from musicgen.data_prep.score import NAME
from musicgen.data_prep.smf_writer import Event, write_file
from musicgen.data_prep.time_base import Clock
from musicgen.data_prep.vocabulary import PITCHES

OUR_TEXT = bytes([smf.META, smf.TEXT]) + playing.OUR_TEXT
BEFORE, AFTER = 0, 1  # the file's own events of the same tick


class Keys(NamedTuple):
    """The notes of a song but for drums, in order of onset: [n] each.

    down, up: the numbers of the messages that strike and release it; up is that of messages in all if none does.
    onset, end: f64 seconds of these; end is inf if none releases it.
    """

    down: np.ndarray
    up: np.ndarray
    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    track: np.ndarray
    channel: np.ndarray


class Added(NamedTuple):
    """A message that is put in: where, when (in ticks of `Song.clock`), and whether before or after the file's own."""

    track: int
    tick: int
    place: int
    message: bytes


@dataclass(frozen=True, eq=False)
class Song:
    """The events of a file without texts of ours, its notes, and how many of drums are not among them."""

    events: smf.MidiEvents
    keys: Keys
    drums: int

    @classmethod
    def read(cls, data: bytes) -> Song:
        """Raises MidiError if it is no MIDI file with notes that `read_midi` takes."""
        midi.read_midi(data)  # its bounds and complaints
        events = smf.parse(data)
        events = replace(events, long=tuple(event for event in events.long if not event.data.startswith(OUR_TEXT)))
        drums = find_drums(events)
        stream = playing.merge_tracks(events)
        is_drum = drums[stream.event]
        found = playing.pair_notes(stream, ~is_drum)
        down, up = stream.event[found.down], np.append(stream.event, len(events.tick))[found.up]
        seconds = np.append(events.seconds(events.tick), np.inf)
        return cls(
            events,
            Keys(
                down,
                up,
                seconds[down],
                seconds[up],
                events.data1[down].astype(np.int64),
                events.track[down].astype(np.int64),
                events.status[down].astype(np.int64) & 0x0F,
            ),
            int(np.count_nonzero(playing.strikes(stream) & is_drum)),
        )

    @property
    def clock(self) -> Clock:
        """The ticks it is written in: parts of its own."""
        return Clock.of(self.events.time_base)

    def track_names(self) -> list[str]:
        """The name of each track; empty for one without."""
        names = [""] * len(self.events.track_end)
        for event in reversed(self.events.long):
            if event.data[:2] == bytes([smf.META, NAME]):
                names[event.track] = event.data[2:].decode("utf-8", "replace").strip()
        return names

    def places(self) -> np.ndarray:
        """i64[e]: each message's place in the order in which they are played; within a tick it is the file's."""
        places = np.empty(len(self.events.tick), np.int64)
        places[playing.merge_tracks(self.events).event] = np.arange(len(places))
        return places

    def pedal(self, channel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a channel's sustain pedal does: f64[p] seconds, i64[p] values, i64[p] the messages' numbers."""
        stream = playing.merge_tracks(self.events)
        index, values = playing.sustain(stream, channel)
        return self.events.seconds(stream.tick[index]), values, stream.event[index]

    def loose_releases(self, channel: int) -> tuple[np.ndarray, np.ndarray]:
        """f64[r] seconds and i64[r] keys of a channel's messages that release a key and are no end of a note."""
        events = self.events
        kind, own = events.status & 0xF0, (events.status & 0x0F) == channel
        release = (kind == playing.NOTE_OFF) | ((kind == playing.NOTE_ON) & (events.data2 == 0))
        loose = np.setdiff1d(np.flatnonzero(own & release), self.keys.up)
        all_keys = np.flatnonzero(own & (kind == playing.CONTROL) & np.isin(events.data1, playing.KEYS_UP))
        number = np.concatenate([loose, np.repeat(all_keys, PITCHES)])
        pitch = np.concatenate([events.data1[loose].astype(np.int64), np.tile(np.arange(PITCHES), len(all_keys))])
        return events.seconds(events.tick[number]), pitch

    def messages_of(self, notes: np.ndarray) -> np.ndarray:
        """The numbers of the messages that make some notes, bool[n], and no others."""
        up = np.setdiff1d(self.keys.up[notes], self.keys.up[~notes])
        return np.concatenate([self.keys.down[notes], up[up < len(self.events.tick)]])

    def without(self, messages: np.ndarray) -> smf.MidiEvents:
        """The events but for some messages, given by number."""
        keep = np.ones(len(self.events.tick), bool)
        keep[messages] = False
        before = np.append(0, np.cumsum(keep))
        long = tuple(event._replace(before=int(before[event.before])) for event in self.events.long)
        columns = {name: getattr(self.events, name)[keep] for name in ("tick", "track", "status", "data1", "data2")}
        return replace(self.events, long=long, **columns)


def performance_of(events: smf.MidiEvents) -> Performance:
    """The music of a file as `midi.read_midi` reads it, but with all its pauses; perhaps without a note."""
    drums = find_drums(events)
    stream = playing.merge_tracks(events)
    played = ~drums[stream.event]
    keys = playing.pair_notes(stream, played)
    return playing.to_performance(events, stream, keys, played)[0] if len(keys.down) else empty()


def write(events: smf.MidiEvents, clock: Clock, added: Sequence[Added] = (), texts: Sequence[str] = ()) -> bytes:
    """A file of type 1 with these events in their tracks and order, what is added, also in tracks behind the last, and
    text events at its beginning."""
    count = max([len(events.track_end), *(one.track + 1 for one in added)])
    last = len(events.tick) + 1
    others = [(event.track, event.tick * clock.parts, event.before, event.data) for event in events.long]
    others += [(track, tick, last if place == AFTER else -1, message) for track, tick, place, message in added]
    others += [(0, 0, last + 1, bytes([smf.META, smf.TEXT]) + line.encode()) for line in texts]
    others_track, others_tick, others_place = np.array([other[:3] for other in others], np.int64).reshape(-1, 3).T
    track = np.concatenate([events.track, others_track])
    tick = np.concatenate([events.tick * clock.parts, others_tick])
    place = np.concatenate([np.arange(len(events.tick)), others_place])
    messages = np.repeat([1, 0], [len(events.tick), len(others)])  # others stand before the one of their place
    order = np.lexsort((messages, place, tick, track))
    short = np.stack([events.status, events.data1, events.data2], axis=1).tobytes()

    def of_track(numbers: np.ndarray) -> Iterator[Event]:
        for at, number in zip(tick[numbers].tolist(), numbers.tolist(), strict=True):
            if number < len(events.tick):
                one = short[3 * number : 3 * number + 3]
                yield at, one[:2] if 0xC0 <= one[0] < 0xE0 else one
            else:
                yield at, others[number - len(events.tick)][3]

    tracks = np.split(order, np.searchsorted(track[order], np.arange(1, count)))
    ends = (events.track_end * clock.parts).tolist()
    return write_file(clock.division, [of_track(numbers) for numbers in tracks], ends + [0] * (count - len(ends)))
