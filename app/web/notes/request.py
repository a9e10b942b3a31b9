"""What the page asks for: JSON, checked field by field, to an order for the studio.

A wish is an object whose fields may all be left out:

    prime     {"shipped": "bach"}, {"midi": base64 of a MIDI file} or {"music": a music object}; nothing: from nothing
    from, to  seconds: only this part of the prime is continued
    settings  seconds, latents, context, temperature, top_p, top_k, min_p, end
    takes     how many at once
    seed      a whole number; nothing draws one
    apart     true: a take that is too near to a training piece is made again with another seed
    recipe    instead of all others: {"facts": ..., "prime": ...} of a take, which is then made exactly once more

A music object is what the page draws and plays: {"notes": [[onset, end, pitch, velocity, surprise], ...],
"pedal": [[time, value], ...], "prime_seconds": s, "seconds": s}, all in seconds.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from musicgen.app.bundled import FOLDER, bundled_primes
from musicgen.app.errors import BadInput
from musicgen.app.prime import LARGEST_PACKED, Prime, make_prime, unpack
from musicgen.app.provenance import Facts
from musicgen.app.settings import Settings, checked_seed
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.data_prep import BOS, MidiError, Performance, cut, read_midi, shifted, write_midi
from musicgen.data_prep.midi import MAX_SECONDS

Plain = Mapping[str, Any]
FIELDS = ("prime", "from", "to", "settings", "takes", "seed", "apart", "recipe")
NUMBERS = ("seconds", "temperature", "top_p", "min_p")
SETTINGS = (*NUMBERS, "latents", "context", "top_k", "end")
FACTS_FLOATS = ("join_seconds", "ended")
SETTINGS_FLOATS = (*NUMBERS, "prime_seconds")
WHOLES = ("latents", "context", "top_k")


@dataclasses.dataclass(frozen=True)
class Order:
    """A checked wish.

    settings: resolved; ``seconds`` of each take.
    takes: how many pieces.  seed: None draws one.
    again: (B, row from 1) of the batch a take was made in, to make it exactly once more.
    apart: whether takes are compared with the training set, and are made again if they are too near to it.  A take that
        is made exactly once more is compared if it was before, and stays as it is.
    """

    settings: Settings
    prime: Prime | None
    takes: int
    seed: int | None
    again: tuple[int, int] | None
    apart: bool = False

    @property
    def before(self) -> np.ndarray:
        """int16[P] the tokens that are continued."""
        return self.prime.tokens if self.prime is not None else np.array([BOS], np.int16)


def order_of(wish: object, dials: Dials, sha256: str, limits: Limits) -> Order:
    """Check a wish for the weights of this SHA-256.  Raises BadInput with the first thing that is wrong."""
    wish = plain_object("the request", wish)
    for name in wish:
        if name not in FIELDS:
            raise BadInput(f"a request has no field {name[:40]!r}: it may have {', '.join(FIELDS)}")
    if wish.get("recipe") is not None:
        return order_again(plain_object("the recipe", wish["recipe"]), dials, sha256, limits)
    settings = settings_of(plain_object("settings", wish.get("settings") or {}), dials, limits)
    takes = whole("takes", wish.get("takes", 1), 1, limits.takes)
    seed = wish.get("seed")
    if seed is not None:
        seed = checked_seed(whole("the seed", seed, 0, 2**31 - 1))
    prime = None
    if wish.get("prime") is not None:
        music, digest = music_of(wish["prime"], limits)
        prime, seconds = trimmed(music, digest, seconds_of("from", wish), seconds_of("to", wish), limits)
        settings = dataclasses.replace(settings, prime_seconds=seconds)
    return Order(settings, prime, takes, seed, None, _truth("apart", wish.get("apart", False)))


def order_again(recipe: Plain, dials: Dials, sha256: str, limits: Limits) -> Order:
    """The order that makes a take exactly once more, from its facts and its packed prime.  Raises BadInput."""
    facts = Facts.from_json(json.dumps(_floats(recipe.get("facts"))))
    settings = facts.settings
    if facts.checkpoint_sha256 != sha256:
        raise BadInput(
            f"this take was made with other weights ({facts.checkpoint}, {facts.checkpoint_sha256[:12]}): only they"
            " can make it again"
        )
    if settings.seconds > limits.seconds or settings.num_samples > limits.rows:
        raise BadInput("this take is longer, or of a larger batch, than is made here: use musicgen replay")
    dials.checked(settings.latents, settings.context)
    prime = None
    if facts.prime_sha256 is not None:
        packed = recipe.get("prime")
        if not isinstance(packed, str) or len(packed) > LARGEST_PACKED:
            raise BadInput("the music that this take continues is missing: open its MIDI file instead")
        prime = unpack(packed, settings.prime_seconds, facts.prime_sha256)
        if prime.seconds > limits.prime_seconds or len(prime.performance) > limits.upload_notes:
            raise BadInput("the music that this take continues is too long to be made here: use musicgen replay")
    again = (settings.num_samples, facts.sample)
    return Order(settings, prime, 1, facts.seed, again, facts.memorisation is not None)


def music_of(source: object, limits: Limits) -> tuple[Performance, str]:
    """The music of a wish's prime, and the SHA-256 of its MIDI file.  Raises BadInput."""
    source = plain_object("the prime", source)
    if len(source) != 1:
        raise BadInput("a prime is one of shipped, midi and music")
    ((kind, value),) = source.items()
    if kind == "shipped":
        if value not in bundled_primes():
            raise BadInput(f"there is no opening {str(value)[:40]!r} here: choose one of {', '.join(bundled_primes())}")
        data = (FOLDER / f"{value}.mid").read_bytes()
    elif kind == "midi":
        data = midi_bytes(value, limits)
    elif kind == "music":
        data = write_midi(performance_of(value, limits), None)
    else:
        raise BadInput(f"a prime is one of shipped, midi and music, not {str(kind)[:40]!r}")
    return parsed(data, limits)[0], hashlib.sha256(data).hexdigest()


