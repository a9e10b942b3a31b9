"""What every request holds, of notes or of sound: settings, takes and seed."""

from __future__ import annotations

from typing import Any

from musicgen.app.controls import CONTROLS
from musicgen.app.errors import BadInput
from musicgen.app.settings import LARGEST_SEED, NAMES, Settings
from musicgen.app.web.checks import Plain, number, plain_object, truth, whole
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits

COMMON = ("prime", "from", "to", "settings", "takes", "seed")
ELSEWHERE = ("prime_seconds", "keep_prime", "num_samples")  # what a request says by `to`, `takes`, or not at all
SETTINGS = {name: control for control in CONTROLS if (name := control.name) in NAMES and name not in ELSEWHERE}
READ = {bool: truth, float: number, int: whole}


def parse_common(
    body: Plain, fields: tuple[str, ...], dials: Dials, limits: Limits
) -> tuple[Settings, int, int | None]:
    """Settings, resolved; how many takes; the seed, None for any.

    Args:
        body: the request, which may have these `fields`; settings, takes and seed may be left out.
        dials: which latents and context are offered.
        limits: the most seconds and takes.

    Raises:
        BadInput: the first thing that is wrong.
    """
    for name in body:
        if name not in fields:
            raise BadInput(f"a request has no field {name[:40]!r}: it may have {', '.join(fields)}")
    settings = parse_settings(plain_object("settings", body.get("settings") or {}), dials, limits)
    takes = whole("takes", body.get("takes", 1), 1, limits.takes)
    seed = whole("the seed", body["seed"], 0, LARGEST_SEED) if body.get("seed") is not None else None
    return settings, takes, seed


def parse_settings(values: Plain, dials: Dials, limits: Limits) -> Settings:
    """The settings by their names, resolved.  Raises BadInput."""
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        if name not in SETTINGS:
            raise BadInput(f"there is no setting {name[:40]!r}: there are {', '.join(SETTINGS)}")
        if value is not None:
            kind = SETTINGS[name].kind
            chosen[name] = READ[kind](name, value) if kind in READ else value  # a choice: `Settings` knows which
    if chosen.get("seconds", 0.0) > limits.seconds:
        raise BadInput(f"{chosen['seconds']:g} seconds are too long, {limits.seconds:g} are the most: ask for less")
    M, N = dials.checked(chosen.pop("latents", None), chosen.pop("context", None))
    try:
        return Settings.of(**chosen, latents=M, context=N)
    except BadInput as error:
        raise BadInput(str(error).removeprefix("--")) from None
