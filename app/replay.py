"""Making a piece again from the provenance inside its file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicgen.app.errors import BadInput
from musicgen.app.fill import Filling
from musicgen.app.fill_request import canonical, from_facts
from musicgen.app.generate import Model, Request, generate, midi_file
from musicgen.app.prime import Prime, pack, read_bytes, read_prime, unpack, unpack_bytes
from musicgen.app.provenance import Provenance, find_texts
from musicgen.data_prep import STEPS_PER_SECOND, MidiError
from musicgen.data_prep.midi import read_text


@dataclasses.dataclass(frozen=True)
class GeneratedFile:
    """A file that says how it was made: its bytes, its provenance and the prime inside it."""

    data: bytes
    provenance: Provenance
    packed_prime: str | None


def read_generated(path: Path) -> GeneratedFile:
    """Read a generated file.  Raises BadInput if it is none."""
    data = read_bytes(path)
    try:
        text, packed = find_texts(read_text(data))
    except MidiError as error:
        raise BadInput(f"{path}: {error}") from None
    if text is None:
        raise BadInput(f"{path} does not say how it was made: only files that musicgen wrote can be replayed")
    return GeneratedFile(data, Provenance.from_json(text), packed)


def prime_of(generated: GeneratedFile, given: Path | None) -> Prime | None:
    """The prime that a generated file continued: from inside it, or from the file a person gives.

    Raises BadInput if it is in neither place, or the given one is another file.
    """
    provenance = generated.provenance
    if provenance.prime_sha256 is None:
        return None
    if given is not None:
        prime, _ = read_prime(given, provenance.settings.prime_seconds)
        if prime.sha256 != provenance.prime_sha256:
            raise BadInput(
                f"{given} is not the prime of this piece: its SHA-256 is not {provenance.prime_sha256[:12]}..."
            )
        return prime
    if generated.packed_prime is None:
        raise BadInput("the prime of this piece was too long to be stored in it: give it with --prime FILE")
    return unpack(generated.packed_prime, provenance.settings.prime_seconds, provenance.prime_sha256)


def song_of(generated: GeneratedFile, given: Path | None) -> bytes:
    """The song in which a passage was written anew; as `prime_of`."""
    if given is not None:
        data = canonical(read_bytes(given), str(given))
    elif generated.packed_prime is None:
        raise BadInput("the song of this fill was too long to be stored in it: give it with --prime FILE")
    else:
        data = unpack_bytes(generated.packed_prime)
    wanted = str(generated.provenance.prime_sha256)
    if hashlib.sha256(data).hexdigest() != wanted:
        raise BadInput(f"this is not the song of this fill: its SHA-256 is not {wanted[:12]}...")
    return data


def _replay_fill(provenance: Provenance, song: bytes, model: Model, on_progress: Callable[[float], None]) -> bytes:
    assert provenance.fill is not None
    request = from_facts(provenance.fill, song, provenance.settings, provenance.seed)
    filling, row = Filling([request], model), provenance.sample - 1
    made = round(provenance.settings.seconds * STEPS_PER_SECOND)
    while not filling.done[row]:
        filling.step()
        if provenance.asked is not None and filling.rows[row].step >= request.steps[0] + made:
            filling.stop(row, request.steps[0] + made)
        on_progress(filling.seconds[row])
    return filling.fill(row, _unchanged(provenance)).midi


def _unchanged(provenance: Provenance) -> dict[str, Any]:
    """What was written down and stays as it was, also when this machine or version is another one."""
    names = ("backend", "version", "checkpoint", "memorisation", "asked", "own_ticks", "beat", "own_seeds")
    return {name: getattr(provenance, name) for name in names}


def replay(
    generated: GeneratedFile,
    source: Prime | bytes | None,
    model: Model,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> bytes:
    """Generate the batch of a file again and give the bytes of its sample.

    Raises BadInput if the model's weights are not the recorded ones.
    """
    provenance = generated.provenance
    if model.sha256 != provenance.checkpoint_sha256:
        raise BadInput(
            f"this piece was made with the weights {provenance.checkpoint} ({provenance.checkpoint_sha256[:12]}), not"
            f" with {model.name} ({model.sha256[:12]}): name the right ones with --checkpoint"
        )
    if isinstance(source, bytes):
        return _replay_fill(provenance, source, model, on_progress)
    request = Request(provenance.settings, source, provenance.seed, provenance.trimmed, provenance.own_seeds)
    result = generate(request, model, on_progress)
    sample = result.samples[provenance.sample - 1]
    unchanged = dataclasses.replace(sample.provenance, **_unchanged(provenance))
    packed = pack(source) if source is not None else None
    return midi_file(dataclasses.replace(sample, provenance=unchanged), packed)
