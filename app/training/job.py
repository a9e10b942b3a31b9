"""What a person asks of a training run, whatever is trained."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app import output
from musicgen.app.errors import cannot_use
from musicgen.app.output import make_folder
from musicgen.app.terminal import shown
from musicgen.model.training.metrics import Show, print_figures
from musicgen.model.training.stop import StopRun

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.model.training.config import TrainConfig

WEIGHTS = "weights"  # the folder of a run that `musicgen --checkpoint` or `--codec` takes


@dataclasses.dataclass(frozen=True)
class Job:
    """Where the data are, where the run goes, and what no recipe says.

    start: released weights to begin with, a name or a folder; None: fresh ones.
    workers: processes that prepare data.  samples: whether checkpoints write some music, too.
    shares: how much of the rows is of each corpus, by name; empty: the recipe's, or by their notes.
    stop: when the run saves and leaves before its end.  show: where lines about the run go.
    """

    preset: str
    data: Path
    out: Path
    start: str | None = None
    workers: int = 0
    samples: bool = True
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    stop: StopRun = dataclasses.field(default_factory=StopRun)
    show: Show = print_figures

    def card(self, kind: str, step: int) -> str:
        """A card for weights of this run, as Markdown."""
        start = f" --start {shown(self.start)}" if self.start else ""
        return f"# {kind} of your own\n\nTrained with `musicgen train --preset {self.preset}{start}`, step {step}.\n"


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Make the folder of a run and keep other runs out of it.  Raises BadInput if one is writing there."""
    there = out.exists()
    make_folder(str(out), "--out")
    try:
        with output.alone(out):
            yield
    finally:
        if not there and not any(out.iterdir()):  # nothing came of it
            out.rmdir()


def warn_of_no_validation(job: Job) -> None:
    """A line if there is nothing to score a model by."""
    job.show(
        f"musicgen: {job.data} has no validation piece: nothing tells how well it does on music it has not seen", {}
    )


def is_released(job: Job, step: int) -> bool:
    """Whether the weights of this step are whole in the run's folder."""
    from musicgen import checkpoints

    try:
        return checkpoints.load(job.out / WEIGHTS).about.get("steps") == step
    except checkpoints.CheckpointError:
        return False


def open_start(job: Job) -> Released | None:
    """The weights to begin with.  Raises BadInput or EnvironmentProblem if they cannot be used."""
    from musicgen import checkpoints

    if job.start is None:
        return None
    try:
        return checkpoints.load(job.start)
    except checkpoints.CheckpointError as error:
        raise cannot_use(job.start, checkpoints.CheckpointError(f"--start: {error}"), checkpoints.names()) from None


def train_model(
    job: Job,
    config: TrainConfig,
    rows: Any,
    start: Released | None,
    at_checkpoint: Callable[[int, dict[str, Any]], dict[str, float]],
    release: Callable[[int, dict[str, Any]], None],
) -> int:
    """Train a model of tokens until its steps are done or the job stops; returns the steps done.  See `train`."""
    from musicgen.model.training.train import train

    state = train(
        config,
        rows,
        job.out,
        start=None if start is None else start.params,
        at_checkpoint=at_checkpoint,
        at_stop=release,
        released=lambda step: is_released(job, step),
        show=job.show,
        stop=job.stop,
    )
    return int(state.step)


def history(start: Released | None) -> dict[str, Any]:
    """For config.json: which weights a run began with, and how long those were trained."""
    if start is None:
        return {}
    known = {name: start.about[name] for name in ("steps", "seconds") if name in start.about}
    return {"start": {"name": start.name, "sha256": start.sha256, **known}}
