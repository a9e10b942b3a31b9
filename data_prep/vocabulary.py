"""The token vocabulary: one table of named ranges from which everything else derives.

Sizes, encoding, decoding, masks and the JSON that travels with a checkpoint all come from `TABLE`; no other module
here spells a token number. A token is the first id of its range plus the distance of its value from the first value of
the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

FORMAT = "musicgen-performance-events"
VERSION = 1


class EventRange(NamedTuple):
    """A kind of event and the values it takes, both ends included."""

    name: str
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class Event(NamedTuple):
    """A decoded token."""

    name: str
    value: int


TABLE = (
    EventRange("pad", 0, 0),
    EventRange("bos", 0, 0),
    EventRange("eos", 0, 0),
    EventRange("note_on", 0, 127),  # MIDI pitch
    EventRange("note_off", 0, 127),  # MIDI pitch
    EventRange("time_shift", 1, 100),  # steps
    EventRange("velocity", 1, 32),  # bins
)

# The second generation's: the same ids, then what gaps and styles need, 448 in all.  dataset/gaps.py says what
# each of them means in a row.  The last range is free; a token of it has never been seen.
TABLE_2 = (
    *TABLE,
    EventRange("style", 0, 7),  # STYLES in their order; the others are free
    EventRange("mood", 1, 4),  # quadrants of valence and arousal, as EMOPIA names them
    EventRange("after", 0, 0),
    EventRange("ahead", 0, 0),
    EventRange("before", 0, 0),
    EventRange("gap", 0, 5),  # GAPS in their order
    EventRange("second", 1, 24),  # how many seconds of a gap are left, this one included; 24: as many or more
    EventRange("fill", 0, 0),
    EventRange("tail", 0, 0),
    EventRange("end", 0, 0),
    EventRange("spare", 0, 8),
)
STYLES = ("classical", "jazz", "pop", "arrangement", "roll")
GAPS = ("whole", "band", "melody_stays", "bass_stays", "blind", "melody_goes")


@dataclass(frozen=True)
class Vocabulary:
    """Integer ids for the events of a table of ranges, in the table's order.

    `steps_per_second` and `velocity_bins` belong to the meaning of the ids, so they travel in the JSON too.
    """

    table: tuple[EventRange, ...] = TABLE
    steps_per_second: int = 100

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.table]
        if len(set(names)) != len(names):
            raise ValueError(f"a vocabulary names each range once, not {names}")
        if any(entry.size < 1 for entry in self.table):
            raise ValueError("every range of a vocabulary holds at least one value")

    @property
    def size(self) -> int:
        """V, the number of ids."""
        return sum(entry.size for entry in self.table)

    @property
    def velocity_bins(self) -> int:
        return self.range("velocity").size

    def range(self, name: str) -> EventRange:
        """The range called `name`; KeyError if there is none."""
        for entry in self.table:
            if entry.name == name:
                return entry
        raise KeyError(f"no range is called {name!r}")

    def first(self, name: str) -> int:
        """The first id of a range."""
        start = 0
        for entry in self.table:
            if entry.name == name:
                return start
            start += entry.size
        raise KeyError(f"no range is called {name!r}")

    def encode(self, name: str, value: int = 0) -> int:
        """The id of an event; ValueError if the range does not hold the value."""
        entry = self.range(name)
        if not entry.first <= value <= entry.last:
            raise ValueError(f"{name} takes {entry.first} to {entry.last}, not {value}")
        return self.first(name) + value - entry.first

    def decode(self, token: int) -> Event:
        """The event of an id; ValueError if the id is outside the vocabulary."""
        start = 0
        for entry in self.table:
            if start <= token < start + entry.size:
                return Event(entry.name, int(token) - start + entry.first)
            start += entry.size
        raise ValueError(f"token {token} is outside 0 to {self.size - 1}")

    def mask(self, *names: str) -> np.ndarray:
        """bool[V], true at the ids of the named ranges."""
        mask = np.zeros(self.size, bool)
        for name in names:
            start = self.first(name)
            mask[start : start + self.range(name).size] = True
        return mask

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint's tokenizer.json holds."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "size": self.size,
            "steps_per_second": self.steps_per_second,
            "ranges": [
                {"name": entry.name, "id": self.first(entry.name), "first": entry.first, "last": entry.last}
                for entry in self.table
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Vocabulary:
        """The inverse of `to_json`; ValueError if the dict is not such a vocabulary or contradicts itself."""
        try:
            if data["format"] != FORMAT or data["version"] != VERSION:
                raise ValueError(f"not a {FORMAT} version {VERSION} tokenizer")
            ranges: Sequence[dict[str, Any]] = data["ranges"]
            table = tuple(EventRange(str(r["name"]), int(r["first"]), int(r["last"])) for r in ranges)
            vocabulary = cls(table, int(data["steps_per_second"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a {FORMAT} tokenizer: {error}") from error
        if vocabulary.to_json() != data:
            raise ValueError("the tokenizer's ids or size do not follow from its ranges")
        return vocabulary


VOCABULARY = Vocabulary()  # of plain music: what rules allow, and what likelihoods are over
VOCABULARY_2 = Vocabulary(TABLE_2)

# First ids, for code that works on whole arrays of tokens.
PAD = VOCABULARY.first("pad")
BOS = VOCABULARY.first("bos")
EOS = VOCABULARY.first("eos")
SPECIALS = 3  # these; the codes of a codec stand behind them, too
NOTE_ON = VOCABULARY.first("note_on")
NOTE_OFF = VOCABULARY.first("note_off")
TIME_SHIFT = VOCABULARY.first("time_shift")
VELOCITY = VOCABULARY.first("velocity")
MAX_SHIFT = VOCABULARY.range("time_shift").last
PITCHES = VOCABULARY.range("note_on").size
