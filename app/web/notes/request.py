"""What the page asks for: JSON, checked field by field, to a request for the scheduler.

A request is an object whose fields may all be left out:

    prime     {"shipped": "bach"}, {"midi": base64 of a MIDI file} or {"music": a music object}; nothing: from nothing
    from, to  seconds: only this part of the prime is continued
    settings  by their names: seconds, latents, context, end and those of `Sampling`
    takes     how many at once
    seed      a whole number; nothing draws one
    apart     true: a take that shares too much with a training piece is made again with another seed
    recipe    instead of all others: {"facts": ..., "prime": ...} of a take, which is then made exactly once more

A music object is what the page draws and plays: {"notes": [[onset, end, pitch, velocity, surprise], ...],
"pedal": [[time, value], ...], "prime_seconds": s, "seconds": s}, all in seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

import numpy as np

from musicgen.app.bundled import FOLDER, bundled_primes
from musicgen.app.controls import CONTROLS
from musicgen.app.errors import BadInput
from musicgen.app.prime import Prime, make_prime, unpack
from musicgen.app.provenance import Provenance
from musicgen.app.settings import Settings
from musicgen.app.web.checks import Plain, decode_file, plain_object, seconds_of, truth
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.settings import COMMON, parse_common
from musicgen.data_prep import BOS, MidiError, Performance, cut, read_midi, shift_time, write_midi
from musicgen.data_prep.midi import MAX_SECONDS

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

FIELDS = (*COMMON, "apart", "recipe")
FACTS_FLOATS = ("join_seconds", "ended", "asked")
FILL_FLOATS = ("start", "stop", "amount")
SETTINGS_FLOATS = tuple(control.name for control in CONTROLS if control.kind is float)


@dataclasses.dataclass(frozen=True)
class GenerateRequest:
    """A checked request.

    settings: resolved; ``seconds`` of each take.
    takes: how many pieces.  seed: None draws one.
    again: (B, row from 1) of the batch a take was made in, to make it exactly once more.
    avoid_copies: whether takes are compared with the training set, and made again if they share too much with it.  A
        take that is made exactly once more is compared if it was before, and stays as it is.
    index: that training set, where it is known.
    trimmed: as in `generate.Request`.
    """

    kind: ClassVar[str] = "notes"
    settings: Settings
    prime: Prime | None
    takes: int
    seed: int | None
    again: tuple[int, int] | None
    avoid_copies: bool = False
    index: Index | None = None
    trimmed: bool = True

    @property
    def before(self) -> np.ndarray:
        """int16[P] the tokens that are continued."""
        return self.prime.tokens if self.prime is not None else np.array([BOS], np.int16)


def parse_request(body: object, dials: Dials, sha256: str, limits: Limits) -> GenerateRequest:
    """Check a request for the weights of this SHA-256.  Raises BadInput with the first thing that is wrong."""
    body = plain_object("the request", body)
    if body.get("recipe") is not None and set(body) <= set(FIELDS):
        return parse_recipe(plain_object("the recipe", body["recipe"]), dials, sha256, limits)
    settings, takes, seed = parse_common(body, FIELDS, dials, limits)
    prime = None
    if body.get("prime") is not None:
        music, digest = parse_prime(body["prime"], limits)
        prime, seconds = trim(music, digest, seconds_of("from", body), seconds_of("to", body), limits)
        settings = dataclasses.replace(settings, prime_seconds=seconds)
    return GenerateRequest(settings, prime, takes, seed, None, truth("apart", body.get("apart", False)))


def parse_recipe(recipe: Plain, dials: Dials, sha256: str, limits: Limits) -> GenerateRequest:
    """The request that makes a take exactly once more, from its facts and its packed prime.  Raises BadInput."""
    facts = parse_facts(recipe, sha256)
    settings = facts.settings
    if settings.seconds > limits.seconds or settings.num_samples > limits.rows:
        raise BadInput("this take is longer, or of a larger batch, than is made here: use musicgen replay")
    dials.checked(settings.latents, settings.context)
    prime = None
    if facts.prime_sha256 is not None:
        packed = recipe.get("prime")
        if not isinstance(packed, str):
            raise BadInput("the music that this take continues is missing: open its MIDI file instead")
        bounds: dict[str, Any] = {"longest": limits.prime_seconds, "most": limits.upload_notes}
        prime = unpack(packed, settings.prime_seconds, facts.prime_sha256, **bounds)
        if prime.seconds > limits.prime_seconds:
            raise BadInput("the music that this take continues is too long to be made here: use musicgen replay")
    again = (settings.num_samples, facts.sample)
    compared = facts.memorisation is not None
    return GenerateRequest(settings, prime, 1, facts.seed, again, compared, trimmed=facts.trimmed)


def parse_facts(recipe: Plain, sha256: str) -> Provenance:
    """How a take was made.  Raises BadInput unless it was with the weights of this SHA-256."""
    facts = Provenance.from_dict(_floats(recipe.get("facts")))
    if facts.checkpoint_sha256 != sha256:
        raise BadInput(
            f"this take was made with other weights ({facts.checkpoint}, {facts.checkpoint_sha256[:12]}): only they"
            " can make it again"
        )
    return facts


def parse_prime(source: object, limits: Limits) -> tuple[Performance, str]:
    """The music of a request's prime, and the SHA-256 of its MIDI file.  Raises BadInput."""
    data = parse_source("prime", source, limits)
    return parse_midi(data, limits)[0], hashlib.sha256(data).hexdigest()


