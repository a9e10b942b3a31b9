"""Threads that compute one step of a model together: the others of `model/cpu_step.py`."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

OPEN = 2**62  # of a gate: nobody waits there
MOST_THREADS = 4  # a few cores read as fast as memory gives


class Team:
    """Threads that take a part of each step; one step at a time has them, and another meanwhile goes alone."""

    def __init__(self, threads: int | None):
        """threads: as many as there are cores, up to MOST_THREADS, unless given."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.parts = max(1, min(cores, MOST_THREADS) if threads is None else threads)
        self.taken = threading.Lock()
        self.work: list[queue.SimpleQueue[Any]] = []

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """function(part, parts, gate, *arguments) for all parts; a function that gives the GIL away."""
        gate = np.zeros(1, np.int64)
        if self.parts == 1 or not self.taken.acquire(blocking=False):
            function(0, 1, gate, *arguments)
            return
        try:
            for part in range(1 + len(self.work), self.parts):
                self.work.append(queue.SimpleQueue())
                threading.Thread(target=helper, args=(part, self.parts, self.work[-1]), daemon=True).start()
            for work in self.work:
                work.put((function, gate, *arguments))
            function(0, self.parts, gate, *arguments)
        except BaseException:
            gate[0] = OPEN
            raise
        finally:
            self.taken.release()


@functools.cache
def team(threads: int | None) -> Team:
    """The process's own for so many threads."""
    return Team(threads)


def helper(part: int, parts: int, work: queue.SimpleQueue[Any]) -> None:
    """Take part in one step after the other, for ever."""
    while True:
        function, *arguments = work.get()
        function(part, parts, *arguments)
        del function, arguments  # a stream's caches would stay until the next step


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=team.cache_clear)  # which has none of the threads
