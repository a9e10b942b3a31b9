"""A run on several hosts ends everywhere when one of them is lost, and says which.

On every host the command forks once all have met.  The child trains; its parent, which never loads JAX, watches it and
keeps the connection to process 0.  JAX by itself aborts what is left of a run with pages of C++, or waits.

    a child ends with an error, or is killed    its parent tells process 0, which tells all
    a parent is killed, a host is off           its connection ends, at the latest after `meeting.SILENT`
    told of either                              a parent kills its child, says who it was, and ends with 1
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from musicgen.app.errors import ENVIRONMENT, INTERRUPTED, TERMINATED, EnvironmentProblem
from musicgen.app.terminal import PlainStream
from musicgen.app.training.hosts.meeting import Met
from musicgen.model.stop import heard

LOST = 75  # what a child ends with that has lost the others: not the cause, so their news is waited for
NEWS = 25.0  # seconds of waiting
UNHEALTHY = re.compile(rb"stopped sending heartbeats\):((?:\s+\d+)+)")  # as JAX says it, with indices
LONGEST = 2**24  # bytes of a log that are looked at
LOOK = 0.2  # seconds between two looks at the child
LOGS = "logs"  # in the run's folder: what JAX and its libraries say on each host


def train_watched(met: Met, folder: Path, train: Callable[[], int]) -> int:
    """Train in a child, and end with it; returns its exit code.  Raises EnvironmentProblem when another is lost."""
    log = folder / LOGS / f"process-{met.place.index}.log"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    log_from = log.stat().st_size
    sys.stdout.flush()
    sys.stderr.flush()
    alive, held = os.pipe()
    child = os.fork()
    if not child:
        os.close(held)
        met.close()
        _become_child(alive, log)
        code = ENVIRONMENT
        try:
            code = train()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # at the usual end, JAX waits for the others
    os.close(alive)
    watch = _Watch(met, child, log, log_from)
    before = {number: signal.signal(number, watch.hand_on) for number in heard()}
    try:
        return watch.until_the_end()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.kill()
        os.close(held)
        met.close()


def _become_child(alive: int, log: Path) -> None:
    """A session of its own, for a terminal's Ctrl-C comes to the parent; dies with it; what C++ says is logged."""
    os.setsid()

    def die() -> None:
        os.read(alive, 1)  # ends with the parent
        os._exit(LOST)

    threading.Thread(target=die, daemon=True).start()
    said = os.fdopen(os.dup(2), "w", buffering=1)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stderr = PlainStream(said)


class _Watch:
    """A parent."""

    def __init__(self, met: Met, child: int, log: Path, log_from: int) -> None:
        """log_from: where in the log this run begins."""
        self.met, self.child, self.log, self.log_from = met, child, log, log_from
        self.code: int | None = None  # the child's
        self.done: set[int] = set()  # processes
        self.links = dict(met.links)
        self.leads = met.place.index == 0

    def hand_on(self, number: int, frame: FrameType | None) -> None:
        """A signal is for the child: it saves, and all others with it."""
        if self.code is None:
            os.kill(self.child, number)

    def until_the_end(self) -> int:
        """The child's exit code."""
        news_until = float("inf")
        while True:
            if self.code is None and (code := self._ended()) is not None:
                self.code = code
                if code in (0, INTERRUPTED, TERMINATED):
                    self._tell(done=self.met.place.index)
                    self.done.add(self.met.place.index)
                elif code in (LOST, -signal.SIGABRT):  # as JAX ends when another one is lost
                    news_until = time.monotonic() + (0 if self._silent() else NEWS)
                else:
                    self._tell(cause=self._own_end(code))
                    if code > 0:  # and the child has said why
                        return code
                    raise EnvironmentProblem(self._stopped(self._own_end(code)))
            if (
                self.code is not None
                and self.met.place.index in self.done
                and (not self.leads or len(self.done) == self.met.place.count)
            ):
                return self.code
            if time.monotonic() > news_until:
                own = f"{self.met.names[self.met.place.index]} has lost the connection to the others"
                cause = self._silent() or own
                self._tell(cause=cause)
                raise EnvironmentProblem(self._stopped(cause))
            for index in self._heard():
                self._listen(index)

    def _ended(self) -> int | None:
        """The child's exit code, below 0 for a signal; None while it runs."""
        pid, status = os.waitpid(self.child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _heard(self) -> list[int]:
        if not self.links:
            time.sleep(LOOK)
            return []
        readable, _, _ = select.select(list(self.links.values()), [], [], LOOK)
        return [index for index, link in self.links.items() if link in readable]

    def _listen(self, index: int) -> None:
        """Take one message; raises EnvironmentProblem if it is that somebody is lost."""
        try:
            message = self.links[index].receive(1.0)
        except (TimeoutError, ValueError):
            return
        if message is None:
            self.links.pop(index).close()
            if index in self.done:
                return
            message = {"cause": f"{self.met.names[index]} is gone"}
        if "done" in message:
            self.done.add(index)
        if "cause" in message:
            cause = str(message["cause"])
            if self.leads:
                self._tell(cause=cause)
            self.kill()
            raise EnvironmentProblem(self._stopped(cause))

    def _silent(self) -> str:
        """What JAX said of others that hang, if it did: their hosts are up, so nobody else tells it."""
        with self.log.open("rb") as file:
            file.seek(self.log_from)
            found = UNHEALTHY.search(file.read(LONGEST))
        indices = [int(index) for index in found[1].split()] if found else []
        return f"{', '.join(self.met.names[index] for index in indices)} no longer answers" if indices else ""

    def _tell(self, **message: Any) -> None:
        for link in self.links.values():
            link.send(**message)

    def _own_end(self, code: int) -> str:
        name = self.met.names[self.met.place.index]
        if code > 0:
            return f"{name} has ended with exit code {code}, and says why"
        what = signal.Signals(-code).name
        return f"{name} was ended by {what}" + (" (by a person, or for want of memory)" if what == "SIGKILL" else "")

    def _stopped(self, cause: str) -> str:
        return (
            f"the run has stopped on all hosts: {cause}; the same command on all of them goes on from the last"
            f" checkpoint ({self.log} has what was said below Python)"
        )

    def kill(self) -> None:
        """End the child at once: what is on the disk is whole."""
        if self.code is None:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.code = -signal.SIGKILL