def parse_source(name: str, source: object, limits: Limits) -> bytes:
    """The MIDI file of a request's music, which is called so: "prime".  Raises BadInput."""
    source = plain_object(f"the {name}", source)
    if len(source) != 1:
        raise BadInput(f"a {name} is exactly one of shipped, midi and music")
    ((kind, value),) = source.items()
    if kind == "shipped":
        if value not in bundled_primes():
            raise BadInput(f"there is no opening {str(value)[:40]!r} here: choose one of {', '.join(bundled_primes())}")
        return (FOLDER / f"{value}.mid").read_bytes()
    if kind == "midi":
        return decode_midi(value, limits)
    if kind == "music":
        return write_midi(parse_music(value, limits), None)
    raise BadInput(f"a {name} is one of shipped, midi and music, not {str(kind)[:40]!r}")


def decode_midi(text: object, limits: Limits) -> bytes:
    """The bytes of a MIDI file sent as base64.  Raises BadInput if it is none or too large."""
    largest = f"{limits.upload_bytes / 1e6:g} MB are the most"
    too_large = f"this file is too large ({largest}): choose a MIDI file of one piano piece"
    return decode_file("MIDI file", text, limits.upload_bytes, too_large)


def parse_midi(data: bytes, limits: Limits) -> tuple[Performance, tuple[str, ...]]:
    """The music in a MIDI file's bytes, and remarks on what else was in it.  Raises BadInput."""
    try:
        music, remarks = read_midi(data)
        if len(music) > limits.upload_notes:
            raise BadInput(f"this file has {len(music):,} notes, {limits.upload_notes:,} are the most: cut it first")
        if len(music.pedal) > 4 * limits.upload_notes:
            raise BadInput("this file has too many pedal events: cut it first")
        # Once through our own writer: every time is then a whole tick, as in the files that come out.
        music, _ = read_midi(write_midi(music, None))
    except MidiError as error:
        raise BadInput(f"this file cannot be used: {error}") from None
    return music, remarks


def parse_music(music: object, limits: Limits) -> Performance:
    """The performance in a music object; notes that still sound are left out.  Raises BadInput."""
    music = plain_object("music", music)
    notes, pedal = music.get("notes"), music.get("pedal") or []
    if not isinstance(notes, Sequence) or not isinstance(pedal, Sequence) or isinstance(notes, str):
        raise BadInput("music has a list of notes and a list of pedal events")
    if len(notes) > limits.upload_notes or len(pedal) > 4 * limits.upload_notes:
        raise BadInput(f"this has {len(notes):,} notes, {limits.upload_notes:,} are the most: make it shorter")
    try:
        table = np.array([[float(x) for x in note[:4]] for note in notes if note[1] is not None], np.float64)
        feet = np.array([[float(x) for x in event[:2]] for event in pedal], np.float64).reshape(-1, 2)
        if not table.size:
            raise BadInput("there are no notes yet: play some first")
        if max(table[:, :2].max(), feet[:, 0].max(initial=0.0)) > MAX_SECONDS:
            raise ValueError("a time is more than a day")
        return Performance(table[:, 0], table[:, 1], np.rint(table[:, 2]), np.rint(table[:, 3]), feet)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise BadInput(f"these notes cannot be read ({error})") from None


def trim(
    music: Performance, digest: str, start: float | None, stop: float | None, limits: Limits
) -> tuple[Prime, float | None]:
    """The prime between two times of a performance, and the ``prime_seconds`` that settings need to make it again.

    Raises BadInput if nothing is left, or too much.
    """
    if start is not None and start > 0:
        music = cut(music, start, np.inf)
        if not len(music):
            raise BadInput("there is no note after the beginning you chose: move it to the left")
        data = write_midi(shift_time(music, -start), None)
        music, digest = read_midi(data)[0], hashlib.sha256(data).hexdigest()
        stop = stop - start if stop is not None else None
    first = float(music.onset[0])
    seconds = None
    if stop is not None and stop < music.duration:
        seconds = round(stop - first, 4)
        if seconds <= 0:
            raise BadInput("there is no note in the part you chose: make it longer")
    prime = make_prime(music, seconds, digest)
    if prime.seconds > limits.prime_seconds:
        minutes = limits.prime_seconds / 60
        raise BadInput(f"{prime.seconds / 60:.0f} minutes are too long to continue, {minutes:g} are the most: trim it")
    return prime, seconds


def _floats(facts: object) -> object:
    """Facts that have been through JavaScript, which writes 5.0 as 5, with their fractional numbers as such again."""
    if not isinstance(facts, Mapping) or not isinstance(facts.get("settings"), Mapping):
        return facts
    floats = {**_as_float(facts, FACTS_FLOATS), "settings": _as_float(facts["settings"], SETTINGS_FLOATS)}
    fill = facts.get("fill")
    return {**floats, "fill": _as_float(fill, FILL_FLOATS)} if isinstance(fill, Mapping) else floats


def _as_float(values: Plain, names: Sequence[str]) -> dict[str, Any]:
    fractional = {name: values.get(name) for name in names}
    return {**values, **{name: float(value) for name, value in fractional.items() if _small(value)}}


def _small(value: object) -> TypeGuard[int]:
    """Whether it is a whole number that a float holds exactly."""
    return type(value) is int and abs(value) < 2**53
