"""What a reader tells the harness of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reader:
    """One reader of files from strangers.

    seeds: files that it reads, or nearly, to be mutated; they are made here, none is committed.
    read: reads bytes; it may write them as one file into the folder, which is empty, and nothing else may stay there.
    refusals: what it may raise, with one printable line. Everything else is a fault.
    most: bytes of an input.
    text: the inputs are JSON; most of them stay so.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    refusals: tuple[type[Exception], ...]
    most: int = 300_000
    text: bool = False
