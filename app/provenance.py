"""What a piece says about itself: text events in its MIDI file, from which `musicgen replay` makes the same bytes.

The first is ``musicgen`` and a JSON object; the second, if the prime is not too long, ``musicgen-prime`` and the prime.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen.app.errors import BadInput, is_plain
from musicgen.app.limits import LARGEST_FACTS, LONGEST_TEXT
from musicgen.app.settings import LARGEST_SEED, LONGEST_SECONDS, Settings
from musicgen.data_prep.vocabulary import GAPS

FACTS = "musicgen "
PRIME = "musicgen-prime "
HEARD = "musicgen: "  # how the text begins that says which beat is heard in music from nothing
FORMAT = 1
LONGEST_SUMMARY = 200  # letters
# Of a fill: the most that a number may be, or which values there are; () for any text.
FILL_FACTS: dict[str, Any] = {
    "start": LONGEST_SECONDS,
    "stop": LONGEST_SECONDS,
    "low": 127,
    "high": 127,
    "hand": (None, "left", "right"),
    "kind": GAPS,
    "pedal": ("keep", "new"),
    "accompanies": True,
    "amount": 1.0,
    "removed": (),
    "kept_sha256": (),
}
MOST_ABOUT_A_MATCH = 20  # facts; `Match` has ten


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Everything that decides the bytes of one output file.

    sample: which of the ``settings.num_samples`` pieces of the batch this is, from 1.
    prime_sha256, prime_notes, join_seconds: None, 0 and 0.0 when nothing was continued.
    backend: platform, engine and its version, such as 'cpu onnxruntime 1.32.0'; another one may round differently and
        so choose other notes.
    ended: seconds of new music at which the piece ended by itself; None if it was cut.
    memorisation: the longest match with the training set as `evaluate --memorisation` tells it, or only length 0 if
    there is none; None if it was not looked for.  It follows from the notes and is not needed to make them again.
    trimmed: whether silence before the first note was left out; only then it is written, since older files kept it.
    own_ticks: whether the new music lies on the ticks of the prime's file where it can; only then it is written, since
        older files have finer ones.
    beat: whether the beat that is heard in the music, as no file has told one, is what it is written on (app/bars.py);
        only then it is written, since older files are all at 120 beats a minute.
    asked: the seconds of new music that were asked for, if it was stopped before; else it is not written.
    own_seeds: whether each row of its batch had a seed of its own, and this one ``seed``; only then it is written.
    fill: of a passage written anew, where it is and what stayed in it (app/fill_request.py); else it is not written.
        What was continued is then the song.
    """

    settings: Settings
    seed: int
    sample: int
    checkpoint: str
    checkpoint_sha256: str
    prime_sha256: str | None
    prime_notes: int
    join_seconds: float
    backend: str
    version: str
    ended: float | None = None
    memorisation: dict[str, Any] | None = None
    trimmed: bool = False
    own_ticks: bool = False
    beat: bool = False
    own_seeds: bool = False
    asked: float | None = None
    fill: dict[str, Any] | None = None

    def to_json(self) -> str:
        """One line of ASCII JSON with stable key order."""
        values = {"format": FORMAT, **dataclasses.asdict(self), "settings": self.settings.to_dict()}
        for name in ("trimmed", "own_ticks", "beat", "own_seeds"):
            if not values[name]:
                del values[name]
        for name in ("asked", "fill"):
            if values[name] is None:
                del values[name]
        return json.dumps(values, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Inverse of `to_json`.  Raises BadInput if the text is damaged or of a later format."""
        if len(text) > LARGEST_FACTS:
            raise BadInput(f"the facts inside this file are damaged ({len(text):,} letters are too many)")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"the facts inside this file are damaged ({error})") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, facts: object) -> Provenance:
        """The provenance in facts that anybody may have written: as `from_json`, of the object in that text."""
        try:
            values = dict(facts)  # type: ignore[call-overload]
            if values.pop("format") != FORMAT:
                raise BadInput("this file was made by another musicgen version: install that one to replay it")
            settings = Settings.from_dict(values.pop("settings"))
            if unknown := [str(name) for name in values if name not in cls.__dataclass_fields__]:
                raise ValueError(f"no fact is called {unknown[0][:40]!r}")
            provenance = cls(settings=settings, **values)
            _check(provenance)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"the facts inside this file are damaged ({str(error)[:LONGEST_SUMMARY]})") from None
        return provenance


def _check(facts: Provenance) -> None:
    """Raise ValueError for the first fact that `to_json` cannot have written."""
    for name in ("checkpoint", "backend", "version"):
        check_text(name, getattr(facts, name))
    check_hash("checkpoint_sha256", facts.checkpoint_sha256)
    if facts.prime_sha256 is not None:
        check_hash("prime_sha256", facts.prime_sha256)
    _check_number("seed", facts.seed, int, LARGEST_SEED)
    _check_number("sample", facts.sample, int, facts.settings.num_samples, least=1)
    _check_number("prime_notes", facts.prime_notes, int, LARGEST_SEED)
    _check_number("join_seconds", facts.join_seconds, float, 2 * LONGEST_SECONDS)
    if facts.ended is not None:
        _check_number("ended", facts.ended, float, 2 * LONGEST_SECONDS)
    if facts.asked is not None:
        _check_number("asked", facts.asked, float, LONGEST_SECONDS)
    if facts.fill is not None:
        _check_fill(facts.fill)
    if facts.memorisation is not None:
        _check_match(facts.memorisation)
    for name in ("trimmed", "own_ticks", "beat", "own_seeds"):
        if not isinstance(getattr(facts, name), bool):
            raise ValueError(f"{name} is true or false")


def _check_fill(fill: object) -> None:
    if not isinstance(fill, dict) or set(fill) != set(FILL_FACTS):
        raise ValueError("what was written anew")
    for name, most in FILL_FACTS.items():
        value = fill[name]
        if isinstance(most, bool):
            if type(value) is not bool:
                raise ValueError(f"{name} is true or false")
        elif isinstance(most, int | float):
            _check_number(name, value, type(most), most)
        elif value not in most and not (most == () and isinstance(value, str) and len(value) <= LARGEST_FACTS):
            raise ValueError(f"{name} is {str(value)[:40]!r}")


def _check_match(match: object) -> None:
    if not isinstance(match, dict) or len(match) > MOST_ABOUT_A_MATCH:
        raise ValueError("what was found out about the new music")
    _check_number("memorisation length", match.get("length"), int, LARGEST_SEED)
    for name, value in match.items():
        check_text("a name in memorisation", name)
        if isinstance(value, str):
            check_text("a text in memorisation", value)
        else:
            kind = int if isinstance(value, int) else float
            _check_number("a number in memorisation", value, kind, LARGEST_SEED, least=-LARGEST_SEED)


def check_text(name: str, value: object) -> None:
    """Raise ValueError unless it is a short text that can be shown as it is."""
    if not isinstance(value, str) or not is_plain(value) or len(value) > LONGEST_TEXT:
        raise ValueError(f"{name} is no plain text: {str(value)[:40]!r}")


def check_hash(name: str, value: object) -> None:
    """Raise ValueError unless it is a SHA-256 in hexadecimal."""
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]{64}", value) is None:
        raise ValueError(f"{name} is no SHA-256: {str(value)[:40]!r}")


def _check_number(name: str, value: object, kind: type, most: float, least: float = 0) -> None:
    """Raise ValueError unless it is a number of that very kind in these bounds, which no NaN is."""
    if type(value) is not kind or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{name} is {str(value)[:40]!r}")


def texts(provenance: Provenance, packed_prime: str | None) -> tuple[str, ...]:
    """The text events to write."""
    events = [FACTS + provenance.to_json()]
    if packed_prime is not None:
        events.append(PRIME + packed_prime)
    return tuple(events)


def find_texts(events: Sequence[str]) -> tuple[str | None, str | None]:
    """The provenance's JSON text and the packed prime among a file's text events, each None if it is not there."""

    provenance = next((text[len(FACTS) :] for text in events if text.startswith(FACTS + "{")), None)
    return provenance, next((text[len(PRIME) :] for text in events if text.startswith(PRIME)), None)


def read(events: Sequence[str]) -> Provenance | None:
    """The provenance among a file's text events; None if it has none that can be read."""
    text, _ = find_texts(events)
    try:
        return Provenance.from_json(text) if text is not None else None
    except BadInput:
        return None


def prime_notes(events: Sequence[str]) -> int:
    """How many of a file's notes are its prime's, by its own provenance; 0 if it has none that can be read."""
    provenance = read(events)
    return provenance.prime_notes if provenance is not None else 0


def summary_in(events: Sequence[str]) -> str | None:
    """What the sound and the pictures of a file with these text events say of it; None if it is not ours."""
    provenance = read(events)
    return summary_line(dataclasses.asdict(provenance)) if provenance is not None else None


def summary_line(provenance: Mapping[str, Any]) -> str:
    """How something was made, in a short line of printable ASCII.

    provenance: `Provenance` as a dictionary, or what is known of a sound.
    """
    prime = provenance.get("prime_sha256")
    said = (
        f"musicgen, checkpoint {provenance.get('checkpoint')} ({str(provenance.get('checkpoint_sha256'))[:12]}),"
        f" seed {provenance.get('seed')}, sample {provenance.get('sample')},"
        f" {f'prime {prime[:12]}' if isinstance(prime, str) else 'no prime'}"
    )
    return printable(said)


def printable(text: str) -> str:
    """What may stand in a file of any kind: others read such lines, and the values may come from a stranger's file."""
    return re.sub("[^ -~]", "?", text)[:LONGEST_SUMMARY]
