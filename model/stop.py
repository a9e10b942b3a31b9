"""Ctrl-C and SIGTERM to work that has something to keep: it ends where it is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def heard() -> list[signal.Signals]:
    """Those of `SIGNALS` that the process listens to: a shell lets a command in its background ignore Ctrl-C."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Stop:
    """Whether somebody has asked for the end; what can end early looks at it now and then.

    A context. The first signal is noted; the second ends the command at once, as the first does outside.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        """Whether there was a signal."""
        return self.number > 0

    def asked(self) -> bool:
        """The same, as a function to hand on."""
        return bool(self)

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells report it; 0 if there was none."""
        return 128 + self.number if self else 0

    def __enter__(self) -> Self:
        """Take the signals, which only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._note) for name in heard()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back.  What was given up for a SIGTERM leaves as that signal does elsewhere."""
        for name, handler in self._before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        if kind is KeyboardInterrupt and self.number == signal.SIGTERM:
            raise SystemExit(self.exit_code) from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__(None, None, None)
