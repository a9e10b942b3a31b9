"""Files appear whole or not at all, and the same content is the same bytes."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


def npz_bytes(arrays: Mapping[str, np.ndarray], level: int | None = None) -> bytes:
    """An .npz of arrays, the same bytes on every machine.  level: 1 to 9 of zlib; None stores them as they are.

    np.savez would do, but leaves the time stamp and the system in the headers to the zipfile module of the day.
    """
    how = zipfile.ZIP_STORED if level is None else zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how, compresslevel=level) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr, member.compress_type = 3, 0o644 << 16, how
            content = io.BytesIO()
            npy.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue())
    return buffer.getvalue()


@contextlib.contextmanager
def replacing(path: Path, beside: str | None = None) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; rename it over ``path`` when the body ends well, else remove it.

    beside: its name; None for a hidden one with the suffix of ``path``, since audio libraries choose the format by it.

    Raises OSError; a kill or a full disk leaves the old file or none, never a part of one.
    """
    # The name is known before the file is there: a signal at any moment finds what to remove.
    temporary = path.with_name(beside or f".{path.name[:40]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some file systems report a full disk only here
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all; what a killed process leaves ends in .tmp."""
    with replacing(path, f"{path.name}.{os.getpid()}.tmp") as temporary:
        temporary.write_bytes(data)
