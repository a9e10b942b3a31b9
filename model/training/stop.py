"""When a run saves and leaves before its end, and how soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from musicgen.model.stop import Stop

Result = TypeVar("Result")
COMPUTING = "computing of a training run"  # the name of its threads
AT_ONCE = 0.0  # patience with what loses nothing when it is left, such as compiling
PATIENCE = 1.5  # seconds that a computation still has when the run is to stop: it has five in all
POLL = 0.1


class Left(Exception):
    """The run is to stop, and a computation is not done, or not begun; nobody waits for it."""


class StopRun(Stop):
    """Whether to save and leave: after SIGTERM, Ctrl-C or so many seconds.  All processes of a run leave together."""

    def __init__(self, after: float = float("inf")) -> None:
        super().__init__()
        self.deadline = time.monotonic() + after

    def should_stop(self) -> bool:
        """True on every process as soon as the first process has a reason."""
        here = bool(self) or time.monotonic() > self.deadline
        return bool(broadcast_one_to_all(np.int32(here))) if jax.process_count() > 1 else here

    def wait_for(self, compute: Callable[..., Result], *given: Any, patience: float = PATIENCE) -> Result:
        """What compute(*given) comes to.  It goes on in a thread, so that the main one hears signals.

        Raises Left if there is a signal and it is not done so many seconds later; without patience, nothing is begun
        after one.  Several processes always wait, since they compute together.
        """
        if jax.process_count() > 1:
            return compute(*given)
        if self and not patience:
            raise Left
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
        while thread.is_alive() and time.monotonic() < left_at:
            thread.join(POLL)
            if self and left_at == float("inf"):
                left_at = time.monotonic() + patience
        if failed:
            raise failed[0]
        if not done:
            raise Left
        return done[0]


def still_computing() -> bool:
    """Whether something that nobody waits for goes on: the process can only end by os._exit."""
    return any(thread.name.startswith(COMPUTING) for thread in threading.enumerate())
