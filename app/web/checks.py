"""Values of a request's JSON, checked one by one.  Each check raises BadInput that calls the value by name."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from musicgen.app.errors import BadInput

Plain = Mapping[str, Any]


def plain_object(name: str, value: object) -> Plain:
    """The value itself, which must be a JSON object."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadInput(f"{name} must be a JSON object")
    return value


def truth(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BadInput(f"{name} must be true or false, not {str(value)[:40]!r}")
    return value


def number(name: str, value: object) -> float:
    """A finite number."""
    try:
        if type(value) in (int, float) and math.isfinite(value):  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
    except OverflowError:  # a whole number of hundreds of digits
        pass
    raise BadInput(f"{name} must be a number, not {str(value)[:40]!r}")


def whole(name: str, value: object, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number in these bounds."""
    checked = number(name, value)
    if checked != int(checked) or not least <= checked <= most:
        raise BadInput(f"{name} must be a whole number between {least} and {most}, not {checked:g}")
    return int(checked)


def seconds_of(name: str, body: Plain) -> float | None:
    """A time in a request, None if it is left out."""
    if body.get(name) is None:
        return None
    seconds = number(name, body[name])
    if seconds < 0:
        raise BadInput(f"{name} must not be negative")
    return seconds


def decode_file(what: str, text: object, most: int, too_large: str) -> bytes:
    """The bytes, `most` at most, of a file sent as base64 text.  what: "MIDI file"; too_large: what is said of more."""
    if not isinstance(text, str):
        raise BadInput(f"a {what} is sent as base64 text")
    if len(text) > most * 4 / 3 + 4:
        raise BadInput(too_large)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"the {what} did not arrive whole: choose it again") from None
    if len(data) > most:
        raise BadInput(too_large)
    return data
