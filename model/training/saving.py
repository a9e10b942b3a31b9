"""Where a run stands, and what of it is on the disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from musicgen.model.stop import AT_ONCE, PATIENCE, Left
from musicgen.model.training.checkpointing import Checkpoints
from musicgen.model.training.metrics import Metrics
from musicgen.model.training.stop import StopRun

Result = TypeVar("Result")


class Saving:
    """The step that a run is at, and the one of its newest checkpoint."""

    def __init__(self, checkpoints: Checkpoints, metrics: Metrics, stop: StopRun, step: int, reader: Any):
        """step, reader: of the checkpoint that it begins with; 0 and None if there is none."""
        self.checkpoints, self.metrics, self.stop = checkpoints, metrics, stop
        self.step = self.saved = step
        self.compiled = self.left = False
        self.reader = reader  # its state, after exactly the rows of the steps so far

    def dispatch(self, compute: Callable[..., Result], *given: Any) -> Result:
        """What compute(*given) comes to.  The first one is compiled; of the others a signal may leave one undone.

        Raises Left for that; but not where the state of before is gone, since a CPU alone keeps it.
        """
        if not self.compiled:
            found = self.stop.wait_for(compute, *given, patience=AT_ONCE)
            self.compiled = True
            return found
        return self.stop.wait_for(compute, *given, patience=PATIENCE if jax.default_backend() == "cpu" else math.inf)

    def advance(self, count: int, reader: Any, figures: Mapping[str, float], speed: float) -> None:
        """So many steps have been made, at so many a second.  Raises ValueError if their figures are no numbers."""
        self.step, self.reader = self.step + count, reader
        self.metrics.write(self.step, **figures, steps_per_second=speed)
        if not all(map(math.isfinite, figures.values())):
            kept = f"the checkpoint of step {self.saved} is kept" if self.saved else "there is no checkpoint yet"
            raise ValueError(f"the run has diverged: its loss is no number after step {self.step}; {kept}")

    def save(self, state: Any, reader: Any = None) -> None:
        """Write a checkpoint in the background.  reader: what it holds besides the state, if more than that."""
        self.checkpoints.save(self.step, state, self.reader if reader is None else reader)
        self.saved = self.step

    def finish(self, at_checkpoint: Callable[..., dict[str, float] | None], *given: Any) -> bool:
        """at_checkpoint(step, *given), whose figures join the metrics; False if a signal has ended it: all is saved."""
        self.checkpoints.wait()
        if self.left:  # and may still be at it
            return False
        try:
            patience = PATIENCE if self.stop else AT_ONCE
            figures = self.stop.wait_for(at_checkpoint, self.step, *given, patience=patience)
        except Left:
            self.left = True
            return False
        if figures is not None:
            self.metrics.write(self.step, **figures)
        return True
