"""What a start of the page finds out or makes, kept in the user's cache folder for the next ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from musicgen.app.output import cache_folder
from musicgen.app.version import version
from musicgen.data_prep.files import replacing
from musicgen.model.cpu.threads import cores

LATELY = 86_400.0  # seconds for which a measurement holds: who knows what else the machine had to do just then


def place(part: str, *of: object) -> Path | None:
    """The file of something of this kind, by all that has a say in it; None if there is no home folder."""
    try:
        return cache_folder(part) / hashlib.sha256(repr((version(), *of)).encode()).hexdigest()
    except RuntimeError:
        return None


def read(file: Path | None, seconds: float | None = None) -> bytes | None:
    """What is kept there; None if it is nothing, or older than so many seconds."""
    with contextlib.suppress(OSError):
        if file is not None and (seconds is None or abs(time.time() - file.stat().st_mtime) < seconds):
            return file.read_bytes()
    return None


def keep(file: Path | None, data: bytes) -> None:
    """Keep it, if that can be: else the next start makes it anew."""
    if file is not None:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_bytes(data)


def measured(*of: object) -> Path | None:
    """The file of what has been measured of something on this machine."""
    return place("speeds", platform.node(), platform.machine(), cores(), *of)


def read_numbers(file: Path | None) -> dict[str, float]:
    """What has been measured of late, by name; nothing if that is not whole."""
    try:
        told = json.loads(read(file, LATELY) or b"{}")
        numbers = {str(name): float(value) for name, value in told.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
    return numbers if all(0 < value < math.inf for value in numbers.values()) else {}


def keep_numbers(file: Path | None, numbers: Mapping[str, float]) -> None:
    """Keep what has been measured."""
    keep(file, json.dumps(dict(numbers)).encode())
