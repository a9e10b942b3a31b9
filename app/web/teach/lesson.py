"""One run of teaching in a process of its own: it computes for minutes, and can be ended at any moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from musicgen.app.errors import MusicgenError
from musicgen.data_prep.dataset.workers import live_with_parent

LINES = 200  # of what it said that are kept
PATIENCE = 10.0  # seconds that it has to save and leave
BROKEN = "it was cut off: go on with it, or see the server's log"
POLITE = 5  # of os.nice: music is made beside it


def study(told: Connection, start: str, pieces: str, out: str) -> None:
    """Teach, and tell (word, values ...) of it: what the process does."""
    live_with_parent()
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(POLITE)
    from musicgen.app.tuning.job import Teaching, teach
    from musicgen.model.stop import Left

    try:
        teach(
            Teaching(
                start,
                Path(pieces),
                Path(out),
                say=lambda line: told.send(("line", line.removeprefix("musicgen: "))),
                on_step=lambda *given: told.send(("step", *given)),
            )
        )
        told.send(("done",))
    except (Left, SystemExit):
        told.send(("stopped",))
    except (MusicgenError, ValueError, OSError) as error:
        told.send(("failed", str(error)))
    told.close()
    os._exit(0)  # a computation that nobody waits for may still be going on in C++


Study = Callable[[Connection, str, str, str], None]


class Lesson:
    """A run that is going on, or has been.

    state: running, stopping, stopped, failed or done.  Call it from any thread.
    """

    def __init__(
        self, name: str, start: str, pieces: Path, out: Path, on_done: Callable[[], None], work: Study = study
    ):
        """Begin.

        Args:
            name: of the weights that are to come.
            start: of those that are taught.
            pieces, out: folders.
            on_done: called when they are there.
            work: what the process does.
        """
        self.name, self.state = name, "running"
        self.lines: list[str] = []
        self.steps: tuple[int, int, float] | None = None  # done, all, nats a token
        self._first: tuple[int, float] | None = None  # the first step that was told, and when
        self._paced = 0.0  # seconds a step
        self._on_done = on_done
        context = multiprocessing.get_context("spawn")  # a fork of a process with JAX in it may hang
        self._told, telling = context.Pipe(duplex=False)
        self._process = context.Process(
            target=work, args=(telling, start, str(pieces), str(out)), name="teaching", daemon=True
        )
        self._process.start()
        telling.close()
        self._listener = threading.Thread(target=self._listen, name="teaching", daemon=True)
        self._listener.start()

    @property
    def going_on(self) -> bool:
        """Whether its process is there."""
        return self.state in ("running", "stopping")

    def about(self) -> dict[str, Any]:
        """What the page shows."""
        about: dict[str, Any] = {"name": self.name, "state": self.state, "lines": self.lines}
        if self.steps is not None:
            step, steps, nats = self.steps
            about |= {"step": step, "steps": steps, "nats": round(nats, 3), "seconds_left": self._left()}
        return about

    def _left(self) -> float | None:
        """Seconds until the last step, once there is something to tell them by."""
        assert self.steps is not None
        return round(self._paced * (self.steps[1] - self.steps[0]), 1) if self._paced else None

    def stop(self) -> None:
        """Have it save and leave; after a while it is ended."""
        if self.state != "running":
            return
        self.state = "stopping"
        self._process.terminate()
        threading.Thread(target=self._end, name="ending a lesson", daemon=True).start()

    def close(self) -> None:
        """The server ends: so does this, to be gone on with."""
        self.stop()
        self._listener.join(PATIENCE)

    def _end(self) -> None:
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()

    def _listen(self) -> None:
        last = None
        with contextlib.suppress(EOFError, OSError):
            while last is None:
                word, *values = self._told.recv()
                if word == "line":
                    self._say(values[0])
                elif word == "step":
                    self._stepped(*values)
                else:
                    last = word
                    for message in values:
                        self._say(message)
        self._process.join()
        if last is None:  # it has not told
            last = "stopped" if self.state == "stopping" else "failed"
            if last == "failed":
                self._say(BROKEN)
        if last == "done":
            self._on_done()
        self.state = last

    def _say(self, line: str) -> None:
        self.lines = [*self.lines[1 - LINES :], line]

    def _stepped(self, done: int, steps: int, nats: float) -> None:
        now = time.monotonic()
        self._first = self._first or (done, now)
        self._paced = (now - self._first[1]) / max(1, done - self._first[0])
        self.steps = done, steps, nats
