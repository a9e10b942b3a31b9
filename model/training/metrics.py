"""Metrics of a run: one JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

Show = Callable[[str, Mapping[str, float]], None]  # a line about a run, and the figures in it, if there are any
COMPILING = "musicgen: compiling a step, which takes seconds to minutes ..."


def print_figures(line: str, figures: Mapping[str, float]) -> None:
    """On stderr."""
    print(line, file=sys.stderr, flush=True)


class Metrics:
    """Writes metrics.jsonl and TensorBoard events into a run's folder, and shows a line; one process does."""

    def __init__(self, folder: Path, show: Show = print_figures):
        self.show = show
        self.writes = jax.process_index() == 0
        if self.writes:
            from tensorboardX import SummaryWriter  # only a run needs it: a machine with a GPU may lack it

            self.lines = (folder / "metrics.jsonl").open("a")
            self.board = SummaryWriter(str(folder / "tensorboard"))
        self.began = time.monotonic()

    def write(self, step: int, **values: float) -> None:
        """Record these figures for this step; nothing is written where there are none."""
        if not values or not self.writes:
            return
        record = {"step": step, "seconds": round(time.monotonic() - self.began, 2), **values}
        print(json.dumps(record), file=self.lines, flush=True)
        self.show(" ".join(f"{name} {value:.4g}" for name, value in record.items()), record)
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both."""
        if self.writes:
            self.lines.close()
            self.board.close()
