"""What the server prints, with a bound: whoever makes it complain can't fill the disk."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

MINUTE = 60.0


class BoundedStream:
    """A text stream that takes so many letters a minute, and then says how many it has left out."""

    def __init__(self, stream: TextIO, most: int) -> None:
        """stream: where it goes.  most: letters a minute."""
        self.stream, self.most = stream, most
        self.began = time.monotonic()
        self.written = self.left_out = 0

    def write(self, text: str) -> int:
        """As of any text stream."""
        now = time.monotonic()
        if now - self.began > MINUTE:
            if self.left_out:
                self.stream.write(f"\nmusicgen: {self.left_out:,} more letters of such lines are left out\n")
            self.began, self.written, self.left_out = now, 0, 0
        if self.written + len(text) > self.most:
            self.left_out += len(text)
        else:
            self.written += len(text)
            self.stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.stream, name)


@contextlib.contextmanager
def bounded_output(most: int) -> Iterator[None]:
    """Bound what this process prints, whichever library does it.  most: letters a minute."""
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (BoundedStream(stream, most) if stream is not None else None for stream in given)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = given
