"""Map a function over many inputs with processes of this machine: results in order, memory bounded, deaths survived."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
AHEAD = 4  # inputs in flight per worker: enough to keep it busy, few enough to bound memory


def map_in_order(
    inputs: Iterable[In], function: Callable[[In], Out], workers: int, died: Callable[[In], Out]
) -> Generator[Out, None, None]:
    """Yield ``function(x)`` for every input, in order; ``died(x)`` where that call killed its process.

    ``workers`` 0 computes in this process. Close the iterator to end the processes early.
    """
    if workers <= 0:
        yield from map(function, inputs)
        return
    pool = _Pool(workers)
    waiting: deque[tuple[In, Future[Out]]] = deque()
    try:
        for value in inputs:
            waiting.append((value, pool.submit(function, value)))
            if len(waiting) >= AHEAD * workers:
                yield _result(*waiting.popleft(), function, died)
        while waiting:
            yield _result(*waiting.popleft(), function, died)
    finally:
        pool.close()


def _result(value: In, future: Future[Out], function: Callable[[In], Out], died: Callable[[In], Out]) -> Out:
    """The future's result; if a process died under it, that of a second try in a process of its own.

    A dead process takes down every call in flight, so only the second try shows which input was to blame.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        alone = _Pool(1)
        try:
            return alone.submit(function, value).result()
        except BrokenProcessPool:
            return died(value)
        finally:
            alone.close()


class _Pool:
    """A ProcessPoolExecutor that is replaced when it breaks."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor = self._new()

    def _new(self) -> ProcessPoolExecutor:
        # Spawned, not forked: a fork of a process with threads (JAX has many) may never wake up.
        return ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"), initializer=live_with_parent)

    def submit(self, function: Callable[[In], Out], value: In) -> Future[Out]:
        try:
            return self._executor.submit(function, value)
        except BrokenProcessPool:
            self.close()
            self._executor = self._new()
            return self._executor.submit(function, value)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def live_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
