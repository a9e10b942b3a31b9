"""One process of a training run of several: python multihost_run.py FOLDER PORT COUNT INDEX; not a test by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musicgen.model.config import ModelConfig
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.train import train

SMALL = {"vocab_size": 20, "width": 16, "heads": 2, "kv_heads": 1, "local_layers": 1, "local_window": 4}
MODEL = ModelConfig(**SMALL, cross_attends=1, layers=1, context=128, latents=64)
STEPS = 4


class Rows:
    """Random rows, of which each process takes its part, as the real loader does."""

    def __init__(self, batch: int, index: int, count: int):
        self.batch, self.index, self.count, self.drawn = batch, index, count, 0

    def __next__(self) -> dict[str, np.ndarray]:
        rows = np.random.default_rng(self.drawn).integers(3, 20, (self.batch, 129)).astype(np.int16)
        self.drawn += 1
        part = self.batch // self.count
        return {"tokens": rows[self.index * part : (self.index + 1) * part]}

    def get_state(self) -> Any:
        return {"drawn": self.drawn}

    def set_state(self, state: Any) -> None:
        self.drawn = state["drawn"]


def main() -> None:
    folder, port, count, index = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
    config = TrainConfig(
        MODEL, steps=STEPS, batch=4, steps_per_dispatch=2, compute="float32", checkpoint_every=100, all_settings=False
    )
    state = train(config, Rows(4, jax.process_index(), jax.process_count()), folder)
    if jax.process_index() == 0:
        np.savez(folder / "params.npz", **{name: np.asarray(x) for name, x in state.params.items()})


if __name__ == "__main__":
    main()
