"""What a person is told when something cannot be done: one line, and an exit code a script can act on."""

from __future__ import annotations

import difflib
import errno
import os
import unicodedata
from collections.abc import Iterable, Sequence

BAD_INPUT = 2
ENVIRONMENT = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
TERMINATED = 143  # 128 + SIGTERM
STOPPED = "stopped; nothing more is written"
STOPPING = "the server is being stopped: try again later"


def plain(text: str) -> str:
    """The text with everything a terminal or a page would act on, such as control characters, as its escape."""
    return "".join(one if is_plain(one) else one.encode("unicode_escape").decode("ascii") for one in text)


def is_plain(text: str) -> bool:
    """Whether all of it is seen where it is shown: no control characters, no marks that turn the text around."""
    return text.isprintable() or all(one.isprintable() or unicodedata.category(one) == "Zs" for one in text)


class MusicgenError(Exception):
    """A problem a person can do something about.  The message says what is wrong and what to do, in one line."""

    exit_code = ENVIRONMENT

    def __init__(self, message: str) -> None:
        """Keep the message on one line of plain text, whatever a library or a stranger's file put into it."""
        super().__init__(plain(" ".join(message.split())))


class BadInput(MusicgenError):
    """What was asked for, or the file that was given, cannot be used.  Exit code 2."""

    exit_code = BAD_INPUT


class EnvironmentProblem(MusicgenError):
    """The request is fine, but this machine or installation cannot carry it out.  Exit code 1."""

    exit_code = ENVIRONMENT


class Busy(MusicgenError):
    """There is no room for one more at the moment."""


def cannot_use(asked: str | None, error: Exception, shipped: Sequence[str]) -> MusicgenError:
    """The error for weights that cannot be used.

    asked: their name or folder, None for the default; shipped: names of those that come with the package, which are
    not what a person got wrong.
    """
    return (EnvironmentProblem if asked is None or asked in shipped else BadInput)(str(error))


_WRITE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file would be larger than this system allows: choose another folder or raise the limit",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
    errno.EPERM: "no permission to write there: choose another folder",
    errno.ENAMETOOLONG: "the file name is too long: choose a shorter one",
}


def cannot_write(path: str | os.PathLike[str], error: OSError) -> EnvironmentProblem:
    """The error for a file that could not be written."""
    advice = _WRITE_ADVICE.get(error.errno or 0, error.strerror or str(error))
    return EnvironmentProblem(f"cannot write {os.fspath(path)}: {advice}")


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(error: BaseException | None) -> OSError | None:
    """The lack of room that is behind an error, also where a library says so in words of its own; None if none is."""
    while error is not None:
        for number in _NO_ROOM:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None


def cannot_read(path: str | os.PathLike[str], error: OSError, what: str = "file") -> MusicgenError:
    """The error for a file that could not be read; ``what`` names its part, such as 'MIDI file'."""
    name = os.fspath(path)
    if isinstance(error, FileNotFoundError):
        return BadInput(f"no such {what}: {name}")
    if isinstance(error, IsADirectoryError):
        return BadInput(f"{name} is a folder, not a {what}: give the path of one file")
    if error.errno == errno.ESPIPE:  # see `musicgen.data_prep.files.open_regular`
        return BadInput(f"{name} is a pipe or a device and no {what}: give the path of a file")
    if error.errno == errno.EFBIG:
        return BadInput(f"{name} is too large for a {what}: {error.strerror}")
    if isinstance(error, PermissionError):
        return EnvironmentProblem(f"no permission to read {name}: change its permissions or give another {what}")
    return EnvironmentProblem(f"cannot read {name}: {error.strerror or error}")


def similar(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; nothing if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""
