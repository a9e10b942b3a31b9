"""Where files go: checked before the work is done, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write

MIDI_SUFFIXES = (".mid", ".midi")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
PICTURE_SUFFIXES = (".png", ".svg")
STDIN, STDOUT = Path("<stdin>"), Path("<stdout>")  # what a person writes as -


def check_output(path: str | os.PathLike[str], suffixes: Sequence[str], option: str) -> Path:
    """The path of a file that is going to be written, after every check that can be made before the work is done.

    '-' is STDOUT, where `write_bytes` can write; sound goes to files only.

    Args:
        path: where the file shall go.
        suffixes: the file types that can be written there, lower case, with the dot.
        option: the command-line option it came from, for the message.

    Raises:
        BadInput: wrong suffix, missing folder, or a folder of that name.
        EnvironmentProblem: the place cannot be written to.
    """
    target = Path(path)
    if str(path) == "-" and suffixes is not AUDIO_SUFFIXES:
        return STDOUT
    if target.suffix.lower() not in suffixes:
        raise BadInput(f"{option} {target} must end in {_either(suffixes)}{_other_option(target)}")
    try:
        if target.is_dir():
            raise BadInput(f"{option} {target} is a folder: give a file name inside it, such as {target / 'new'}.mid")
        if not target.parent.is_dir():
            raise BadInput(f"{option} {target}: there is no folder {target.parent}; make it first (mkdir -p)")
        # The mode is asked, not access(2): the superuser, too, marked this file read-only for a reason.
        if target.exists() and not stat.S_IMODE(target.stat().st_mode) & 0o222:
            raise EnvironmentProblem(f"{target} is marked read-only: choose another name or chmod u+w it")
        handle, probe = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise cannot_write(target, error) from None
    return target


def make_folder(path: str, option: str) -> Path:
    """The folder of that name, made if it is not there.  Raises BadInput if a file is, or EnvironmentProblem."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadInput(f"{option} {folder} is a file: give a folder") from None
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


@contextlib.contextmanager
def new_folder(path: str, option: str) -> Iterator[Path]:
    """`make_folder`; what it made goes again if the body fails and has put nothing there."""
    missing = [each for each in (Path(path), *Path(path).parents) if not each.exists()]
    folder = make_folder(path, option)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            for each in missing:
                each.rmdir()
        raise


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other jobs out of a folder, also until this one was killed.

    Raises BadInput if one is writing there, EnvironmentProblem if nobody can.
    """
    from musicgen.data_prep.files import LOCK, locked

    lock = folder / LOCK
    with contextlib.ExitStack() as held:
        try:
            free = held.enter_context(locked(lock))
        except OSError as error:
            raise cannot_write(folder, error) from None
        if not free:
            raise BadInput(f"another job is writing {folder}: wait for its end, or give another folder")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes none that is open
                lock.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`musicgen.data_prep.files.replacing`, whose OSError becomes EnvironmentProblem."""
    from musicgen.data_prep import files  # here: a complaint about a mistyped path needs no NumPy

    try:
        with files.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise cannot_write(path, error) from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all.  Raises EnvironmentProblem when it cannot be written."""
    if path == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def numbered(path: Path, count: int) -> list[Path]:
    """``new.mid`` itself for one sample; ``new-1.mid``, ``new-2.mid``... for several.

    Raises BadInput for several on standard output.
    """
    if count == 1:
        return [path]
    if str(path) == "-":
        raise BadInput(f"standard output holds one piece, not {count}: give --out new.mid")
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def cache_folder(part: str) -> Path:
    """Where a part of what can be made anew is kept: musicgen/PART in the user's cache folder.

    Raises RuntimeError if there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".cache") / "musicgen" / part


def data_folder(part: str) -> Path:
    """Where a part of what a person has made and nobody can make anew is kept: musicgen/PART in the user's data folder.

    Raises RuntimeError if there is no home folder.
    """
    base = os.environ.get("XDG_DATA_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".local" / "share") / "musicgen" / part


def _either(suffixes: Sequence[str]) -> str:
    return " or ".join((", ".join(suffixes[:-1]), suffixes[-1])) if len(suffixes) > 1 else suffixes[0]


def _other_option(target: Path) -> str:
    """A pointer to the option that does write such a file."""
    suffix = target.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return f"; for sound there is --audio {target.name} and `musicgen render`"
    if suffix in PICTURE_SUFFIXES:
        return "; for a picture there is `musicgen roll`"
    return ""
