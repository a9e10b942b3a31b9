"""What a piece says about itself: text events in its MIDI file, from which `musicgen replay` makes the same bytes.

The first is ``musicgen`` and a JSON object; the second, if the prime is not too long, ``musicgen-prime`` and the prime.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen.app.errors import BadInput
from musicgen.app.settings import Settings, check_seed

FACTS = "musicgen "
PRIME = "musicgen-prime "
FORMAT = 1
LONGEST_SUMMARY = 200  # letters


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

    def to_json(self) -> str:
        """One line of ASCII JSON with stable key order."""
        values = {"format": FORMAT, **dataclasses.asdict(self), "settings": self.settings.to_dict()}
        return json.dumps(values, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Inverse of `to_json`.  Raises BadInput if the text is damaged or of a later format."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise BadInput("this file was made by another musicgen version: install that one to replay it")
            settings = Settings.from_dict(values.pop("settings"))
            provenance = cls(settings=settings, **values)
            check_seed(provenance.seed)
            _check(provenance)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"the facts inside this file are damaged ({error})") from None
        return provenance


def _check(provenance: Provenance) -> None:
    texts = (provenance.checkpoint, provenance.checkpoint_sha256, provenance.backend, provenance.version)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text is missing")
    if not isinstance(provenance.prime_sha256, str | None) or not isinstance(provenance.join_seconds, float):
        raise ValueError("the prime's facts")
    if not isinstance(provenance.ended, float | None) or not isinstance(provenance.memorisation, dict | None):
        raise ValueError("what was found out about the new music")
    if not isinstance(provenance.prime_notes, int) or not 1 <= provenance.sample <= provenance.settings.num_samples:
        raise ValueError("a number is out of range")


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
