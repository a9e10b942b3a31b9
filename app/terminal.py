"""What the command prints, as plain text: names of files and what files say of themselves may be a stranger's."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from musicgen.app.errors import plain

LAYOUT = ("\n", "\t")
INSTEAD: dict[str, str] = {}  # what is shown in the place of paths: the addresses that they stand for (addresses.py)
RESET = "\x1b[0m"  # which colorama, of Numba's, writes to a terminal at the end of the process


class PlainStream:
    """A text stream on which control characters appear as their escapes.

    Lines, tabs and, at the beginning of a write, the carriage return of a progress bar are left alone.  For paths that
    stand for addresses, these are shown.
    """

    def __init__(self, stream: TextIO) -> None:
        """stream: where it goes."""
        self.stream = stream

    def write(self, text: str) -> int:
        """As of any text stream."""
        if text == RESET:  # nothing here is coloured
            return len(text)
        text = shown(text)
        bar = "\r" if text.startswith("\r") else ""
        rest = text[len(bar) :]
        return self.stream.write(bar + "".join(one if one in LAYOUT else plain(one) for one in rest))

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.stream, name)


def shown(text: str) -> str:
    """The text with addresses in the place of the paths that stand for them."""
    for path, address in INSTEAD.items():
        text = text.replace(path, address)
    return text


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Let nothing foreign reach the terminal, whoever prints it."""
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (PlainStream(stream) if stream is not None else None for stream in given)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = given
        INSTEAD.clear()
