"""Native libraries that write to the terminal on their own: what they find is told by us, in one line."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0  # how many are silencing at the moment: all threads have the same standard error
_kept = -1


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Let nothing out at the file descriptor of standard error; keep it short, other threads are not heard either."""
    _close()
    try:
        yield
    finally:
        _open()


def _close() -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside == 1:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be no standard error
                sys.stderr.flush()
                _kept = os.dup(2)
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, 2)
                os.close(nothing)


def _open() -> None:
    global _inside, _kept
    with _lock:
        _inside -= 1
        if _inside == 0 and _kept >= 0:
            os.dup2(_kept, 2)
            os.close(_kept)
            _kept = -1
