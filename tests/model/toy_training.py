"""A training run as small as can be, as a module and as a program that can be sent a signal or given many devices.

    python toy_training.py FOLDER [--steps N] [--model-axis N] [--pause SECONDS] [--distributed HOST:PORT,COUNT,INDEX]

trains in FOLDER and writes there what it ended with: parameters.npz and devices.json.  With --distributed it is one of
several that train together, of which the last one's devices are slow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from toys import TOY

from musicgen.model.config import ModelConfig
from musicgen.model.training import pace
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.optimizer import OptimizerConfig
from musicgen.model.training.train import TrainState, train

MODEL = ModelConfig(
    vocab_size=TOY.vocab_size,
    width=16,
    heads=2,
    kv_heads=2,
    local_layers=0,  # to compile less: nothing in the loop depends on the kinds of blocks
    local_window=3,
    layers=1,
    cross_attends=1,
    widening=2,
    context=16,
    latents=8,
)
RUN = TrainConfig(
    MODEL,
    OptimizerConfig(learning_rate=2e-2, adam_learning_rate=2e-2, warmup_steps=2),
    steps=8,
    batch=4,
    steps_per_dispatch=2,
    dropout=0.1,
    all_settings=False,
    compute="float32",
    checkpoint_every=1_000,
)


class Counting:
    """Rows that count upwards in a circle from a random token: what comes next is easily learnt.  A Grain iterator.

    Of several processes each takes its part, as of the real loader's rows.
    """

    def __init__(self, batch: int = RUN.batch, pause: float = 0.0, part: slice = slice(None)):
        self.batch, self.pause, self.part, self.read = batch, pause, part, 0

    def __next__(self) -> dict[str, np.ndarray]:
        time.sleep(self.pause)
        first = np.random.default_rng(self.read).integers(0, 8, (self.batch, 1))[self.part]
        self.read += 1
        return {"tokens": (3 + (first + np.arange(MODEL.context + 1)) % 8).astype(np.int16)}

    def get_state(self) -> Any:
        """How many batches have been read."""
        return {"read": self.read}

    def set_state(self, state: Any) -> None:
        """Go on from there."""
        self.read = state["read"]


def arrays_of(state: TrainState) -> dict[str, np.ndarray]:
    """Everything in it by name."""
    import jax

    paths = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(values) for path, values in paths}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=RUN.steps)
    parser.add_argument("--model-axis", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--distributed")
    arguments = parser.parse_args()
    if arguments.distributed is None:
        run(arguments)
        return
    from musicgen.app.training.hosts.joined import join, leave_together
    from musicgen.app.training.hosts.meeting import meet
    from musicgen.app.training.hosts.place import place_of
    from musicgen.app.training.hosts.watch import train_watched

    met = meet(place_of(arguments.distributed), {}, arguments.folder)

    def child() -> int:
        join(met)
        if met.place.index == met.place.count - 1:
            multiply = pace.multiply
            pace.multiply = lambda x: time.sleep(0.1) or multiply(x)
        pace.REPORTED, pace.DISPATCHES = 0.0, 2
        run(arguments)
        time.sleep(met.place.index)  # the first one waits for it
        leave_together()
        return 0

    sys.exit(train_watched(met, arguments.folder, child))


def run(arguments: argparse.Namespace) -> None:
    """Train in this process."""
    import dataclasses

    import jax

    index, count = jax.process_index(), jax.process_count()
    config = dataclasses.replace(RUN, steps=arguments.steps, model_axis=arguments.model_axis)
    rows = Counting(pause=arguments.pause, part=slice(index * RUN.batch // count, (index + 1) * RUN.batch // count))
    state = train(config, rows, arguments.folder)
    if index > 0:
        return
    np.savez(arguments.folder / "parameters.npz", **{name: np.asarray(x) for name, x in state.params.items()})
    paths = jax.tree_util.tree_leaves_with_path(state)
    shards = {jax.tree_util.keystr(path): (x.shape, x.addressable_shards[0].data.shape) for path, x in paths}
    (arguments.folder / "devices.json").write_text(json.dumps({"devices": jax.device_count(), "shards": shards}))


if __name__ == "__main__":
    main()