def midi_bytes(text: object, limits: Limits) -> bytes:
    """The bytes of a MIDI file sent as base64.  Raises BadInput if it is none or too large."""
    largest = f"{limits.upload_bytes / 1e6:g} MB are the most"
    if not isinstance(text, str):
        raise BadInput("a MIDI file is sent as base64 text")
    if len(text) > limits.upload_bytes * 4 / 3 + 4:
        raise BadInput(f"this file is too large ({largest}): choose a MIDI file of one piano piece")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("the file did not arrive whole: choose it again") from None
    if len(data) > limits.upload_bytes:
        raise BadInput(f"this file is too large ({largest}): choose a MIDI file of one piano piece")
    return data


def parsed(data: bytes, limits: Limits) -> tuple[Performance, tuple[str, ...]]:
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


def performance_of(music: object, limits: Limits) -> Performance:
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


def trimmed(
    music: Performance, digest: str, start: float | None, stop: float | None, limits: Limits
) -> tuple[Prime, float | None]:
    """The prime between two times of a performance, and the ``prime_seconds`` that settings need to make it again.

    Raises BadInput if nothing is left, or too much.
    """
    if start is not None and start > 0:
        music = cut(music, start, np.inf)
        if not len(music):
            raise BadInput("there is no note after the beginning you chose: move it to the left")
        data = write_midi(shifted(music, -start), None)
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


def settings_of(values: Plain, dials: Dials, limits: Limits) -> Settings:
    """The settings in a wish, resolved.  Raises BadInput."""
    for name in values:
        if name not in SETTINGS:
            raise BadInput(f"there is no setting {name[:40]!r}: there are {', '.join(SETTINGS)}")
    chosen: dict[str, Any] = {}
    if values.get("end") is not None:
        chosen["end"] = _truth("end", values["end"])
    for name in NUMBERS:
        if values.get(name) is not None:
            chosen[name] = _number(name, values[name])
    for name in WHOLES:
        if values.get(name) is not None:
            chosen[name] = whole(name, values[name], 0, 2**31 - 1)
    if chosen.get("seconds", 0.0) > limits.seconds:
        raise BadInput(f"{chosen['seconds']:g} seconds are too long, {limits.seconds:g} are the most: ask for less")
    M, N = dials.checked(chosen.pop("latents", None), chosen.pop("context", None))
    try:
        return Settings.of(**chosen, latents=M, context=N)
    except BadInput as error:
        raise BadInput(str(error).removeprefix("--")) from None


def _floats(facts: object) -> object:
    """Facts that have been through JavaScript, which writes 5.0 as 5, with their fractional numbers as such again."""
    if not isinstance(facts, Mapping) or not isinstance(facts.get("settings"), Mapping):
        return facts
    return {**_as_float(facts, FACTS_FLOATS), "settings": _as_float(facts["settings"], SETTINGS_FLOATS)}


def _as_float(values: Plain, names: Sequence[str]) -> dict[str, Any]:
    fractional = {name: values.get(name) for name in names}
    return {**values, **{name: float(value) for name, value in fractional.items() if type(value) is int}}


def plain_object(name: str, value: object) -> Plain:
    """The value itself, which must be a JSON object.  Raises BadInput that calls it by its name."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadInput(f"{name} must be a JSON object")
    return value


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{name} must be true or false, not {str(value)[:40]!r}")
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{name} must be a number, not {str(value)[:40]!r}")
    return float(value)


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number in these bounds.  Raises BadInput."""
    number = _number(name, value)
    if number != int(number) or not least <= number <= most:
        raise BadInput(f"{name} must be a whole number between {least} and {most}, not {number:g}")
    return int(number)


def seconds_of(name: str, wish: Plain) -> float | None:
    """A time in a wish, None if it is left out.  Raises BadInput."""
    value = wish.get(name)
    if value is None:
        return None
    number = _number(name, value)
    if number < 0:
        raise BadInput(f"{name} must not be negative")
    return number
