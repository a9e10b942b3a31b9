"""Files appear whole or not at all, and the same content is the same bytes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LEFT_FILE = re.compile(r"\..{1,40}\.musicgen-[0-9a-f]{8}(\.\w*)?(\.new)?", re.DOTALL)
LEFT_FOLDER = re.compile(r"musicgen-temporary-\w{8}")
LOCK = ".lock"  # in a folder while a job writes it
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)
ABANDONED = 60.0  # seconds without a change
NPZ_MEMBERS = 100
# What NumPy writes before an array of numbers, and all that is read: its own reader evaluates what stands there.
NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '([<|][a-zA-Z]\d{1,2})', 'fortran_order': False,"
    rb" 'shape': \(([\d, ]{0,80})\), \} *\n",
    re.DOTALL,
)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading; a pipe nobody writes to would keep us waiting for ever, a device never ends.

    Raises OSError, for these with the number of "illegal seek".
    """
    nonblocking = getattr(os, "O_NONBLOCK", 0)  # or opening a pipe waits, too
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | nonblocking))  # noqa: SIM115  # returned
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.ESPIPE, "it is a pipe or a device, not a file", os.fspath(path))
    return file


def checksum(path: Path, kind: str) -> str:
    """The sum of a file that may be larger than memory, of a kind such as "sha256", as hexadecimal digits.

    Raises OSError.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, kind).hexdigest()


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a file, `most` of them.  Raises OSError, as `open_regular`, and for a larger one."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", os.fspath(path))
    return data


def read_npz(data: bytes, most: int) -> dict[str, np.ndarray]:
    """The arrays of numbers in an .npz from anybody, `most` bytes of them in all.  Raises ValueError for any other."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > NPZ_MEMBERS:
                raise ValueError(f"it has {len(members)} parts, {NPZ_MEMBERS} are the most")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack unbounded
                    raise ValueError("it is packed in another way than ours")
                with archive.open(member) as stream:
                    content = stream.read(most + 1)
                most -= len(content)
                if most < 0:
                    raise ValueError("it unpacks to more than such a file can hold")
                arrays[member.filename.removesuffix(".npy")] = _array(content)
    except ValueError:
        raise
    except Exception as error:  # zipfile and zlib have many ways to say that bytes are damaged
        raise ValueError(f"no archive, or not a whole one: {type(error).__name__}") from None
    return arrays


def _array(content: bytes) -> np.ndarray:
    header = NPY_HEADER.match(content)
    if header is None:
        raise ValueError("a part of it is no array of numbers")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[2].replace(b" ", b"").split(b",") if size)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - header.end():
        raise ValueError("an array in it is cut off")
    return np.frombuffer(content, dtype, math.prod(shape), header.end()).reshape(shape)


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
    What killed processes left under such names goes, too.

    Raises OSError; a kill or a full disk leaves the old file or none, never a part of one.
    """
    # The name is known before the file is there: a signal at any moment finds what to remove.
    temporary = path.with_name(beside or f".{path.name[:40]}.musicgen-{secrets.token_hex(4)}{path.suffix}")
    if beside is None:
        clear_abandoned(path.parent, LEFT_FILE)
    try:
        temporary.unlink(missing_ok=True)
        with _new_file(temporary):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # some file systems report a full disk only here
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[None]:
    """Make an empty file and hold it; it has its name only from when it is held on, so that nobody clears it."""
    how = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    if fcntl is None:
        os.close(os.open(path, how, 0o666))
        yield
        return
    begun = path.with_name(f"{path.name}.new")
    try:
        with _held(os.open(begun, how, 0o666)):
            begun.rename(path)
            yield
    finally:
        begun.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, which goes with all that is in it, as do those of processes that were killed."""
    with tempfile.TemporaryDirectory(prefix="musicgen-temporary-") as name:
        folder = Path(name)
        clear_abandoned(folder.parent, LEFT_FOLDER)
        if fcntl is None:
            yield folder
            return
        with _held(os.open(folder, os.O_RDONLY)):
            yield folder


def clear_abandoned(folder: Path, left: re.Pattern[str]) -> None:
    """Remove what killed processes left in a folder: what has such a name and nobody holds.

    What another process may not have begun to hold yet is left for a minute.
    """
    if fcntl is None:
        return
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if left.fullmatch(entry.name)]
    except OSError:
        return  # whoever writes there will say why not
    for path in found:
        with contextlib.suppress(OSError):  # somebody holds it, or was faster
            status, young = path.lstat(), left is LEFT_FOLDER or path.suffix == ".new"
            if status.st_uid == os.getuid() and not (young and time.time() - status.st_mtime < ABANDONED):
                _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(handle)


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    """Show that its writer lives, for as long as that is so: a lock ends with its process, however that ends."""
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some file systems have no locks; then nothing is cleared there
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of this file, which is made if it is not there, and give whether it was free.

    The system lets go of it when the process ends, however it ends; the file stays, and who removes it holds it. A file
    system without locks has it always free. Raises OSError.
    """
    with path.open("ab") as file:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # of Windows
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK, *NO_LOCKS):
                raise
            yield error.errno in NO_LOCKS
            return
        yield _is_there(file, path)


def _is_there(file: io.BufferedWriter, path: Path) -> bool:
    """Whether the path still leads to this file: its last holder may have removed it meanwhile."""
    try:
        return os.name == "nt" or os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write ``data``, or all its parts, to ``path``, whole or not at all; what a killed process leaves ends in .tmp."""
    with replacing(path, unfinished(path)) as temporary, temporary.open("wb") as file:
        file.writelines([data] if isinstance(data, bytes) else data)


def unfinished(path: Path) -> str:
    """The name of a file while this process writes it; those of other hosts, which may share the folder, differ."""
    return f"{path.name}.{platform.node()[:40]}-{os.getpid()}.tmp"
