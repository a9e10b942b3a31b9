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
            # Only a run needs it: a machine with a GPU may lack it.  Its SummaryWriter writes from a thread, which a
            # full disk ends with a traceback, and then hangs.
            from tensorboardX.event_file_writer import EventsWriter

            self.lines = (folder / "metrics.jsonl").open("a")
            (folder / "tensorboard").mkdir(exist_ok=True)
            self.board = EventsWriter(str(folder / "tensorboard/events"))
        self.began = time.monotonic()

    def write(self, step: int, **values: float) -> None:
        """Record these figures for this step; nothing is written where there are none."""
        if not values or not self.writes:
            return
        record = {"step": step, "seconds": round(time.monotonic() - self.began, 2), **values}
        print(json.dumps(record), file=self.lines, flush=True)
        self.show(" ".join(f"{name} {value:.4g}" for name, value in record.items()), record)
        self._write_events(step, values)

    def _write_events(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self.board.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self.board.flush()

    def close(self) -> None:
        """Flush and close both."""
        if self.writes:
            self.lines.close()
            self.board.close()
