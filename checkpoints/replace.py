"""A folder whose contents are replaced as one: killed at any moment, either the old files or the new ones are whole.

    1. write weights.new      beside the folder, until every byte of it is on the disk
    2. weights -> weights.old
    3. weights.new -> weights
    4. remove weights.old

Only between 2 and 3 is there no folder `weights`; `current` then finds the old one.  What a killed run has left is
removed, or given its name back, by the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def current(folder: Path, witness: str) -> Path:
    """The folder that now holds whole files, `folder` or what it was a moment ago; `witness` is one of its files."""
    old = _beside(folder, "old")
    return old if not (folder / witness).is_file() and (old / witness).is_file() else folder


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder; when the body ends well, it takes the place of `folder`.  Raises OSError."""
    new, old = _beside(folder, "new"), _beside(folder, "old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir(parents=True)
    try:
        yield new
        for path in (*new.rglob("*"), new):
            _sync(path)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
        raise
    _sync(folder.parent)  # the new name is on the disk before the old files go
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.parent / f"{folder.name}.{suffix}"


def _sync(path: Path) -> None:
    """Wait until a file's bytes or a folder's names are on the disk; Windows opens no folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
