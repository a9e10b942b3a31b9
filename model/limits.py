"""The largest numbers in a config, which anybody may have written: far beyond use, but not all of memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAYERS = 512
WIDTH = 2**16
CONTEXT = 2**22
VOCABULARY = 2**20
CODEBOOKS = 256
HOP = 2**16
SAMPLE_RATE = 2**20


def check_whole(values: Mapping[str, Any], bounds: Mapping[str, tuple[int, int]]) -> None:
    """Raise ValueError for the first of the values that is no whole number, or none between its bounds."""
    for name, (least, most) in bounds.items():
        value = values[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, not {str(value)[:40]!r}")
