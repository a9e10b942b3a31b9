"""Train Perceiver AR over the codes of a codec, for a number of seconds, and release the weights.

    python benchmarks/codes/train.py CODES RUN --kind frames --seconds 560

CODES is a folder of encoded recordings (data_prep/dataset/codes.py).  RUN gets a run's usual files (metrics.jsonl,
checkpoints), weights (int8, as checkpoints.release writes them) and result.json.  Started again, it goes on.

With --rehearse, before there are codes: compiles on made-up ones, takes the speed, plans the steps, and releases
fresh weights into RUN/rehearsal, with which evaluate.py can be rehearsed, too.

The learning rate has to fall to zero just as the time is over, so the number of steps has to be known: the first
dispatches after compiling are timed (with --drawn, what later ones will take longer is added), and if the steps planned
would not end within the time, the run stops, takes the number that will, and goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.dataset.code_rows import CodeRows
from musicgen.data_prep.dataset.codes import CodeSet
from musicgen.data_prep.dataset.shards import MANIFEST, read_json
from musicgen.data_prep.vocabulary import SPECIALS
from musicgen.model.config import ModelConfig
from musicgen.model.parameters import Parameters
from musicgen.model.sharding import Rules, make_mesh
from musicgen.model.training.optimizer import OptimizerConfig
from musicgen.model.training.train import (
    TrainConfig,
    fresh_state,
    make_train_steps,
    rows_on_devices,
    train,
)

LONGEST = 65_536  # codes of context
# Steps a second on one H200 as predicted (README.md); what is measured decides.
PREDICTED = {"frames": 14.0}
COMPILING, STARTING = 60, 20  # seconds; the second is what is left of the first after a rehearsal
TIMED = (10, 30)  # dispatches between which the speed is taken


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What a run is to be like, beside its kind and its time."""

    drawn: float = 0.0
    draws: int = 2
    dropout: float = 0.1
    start: Path | None = None  # released weights to begin with

    @functools.cached_property
    def released(self) -> checkpoints.Released | None:
        """Those weights, read once."""
        return None if self.start is None else checkpoints.load(self.start)

    def history(self) -> dict[str, Any]:
        """Which weights those are, and how they came to be."""
        if self.released is None:
            return {}
        about = self.released.about
        return {"start": {"sha256": self.released.sha256} | {name: about[name] for name in ("steps", "seconds")}}

    def weights(self, model: ModelConfig) -> Mapping[str, np.ndarray] | None:
        """Parameters to begin with; None: fresh ones."""
        if self.released is None:
            return None
        if self.released.config != model:
            raise SystemExit(f"{self.start} is a model of another shape")
        return self.released.params


def read_set(folder: Path, split: str) -> list[np.ndarray]:
    """The codes int16 [F, Q] of every recording of a split."""
    codes = CodeSet(folder, split)
    return [codes.codes(i) for i in range(len(codes))]


def model_of(kind: str, codebooks: int, size: int, toy: bool) -> ModelConfig:
    """The shape; about 42 M parameters."""
    Q = codebooks
    shape: dict[str, Any]
    if toy:
        shape = {"width": 64, "heads": 2, "kv_heads": 1, "widening": 2, "code_width": 16, "layers": 2}
        frames = {"local_window": 8, "context": 32, "latents": 8, "depth_layers": 1, "depth_width": 32}
    else:
        shape = {"width": 512, "heads": 8, "kv_heads": 2}
        frames = {
            "layers": 6,
            "local_window": 64,
            "context": LONGEST // (8 * Q) * 8,
            "latents": LONGEST // (8 * Q) * 2,
            "depth_layers": 3,
        }
    frames |= {"local_layers": 1, "cross_attends": 2}
    return ModelConfig(vocab_size=size + SPECIALS, channels=Q, **shape, **frames)


def config_of(kind: str, model: ModelConfig, steps: int, toy: bool, chosen: Chosen = Chosen()) -> TrainConfig:
    """Everything else; 16 rows a step.  What has been trained before learns half as fast, and draws from the start."""
    rate = 5e-3 if chosen.start is None else 2.5e-3
    usual = TrainConfig(
        model,
        OptimizerConfig(learning_rate=rate, adam_learning_rate=rate, decay=0.7),
        steps=steps,
        batch=16,
        dropout=chosen.dropout,
        drawn=chosen.drawn,
        drawn_from=0.4 if chosen.start is None else 0.0,
        draws=chosen.draws,
        checkpoint_every=10**9,
        keep_checkpoints=1,
    )
    return dataclasses.replace(usual, batch=8, compute="float32", steps_per_dispatch=2) if toy else usual


def longer(config: TrainConfig) -> float:
    """How much longer than its first steps the steps of a run take in the mean: a pass forward is a third of a step."""
    return 1.0 + (1.0 - config.drawn_from) * config.draws / 3 if config.drawn and config.drawn_from else 1.0


