"""How each preset is trained: one table."""

from __future__ import annotations

import dataclasses

from musicgen.data_prep.augment import Augmentation
from musicgen.model.config import PRESETS
from musicgen.model.optimizer import OptimizerConfig
from musicgen.model.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run and its data.

    later: (share of all steps, augmentation) that takes over at that point of the run.
    """

    train: TrainConfig
    augmentation: Augmentation = Augmentation(semitones=6, stretch=0.08, velocity=8)
    later: tuple[tuple[float, Augmentation], ...] = ()

    def changes(self) -> list[tuple[int, Augmentation]]:
        """`later` in windows drawn, as the loader counts."""
        windows = self.train.steps * self.train.batch
        return [(round(share * windows), augmentation) for share, augmentation in self.later]


RECIPES: dict[str, Recipe] = {
    # A CPU of two cores: minutes.
    "tiny": Recipe(
        TrainConfig(
            PRESETS["tiny"],
            OptimizerConfig(learning_rate=4e-3, warmup_steps=50),
            steps=200,
            steps_per_dispatch=5,
            dropout=0.0,
            checkpoint_every=100,
            compute="float32",
        )
    ),
    "small": Recipe(TrainConfig(PRESETS["small"], steps=5_000)),
    # One H200: seven minutes.  The released weights (checkpoints/maestro-piano) came of this.
    "release": Recipe(
        TrainConfig(
            PRESETS["release"],
            OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3),
            steps=7_600,
            checkpoint_every=1_900,
        )
    ),
    "large": Recipe(
        TrainConfig(PRESETS["large"], OptimizerConfig(learning_rate=1e-3), steps=20_000, batch=32, dropout=0.25)
    ),
}
