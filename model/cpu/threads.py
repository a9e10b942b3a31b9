"""Threads that compute one step of a model together: the others of `model/cpu/step.py`."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARE = Path("/sys/fs/cgroup/cpu.max")  # microseconds of a processor, and in how many
OPEN = 2**62  # of a barrier: nobody waits there
MOST_THREADS = 4  # a few cores read as fast as memory gives


def cores() -> int:
    """How many this process may use: those it is tied to, and no more than a container's share of them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such share, or `max`
        quota, period = SHARE.read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


class ThreadTeam:
    """Threads that take a part of each step; one step at a time has them, and another meanwhile goes alone."""

    def __init__(self, threads: int | None):
        """threads: as many as there are cores, up to MOST_THREADS, unless given."""
        self.parts = max(1, min(cores(), MOST_THREADS) if threads is None else threads)
        self.busy = threading.Lock()
        self.work: list[queue.SimpleQueue[Any]] = []
        self.failed: list[Exception] = []

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """function(part, parts, barrier, *arguments) for all parts; a function that gives the GIL away."""
        barrier = np.zeros(1, np.int64)
        if self.parts == 1 or not self.busy.acquire(blocking=False):
            function(0, 1, barrier, *arguments)
            return
        try:
            for part in range(1 + len(self.work), self.parts):
                self.work.append(queue.SimpleQueue())
                threading.Thread(target=worker, args=(part, self.work[-1], self), daemon=True).start()
            for work in self.work:
                work.put((function, barrier, *arguments))
            function(0, self.parts, barrier, *arguments)
            if self.failed:
                raise self.failed.pop()
        except BaseException:
            barrier[0] = OPEN
            raise
        finally:
            self.busy.release()


@functools.cache
def thread_team(threads: int | None) -> ThreadTeam:
    """The process's team for so many threads."""
    return ThreadTeam(threads)


def worker(part: int, work: queue.SimpleQueue[Any], team: ThreadTeam) -> None:
    """Take part in one step after the other, for ever."""
    while True:
        function, barrier, *arguments = work.get()
        try:
            function(part, team.parts, barrier, *arguments)
        except Exception as error:
            team.failed.append(error)
            barrier[0] = OPEN
        del function, barrier, arguments  # a stream's caches would stay until the next step


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=thread_team.cache_clear)  # which has none of the threads
