"""A progress line on stderr: how much there is, how much was asked for, how fast it comes, how long it will take."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO

BAR = 24  # characters
REDRAW = 0.1  # seconds between redraws of a bar
SETTLING, AGREE = 1.0, 0.2  # seconds between two guesses of the whole time, and how far apart, as a part, they may be
REPORT = 10.0  # seconds between lines where there is no terminal to redraw


class Progress:
    """A bar on a terminal, a line now and then elsewhere, nothing when quiet.

    Args:
        total: how much there will be, or 0 when that is not known.
        unit: what is counted, such as 's of music'.
        quiet: print nothing at all.
        realtime: the count is seconds of music, so that its speed is a multiple of real time.
        stream: where to print; stderr unless told.
    """

    def __init__(
        self, total: float, unit: str, *, quiet: bool = False, realtime: bool = False, stream: TextIO | None = None
    ) -> None:
        """Print nothing yet."""
        self.total = total
        self.unit = unit
        self.realtime = realtime
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet
        self.terminal = not quiet and self.stream.isatty()
        self.first: tuple[float, float] | None = None  # what was there first, and when
        self.last = time.monotonic()
        self.guess: tuple[float, float] | None = None  # when, and how many seconds all takes
        self.steady = False  # whether two guesses in a row have agreed
        self.width = 0
        self.begun = False  # whether a part has ever been there

    def note(self, text: str) -> None:
        """A passing remark, such as what is being waited for; the bar takes its place."""
        if self.terminal:
            self._draw(text[: self._columns()])

    def update(self, done: float, extra: str = "") -> None:
        """Show that ``done`` of the total is there.

        Speed and time left are those since the first part was there: before it, and after 0, one waits for files to be
        read and programs to be compiled. The time left is shown once it no longer jumps.
        """
        now = time.monotonic()
        self.begun |= done > 0
        if done == 0:
            self.first, self.last, self.guess, self.steady = None, now, None, False
        elif self.first is None:
            self.first = done, now
        before, began = self.first or (done, now)
        self._guess(now, done - before, self.total - before, now - began)
        if self.quiet or now - self.last < (REDRAW if self.terminal else REPORT):
            return
        self.last = now
        if self.terminal:
            self._draw(self.line(done, now - began, before, extra, self._columns(), self.steady))
        else:
            line = self.line(done, now - began, before, extra, left=self.steady)
            print(f"musicgen: {line}", file=self.stream, flush=True)

    def _guess(self, now: float, done: float, total: float, elapsed: float) -> None:
        if done <= 0 or total <= 0 or (self.guess is not None and now - self.guess[0] < SETTLING):
            return
        whole = elapsed * total / done
        self.steady |= self.guess is not None and abs(whole - self.guess[1]) <= AGREE * whole
        self.guess = now, whole

    def line(
        self, done: float, elapsed: float, before: float = 0.0, extra: str = "", width: int = 1000, left: bool = True
    ) -> str:
        """The text for ``done``, ``before`` of it there ``elapsed`` seconds ago; as much of it as there is room for.

        left: whether the time left is a part of it.
        """
        rate = (done - before) / elapsed if elapsed > 0 else 0.0
        if self.total:
            done = min(done, self.total)  # sound rings on after the music that was counted
        number = f"{done:.1f}" if self.realtime else f"{done:,.0f}"
        if not self.total:
            return f"{number} {self.unit}" + (f"  {extra}" if extra else "")
        share = done / self.total
        whole = f"{self.total:g}" if self.realtime else f"{self.total:,.0f}"
        speed = "" if rate <= 0 else f"{figure(rate)}x real time" if self.realtime else f"{figure(rate)}/s"
        to_go = f"{clock((self.total - done) / rate)} left" if left and rate > 0 else ""
        filled = round(share * BAR)
        bar = f"[{'#' * filled}{'.' * (BAR - filled)}] "
        counted = f"{number} / {whole} {self.unit}"
        short = (counted, to_go), (f"{share:.0%}", to_go)
        for parts in ((counted, speed, to_go, extra), (counted, speed, to_go), *short):
            text = "  ".join(part for part in parts if part)
            if len(bar + text) <= width:
                return bar + text
            if len(text) <= width:
                return text
        return f"{share:.0%}"

    def close(self) -> None:
        """Clear the bar, so that what is printed next starts on an empty line."""
        if self.terminal and self.width:
            self._draw("")
            self.stream.write("\r")
            self.stream.flush()

    def _columns(self) -> int:
        """Of the terminal, less one for the cursor: a line that is wrapped cannot be drawn over."""
        try:
            return os.get_terminal_size(self.stream.fileno()).columns - 1 or 79
        except (OSError, ValueError):  # no real terminal
            return 79

    def _draw(self, text: str) -> None:
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width = len(text)

    def __enter__(self) -> Progress:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the bar also when the work was broken off."""
        self.close()


def figure(value: float) -> str:
    """A speed as people read it: 1,204, 24.1, 2.4 or 0.04, never 0 for what is more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2g}"


def clock(seconds: float) -> str:
    """So many seconds as a person reads them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02d} h"
