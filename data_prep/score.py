"""What of a MIDI file is about bars and beats: its division, tempo map, metre, keys, and the names of its tracks.

A performance knows seconds. A score says how they lie among the bars, so that music which goes on with a file can be
written on that file's own ticks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from musicgen.data_prep.time_base import DEFAULT_TEMPO, TimeBase, from_seconds

META = 0xFF
NAME, SET_TEMPO, METRE, KEY = 0x03, 0x51, 0x58, 0x59  # kinds of meta events
SIZES = {SET_TEMPO: 3, METRE: 4, KEY: 2}  # bytes of their content

# 500,000 microseconds a quarter note and 20,000 ticks in it: a tick is 25 microseconds, 400 ticks a step of 10 ms, so
# that `tokens.decode` can order the onsets inside a step.
TICKS_PER_QUARTER = 20_000
PIANO = b"Piano"
LONGEST_NAME = 200  # bytes


@dataclass(frozen=True)
class Score:
    """Of one file, or of a part of it.

    division: ticks a quarter note; None for a file that counts frames, which has no tempo and is written on ticks of
        ours.
    events: (seconds, meta event: its status, kind and content) of tempo, metre and key, in order of time.
    title, name: of the tracks without and with notes.
    """

    division: int | None = None
    events: tuple[tuple[float, bytes], ...] = ()
    title: bytes = b""
    name: bytes = PIANO

    def time_base(self) -> TimeBase:
        """Its ticks; those of tempo 120 where it has none."""
        tempos = ((seconds, data[2:]) for seconds, data in self.events if data[1] == SET_TEMPO)
        return from_seconds(
            self.division or TICKS_PER_QUARTER, ((seconds, int.from_bytes(tempo, "big")) for seconds, tempo in tempos)
        )

    def part(self, start: float, stop: float) -> Score:
        """Of a part, at its own times: what is in force at its beginning, and what comes until its end."""
        in_force = {data[1]: data for seconds, data in self.events if seconds <= start}
        inside = tuple(event for event in self.events if start < event[0] <= stop)
        return replace(self, events=(*((start, data) for data in in_force.values()), *inside))

    def shifted(self, seconds: float) -> Score:
        """Everything so much later; what would be before the beginning is as at the beginning."""
        whole = self.part(-seconds, float("inf")) if seconds < 0 else self
        return replace(whole, events=tuple((max(time + seconds, 0.0), data) for time, data in whole.events))

    def on_grid(self, tick: float) -> Score:
        """With all times multiples of so many seconds."""
        return replace(self, events=tuple((round(seconds / tick) * tick, data) for seconds, data in self.events))

    @property
    def is_ours(self) -> bool:
        """Whether it is what is written where there is no score."""
        ours = ((), ((0.0, tempo_event(DEFAULT_TEMPO)),))
        same = (self.division or TICKS_PER_QUARTER, self.title, self.name) == (TICKS_PER_QUARTER, b"", PIANO)
        return same and self.events in ours


def tempo_event(microseconds: int) -> bytes:
    """The meta event of so many microseconds a quarter note."""
    return bytes([META, SET_TEMPO]) + microseconds.to_bytes(3, "big")


def is_mark(data: bytes) -> bool:
    """Whether a message sets tempo, metre or key. A tempo of zero would stop time: it is none."""
    right = data[:1] == bytes([META]) and len(data) > 2 and SIZES.get(data[1]) == len(data) - 2
    return right and (data[1] != SET_TEMPO or any(data[2:]))