class Timed:
    """Rows, and the time at which they were asked for: once enough is known, stops a run that has a wrong plan."""

    def __init__(self, rows: CodeRows, config: TrainConfig, deadline: float, may_stop: bool) -> None:
        self.rows, self.config, self.deadline, self.may_stop = rows, config, deadline, may_stop
        self.calls, self.began, self.speed, self.stopped = 0, 0.0, 0.0, False

    def __next__(self) -> dict[str, np.ndarray]:
        k = self.config.steps_per_dispatch
        self.calls += 1
        if self.calls == TIMED[0] * k:
            self.began = time.monotonic()
        if self.calls == TIMED[1] * k:
            self.speed = (TIMED[1] - TIMED[0]) * k / (time.monotonic() - self.began) / longer(self.config)
            possible = self.possible()
            print(f"{self.speed:.2f} steps/s, {possible} possible, {self.config.steps} planned", file=sys.stderr)
            # To compile anew takes a minute: a plan that ends within the last fifth of the time is good enough.
            if self.may_stop and not 0.8 * possible <= self.config.steps <= possible:
                self.stopped = True
                os.kill(os.getpid(), signal.SIGTERM)
        return next(self.rows)

    def possible(self) -> int:
        """The number of the last step before the deadline."""
        return self.rows.get_state()["read"] + int((self.deadline - time.monotonic()) * self.speed)

    def get_state(self) -> Any:
        return self.rows.get_state()

    def set_state(self, state: Any) -> None:
        self.rows.set_state(state)


def planned(run: Path) -> int | None:
    """The number of steps that an earlier start or a rehearsal found to be right."""
    file = run / "plan.json"
    return int(json.loads(file.read_text())) if file.exists() else None


def plan(run: Path, steps: int) -> None:
    """Keep it for the next start."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "plan.json").write_text(json.dumps(steps))


def rows_of(kind: str, config: TrainConfig, recordings: list[np.ndarray]) -> CodeRows:
    """The rows of a run."""
    return CodeRows(recordings, batch=config.batch, frames=config.model.context, seed=config.seed)


def rehearse(
    seconds: float, kind: str, data: Path, run: Path, toy: bool, chosen: Chosen
) -> tuple[TrainConfig, Parameters, int]:
    """Compile, take the time of three dispatches, and plan; (config, fresh parameters, the steps that were run)."""
    about = read_json(data / MANIFEST)
    model = model_of(kind, about["codebooks"], about["codebook_size"], toy)
    recordings, mesh = read_set(data, "train"), make_mesh()
    steps, done = max(1, round(PREDICTED[kind] * (seconds - STARTING))), 0
    while True:
        config = config_of(kind, model, steps, toy, chosen)
        run_steps, rows = make_train_steps(config), rows_of(kind, config, recordings)
        state, times = fresh_state(config, mesh, Rules()), []
        for _ in range(4):
            batch = rows_on_devices(rows, config.steps_per_dispatch, mesh, Rules())
            began = time.monotonic()
            state, figures = run_steps(state, batch)
            jax.block_until_ready(figures)
            times.append(time.monotonic() - began)
            done += config.steps_per_dispatch
        speed = config.steps_per_dispatch / min(times[1:]) / longer(config)
        possible = max(1, int((seconds - STARTING) * speed * 0.97))
        print(f"compiled in {times[0]:.1f} s, {speed:.2f} steps/s, {possible} of {steps} possible", file=sys.stderr)
        if 0.8 * possible <= steps <= possible:
            plan(run, steps)
            return config, state.params, done
        steps = possible


def train_for(
    seconds: float, kind: str, data: Path, run: Path, toy: bool, chosen: Chosen
) -> tuple[TrainConfig, Parameters, int]:
    """Train until the time is over or the plan is done; (what was planned in the end, the parameters, steps done)."""
    deadline = time.monotonic() + seconds
    about = read_json(data / MANIFEST)
    model = model_of(kind, about["codebooks"], about["codebook_size"], toy)
    recordings, replanned = read_set(data, "train"), (run / "checkpoints").exists()
    steps = planned(run) or max(1, round(PREDICTED[kind] * (seconds - COMPILING)))
    while True:
        config = config_of(kind, model, steps, toy, chosen)
        timed = Timed(rows_of(kind, config, recordings), config, deadline, may_stop=not replanned)
        state = train(config, timed, run, start=chosen.weights(model), stop_after=deadline - time.monotonic())
        done = int(state.step)
        if not timed.stopped:
            return config, state.params, done
        replanned = True
        steps = done + max(1, int((deadline - time.monotonic() - (5 if toy else COMPILING)) * timed.speed * 0.97))
        plan(run, steps)
        print(f"{done} steps done, {steps} planned", file=sys.stderr)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--kind", choices=("frames",), default="frames")
    parser.add_argument("--seconds", type=float, default=560.0)
    parser.add_argument("--drawn", type=float, default=0.0, help="most of a row that is its own draws (TrainConfig)")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--start", type=Path, help="released weights to begin with")
    parser.add_argument("--hardware", default="one NVIDIA H200")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    began, about = time.monotonic(), read_json(arguments.data / MANIFEST)
    arguments.run.mkdir(parents=True, exist_ok=True)
    work = rehearse if arguments.rehearse else train_for
    chosen = Chosen(arguments.drawn, arguments.draws, arguments.dropout, arguments.start)
    config, params, done = work(
        arguments.seconds, arguments.kind, arguments.data, arguments.run / "train", arguments.toy, chosen
    )
    tokenizer = {
        name: about[name] for name in ("format", "codec", "codec_sha256", "frame_rate", "codebooks", "codebook_size")
    }
    facts = {"steps": done, "seconds": round(time.monotonic() - began, 1), "hardware": arguments.hardware}
    facts |= {"training": dataclasses.asdict(config)} | ({} if arguments.rehearse else chosen.history())
    arrays = {name: np.asarray(value, np.float32) for name, value in params.items()}
    weights = arguments.run / ("rehearsal" if arguments.rehearse else "weights")
    checkpoints.release(weights, config.model, arrays, tokenizer, facts, "# card\n")
    facts["parameters"] = sum(value.size for value in arrays.values())
    if not arguments.rehearse:
        (arguments.run / "result.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts), file=sys.stderr)


if __name__ == "__main__":
    main()
