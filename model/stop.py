"""Ctrl-C and SIGTERM: a command unwinds at once, and work that has something to keep ends where it is whole."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
COMPUTING = "computing of what may be stopped"  # the name of threads
AT_ONCE = 0.0  # patience with what loses nothing when it is left, such as compiling
PATIENCE = 1.5  # seconds that a computation still has when it is to stop: a command has five in all
POLL = 0.1
MOMENT = 0.02  # seconds

_came: list[int] = []  # signals that have raised something


class Left(Exception):
    """Work is to stop, and a computation is not done, or not begun; nobody waits for it."""

    def __init__(self, exit_code: int = 0) -> None:
        """exit_code: that of the signal."""
        super().__init__()
        self.exit_code = exit_code


def heard() -> list[signal.Signals]:
    """Those of `SIGNALS` that the process listens to: a shell lets a command in its background ignore Ctrl-C."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def unwind_on_signals() -> None:
    """On Ctrl-C and SIGTERM, raise KeyboardInterrupt or SystemExit, so that no temporary file stays."""
    _came.clear()
    if threading.current_thread() is threading.main_thread():
        for number in heard():
            signal.signal(number, _unwind)


def unwinding() -> int:
    """The exit code of the signal that has raised something, as shells report it; 0 if there was none.

    It may come out of a library as another error, which then says nothing.
    """
    return 128 + _came[-1] if _came else 0


def once_more(lost: type[BaseException] | None) -> None:
    """Raise again what a signal has raised where Python has to pass over it, such as in a callback of C."""
    if _came and lost is not None and issubclass(lost, KeyboardInterrupt | SystemExit):
        _send(_came[-1])


def _unwind(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    if frame is not None and (_in_callback(frame) or _in_extension(frame)):
        _send(number)
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        sys.exit(128 + number)


def _in_callback(frame: FrameType) -> bool:
    """Whether it is one of the garbage collector's: JAX has such, and what is raised in one is lost."""
    return any(frame.f_code is getattr(one, "__code__", None) for one in gc.callbacks)


def _in_extension(frame: FrameType | None) -> bool:
    """Whether a module written in C is being imported: those of JAX crash if that is broken off."""
    while frame is not None:
        if frame.f_code.co_name == "_load_unlocked":  # of importlib
            loader = getattr(frame.f_locals.get("spec"), "loader", None)
            if isinstance(loader, ExtensionFileLoader):
                return True
        frame = frame.f_back
    return False


def _send(number: int) -> None:
    """To this process, a moment later."""
    timer = threading.Timer(MOMENT, os.kill, [os.getpid(), number])
    timer.daemon = True
    timer.start()


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

    def wait_for(
        self,
        compute: Callable[..., Result],
        *given: Any,
        patience: float = PATIENCE,
        keeps: Callable[[], bool] = lambda: False,
    ) -> Result:
        """What compute(*given) comes to.  It goes on in a thread, so that the main one hears signals.

        patience: so many seconds after a signal it is left.  Without any, nothing is begun after one.
        keeps: whether it has something to keep by then; if so, it sees itself that it is to stop, and is waited for.

        Raises Left if there is a signal and it is not done in time.
        """
        if self and not patience:
            raise Left(self.exit_code)
        done: list[Result] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                done.append(compute(*given))
            except BaseException as error:  # for the main thread
                failed.append(error)

        thread = threading.Thread(target=run, name=COMPUTING, daemon=True)
        thread.start()
        left_at = float("inf")
        while thread.is_alive() and (time.monotonic() < left_at or keeps()):
            thread.join(POLL)
            if self and left_at == float("inf"):
                left_at = time.monotonic() + patience
        if failed:
            raise failed[0]
        if not done:
            raise Left(self.exit_code)
        return done[0]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__(None, None, None)


def still_computing() -> bool:
    """Whether something that nobody waits for goes on: the process can only end by os._exit."""
    return any(thread.name.startswith(COMPUTING) for thread in threading.enumerate())
