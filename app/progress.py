"""A progress line on stderr: how much there is, how much was asked for, how fast it comes, how long it will take."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

BAR = 24  # characters
REDRAW = 0.1  # seconds between redraws of a bar
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
        self.started = time.monotonic()
        self.last = self.started
        self.width = 0

    def note(self, text: str) -> None:
        """A passing remark, such as what is being waited for; the bar takes its place."""
        if self.terminal:
            self._draw(text)

    def update(self, done: float, extra: str = "") -> None:
        """Show that ``done`` of the total is there.  0 starts the clock anew: what came before was waiting."""
        now = time.monotonic()
        if done == 0:
            self.started = self.last = now
        if self.quiet or now - self.last < (REDRAW if self.terminal else REPORT):
            return
        self.last = now
        text = self.line(done, now - self.started) + (f"  {extra}" if extra else "")
        if self.terminal:
            self._draw(text)
        else:
            print(f"musicgen: {text}", file=self.stream, flush=True)

    def line(self, done: float, elapsed: float) -> str:
        """The text for ``done`` after ``elapsed`` seconds."""
        rate = done / elapsed if elapsed > 0 else 0.0
        number = f"{done:.1f}" if self.realtime else f"{done:,.0f}"
        if not self.total:
            return f"{number} {self.unit}"
        share = min(done / self.total, 1.0)
        whole = f"{self.total:g}" if self.realtime else f"{self.total:,.0f}"
        speed = f"{rate:.1f}x real time" if self.realtime else f"{rate:,.0f}/s"
        left = clock((self.total - done) / rate) if rate > 0 else "?"
        filled = round(share * BAR)
        return f"[{'#' * filled}{'.' * (BAR - filled)}] {number} / {whole} {self.unit}  {speed}  {left} left"

    def close(self) -> None:
        """Clear the bar, so that what is printed next starts on an empty line."""
        if self.terminal and self.width:
            self._draw("")
            self.stream.write("\r")
            self.stream.flush()

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


def clock(seconds: float) -> str:
    """So many seconds as a person reads them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02d} h"
