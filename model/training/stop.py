"""When a run saves and leaves before its end: several processes together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from musicgen.model.stop import PATIENCE, Result, Stop


class StopRun(Stop):
    """Whether to save and leave: after SIGTERM, Ctrl-C or so many seconds.  All processes of a run leave together."""

    def __init__(self, after: float = float("inf")) -> None:
        super().__init__()
        self.deadline = time.monotonic() + after
        self.agreed = 0  # a signal that all processes know of

    def should_stop(self) -> bool:
        """True on every process as soon as one of them has a reason; a signal to one is then one to all."""
        late = time.monotonic() > self.deadline
        if jax.process_count() > 1:
            told = process_allgather(np.array([self.number, late], np.int32))
            self.agreed = int(told[:, 0].max())
            self.number, late = self.agreed or self.number, bool(told[:, 1].any())
            return self.agreed > 0 or late
        return bool(self) or late

    @property
    def signalled(self) -> bool:
        """Whether there was a signal, as of the last `should_stop` if there are several processes: the same on all."""
        return self.agreed > 0 if jax.process_count() > 1 else bool(self)

    def wait_for(
        self,
        compute: Callable[..., Result],
        *given: Any,
        patience: float = PATIENCE,
        keeps: Callable[[], bool] = lambda: False,
    ) -> Result:
        """As of `Stop`; but several processes always wait, since they compute together."""
        if jax.process_count() > 1:
            return compute(*given)
        return super().wait_for(compute, *given, patience=patience, keeps=keeps)
