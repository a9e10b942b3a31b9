"""What is asked for a passage, or for an accompaniment: JSON, checked field by field, to a request for the scheduler.

    piece       {"shipped": "bach"}, {"midi": base64 of a MIDI file} or {"music": a music object}
    start, stop seconds: the passage that is written anew; of an accompaniment, the part that is accompanied
    settings, takes, seed   as for generation; a passage has its own length, so there are no seconds and no end

    pitches     [lowest, highest]: the others' notes stay
    hand        "left" or "right": only what this hand plays, or is to play
    keep_track  the name of a track whose notes stay
    amount      0 to 1: the share of the passage's notes that is new
    pedal       "keep" or "new"

    apart       true: a fill that shares too much with a training piece is made again with another seed
    track       of an accompaniment: the track that is accompanied, the others go

Those before `apart` are for a passage, `hand` and `apart` are for both.  A fill is made exactly once more from its
`recipe`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from musicgen.app.errors import BadInput
from musicgen.app.fill_request import FillRequest, from_facts, mask_of, open_song, request_accompaniment, request_fill
from musicgen.app.prime import unpack_bytes
from musicgen.app.settings import Settings
from musicgen.app.web.checks import Plain, number, plain_object, seconds_of, truth, whole
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.request import parse_facts, parse_midi, parse_source
from musicgen.app.web.settings import parse_common
from musicgen.data_prep import Performance
from musicgen.data_prep.song import performance_of

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

BOTH = ("piece", "start", "stop", "hand", "settings", "takes", "seed", "apart")
PASSAGE = (*BOTH, "pitches", "keep_track", "amount", "pedal")
ACCOMPANIMENT = (*BOTH, "track")
HANDS, PEDALS = ("left", "right"), ("keep", "new")


@dataclasses.dataclass(frozen=True)
class FillAsked:
    """A checked request.

    fill: what is to be written.  kept: the piece without the notes that go.  seconds: its length.
    data: its MIDI file, if that was not sent.
    again: which row of the batch, from 1, is made exactly once more.
    avoid_copies, index: whether fills are compared with the training set, and that; as in `GenerateRequest`.
    """

    kind: ClassVar[str] = "fill"
    fill: FillRequest
    kept: Performance
    seconds: float
    data: bytes | None
    again: int | None = None
    avoid_copies: bool = False
    index: Index | None = None

    @property
    def takes(self) -> int:
        """How many fills."""
        return 1 if self.again is not None else self.fill.settings.num_samples

    @property
    def seed(self) -> int | None:
        """None draws one."""
        return self.fill.seed


def parse_fill(body: object, dials: Dials, sha256: str, limits: Limits) -> FillAsked:
    """Check a request for a passage, for the weights of this SHA-256.  Raises BadInput with the first thing that is
    wrong."""
    body = plain_object("the request", body)
    if wants_fill(body):
        return _parse_recipe(body["recipe"], sha256, limits)
    settings, seed = _settings(body, PASSAGE, dials, limits)
    amount = number("amount", body["amount"]) if body.get("amount") is not None else 1.0
    if not 0.0 <= amount <= 1.0:
        raise BadInput(f"amount must be between 0 and 1, not {amount:g}")
    if body.get("start") is None or body.get("stop") is None:
        raise BadInput("start and stop say in seconds which passage is written anew: send both")
    more = {
        "pitches": _pitches(body.get("pitches")),
        "hand": _one_of("hand", body, HANDS),
        "keep_track": _text("keep_track", body),
        "amount": amount,
        "pedal": _one_of("pedal", body, PEDALS),
    }
    return _asked(request_fill, body, settings, seed, limits, more)


def parse_accompaniment(body: object, dials: Dials, sha256: str, limits: Limits) -> FillAsked:
    """Check a request for an accompaniment.  Raises BadInput with the first thing that is wrong."""
    body = plain_object("the request", body)
    settings, seed = _settings(body, ACCOMPANIMENT, dials, limits)
    more = {"hand": _one_of("hand", body, HANDS), "track": _text("track", body)}
    return _asked(request_accompaniment, body, settings, seed, limits, more)


def wants_fill(body: object) -> bool:
    """Whether a request is for a fill that was made before, exactly once more."""
    recipe = body.get("recipe") if isinstance(body, Mapping) else None
    facts = recipe.get("facts") if isinstance(recipe, Mapping) else None
    return isinstance(facts, Mapping) and facts.get("fill") is not None


def _parse_recipe(recipe: Plain, sha256: str, limits: Limits) -> FillAsked:
    facts = parse_facts(recipe, sha256)
    packed = recipe.get("prime")
    if not isinstance(packed, str) or facts.fill is None:
        raise BadInput("the piece that this passage is of is missing: open the take's MIDI file instead")
    if facts.settings.num_samples > limits.rows:
        raise BadInput("this take is of a larger batch than is made here: use musicgen replay")
    data = unpack_bytes(packed)
    request = from_facts(facts.fill, data, facts.settings, facts.seed)
    asked = _checked(request, data, parse_midi(data, limits)[0], limits)
    return dataclasses.replace(asked, again=facts.sample, avoid_copies=facts.memorisation is not None)


def _asked(
    parse: Callable[..., FillRequest],
    body: Plain,
    settings: Settings,
    seed: int | None,
    limits: Limits,
    more: dict[str, Any],
) -> FillAsked:
    if body.get("piece") is None:
        raise BadInput("there is no piece: choose a MIDI file, or an opening, first")
    data = parse_source("piece", body["piece"], limits)
    whole, _ = parse_midi(data, limits)
    part = {name: seconds_of(name, body) for name in ("start", "stop")}
    try:
        request = parse(data, **part, **more, settings=settings, seed=seed, name="this piece")
    except BadInput as error:
        raise BadInput(_by_fields(str(error))) from None
    asked = _checked(request, data, whole, limits)
    asked = dataclasses.replace(asked, avoid_copies=truth("apart", body.get("apart", False)))
    return dataclasses.replace(asked, data=None) if "midi" in body["piece"] else asked


def _by_fields(complaint: str) -> str:
    """What the command would say, with the names that a request has in the place of its flags."""
    for flag, name in (("--from", "start"), ("--to", "stop"), ("--keep-track", "keep_track")):
        complaint = complaint.replace(flag, name)
    return re.sub(r"--(?=[a-z])", "", complaint)


def _checked(request: FillRequest, data: bytes, whole: Performance, limits: Limits) -> FillAsked:
    seconds = request.region.stop - request.region.start
    if seconds > limits.seconds:
        raise BadInput(f"{seconds:.0f} seconds are too long, {limits.seconds:g} are the most: choose a shorter part")
    song = open_song(data, "this piece")
    kept = performance_of(song.without(song.messages_of(mask_of(request, song))))
    return FillAsked(request, kept, max(whole.duration, request.region.stop), data)


def _settings(body: Plain, fields: tuple[str, ...], dials: Dials, limits: Limits) -> tuple[Settings, int | None]:
    """Settings with the number of takes in them, and the seed."""
    chosen = body.get("settings")
    for name in ("seconds", "end"):
        if isinstance(chosen, Mapping) and chosen.get(name) is not None:
            raise BadInput(f"a passage has its own length: leave the setting {name} out")
    settings, takes, seed = parse_common(body, fields, dials, limits)
    settings = dataclasses.replace(settings, num_samples=takes)
    if not isinstance(chosen, Mapping) or not (chosen.get("latents") or chosen.get("context")):
        settings = dataclasses.replace(settings, latents=None, context=None)  # as many as the passage needs
    return settings, seed


def _pitches(value: object) -> tuple[int, int]:
    if value is None:
        return (0, 127)
    if not isinstance(value, list) or len(value) != 2:
        raise BadInput("pitches are two numbers: the lowest and the highest key")
    low, high = (whole("a pitch", pitch, 0, 127) for pitch in value)
    if low > high:
        raise BadInput(f"there is no key between {low} and {high}: give the lowest first")
    return low, high


def _one_of(name: str, body: Plain, choices: tuple[str, ...]) -> Any:
    value = body.get(name)
    if value is not None and value not in choices:
        raise BadInput(f"{name} must be {' or '.join(choices)}, not {str(value)[:40]!r}")
    return value


def _text(name: str, body: Plain) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{name} must be the name of a track, not {str(value)[:40]!r}")
    return value
