"""Making a piece again from the facts inside its file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from musicgen.app import provenance as facts_of
from musicgen.app.errors import BadInput
from musicgen.app.generate import Model, Request, generate, midi_file
from musicgen.app.prime import Prime, pack, read_bytes, read_prime, unpack
from musicgen.app.provenance import Facts
from musicgen.data_prep import MidiError
from musicgen.data_prep.midi import read_text


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file that says how it was made: its bytes, its facts and the prime inside it."""

    data: bytes
    facts: Facts
    packed_prime: str | None


def open_recording(path: Path) -> Recording:
    """Read a generated file.  Raises BadInput if it is none."""
    data = read_bytes(path)
    try:
        text, packed = facts_of.found(read_text(data))
    except MidiError as error:
        raise BadInput(f"{path}: {error}") from None
    if text is None:
        raise BadInput(f"{path} does not say how it was made: only files that musicgen wrote can be replayed")
    return Recording(data, Facts.from_json(text), packed)


def prime_of(recording: Recording, given: Path | None) -> Prime | None:
    """The prime a recording continued: from inside it, or from the file a person gives.

    Raises BadInput if it is in neither place, or the given one is another file.
    """
    facts = recording.facts
    if facts.prime_sha256 is None:
        return None
    if given is not None:
        prime, _ = read_prime(given, facts.settings.prime_seconds)
        if prime.sha256 != facts.prime_sha256:
            raise BadInput(f"{given} is not the prime of this piece: its SHA-256 is not {facts.prime_sha256[:12]}...")
        return prime
    if recording.packed_prime is None:
        raise BadInput("the prime of this piece was too long to travel inside it: give it with --prime FILE")
    return unpack(recording.packed_prime, facts.settings.prime_seconds, facts.prime_sha256)


def replay(
    recording: Recording,
    prime: Prime | None,
    model: Model,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> bytes:
    """Generate the recording's batch again and give the bytes of its sample.

    Raises BadInput if the model's weights are not the recorded ones.
    """
    facts = recording.facts
    if model.sha256 != facts.checkpoint_sha256:
        raise BadInput(
            f"this piece was made with the weights {facts.checkpoint} ({facts.checkpoint_sha256[:12]}), not with"
            f" {model.name} ({model.sha256[:12]}): name the right ones with --checkpoint"
        )
    result = generate(Request(facts.settings, prime, facts.seed), model, on_progress)
    sample = result.samples[facts.sample - 1]
    # What was written down stays as it was, also when this machine or version is another one.
    same_facts = dataclasses.replace(
        sample.facts,
        backend=facts.backend,
        version=facts.version,
        checkpoint=facts.checkpoint,
        memorisation=facts.memorisation,
    )
    packed = pack(prime) if prime is not None else None
    return midi_file(dataclasses.replace(sample, facts=same_facts), packed)
