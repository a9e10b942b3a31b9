"""Which files weights were trained on: `training_files.txt` in their folder, the start of each file's sha256 a line.

It is no part of what a checkpoint is, and other weights have none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

FILE = "training_files.txt"
HASH = 16  # hexadecimal digits
MOST = 64 << 20  # bytes read: four million files


def read_training_files(folder: Path, name: str = FILE) -> frozenset[str]:
    """The first digits of the hashes; none if the folder does not say.  name: of another list of files in this form."""
    with contextlib.suppress(OSError, UnicodeDecodeError), (folder / name).open("rb") as file:
        return frozenset(file.read(MOST).decode("ascii").split())
    return frozenset()


def write_training_files(folder: Path, hashes: Iterable[str]) -> None:
    """Write those of these files, in place of what stood there.  Raises OSError."""
    beside = folder / f"{FILE}.tmp"
    beside.write_text("".join(f"{digits}\n" for digits in sorted({digest[:HASH] for digest in hashes})))
    beside.replace(folder / FILE)
