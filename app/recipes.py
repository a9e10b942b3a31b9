"""How each preset is trained: one table."""

from __future__ import annotations

import dataclasses

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.model.config import PRESETS
from musicgen.model.training.optimizer import OptimizerConfig
from musicgen.model.training.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run and its data.

    later: (share of all steps, augmentation) that takes over at that point of the run.
    validation_pieces: how many are scored at a checkpoint.
    """

    train: TrainConfig
    augmentation: Augmentation
    later: tuple[tuple[float, Augmentation], ...] = ()
    validation_pieces: int = 12

    def changes(self) -> list[tuple[int, Augmentation]]:
        """`later` in windows drawn, as the loader counts."""
        windows = self.train.steps * self.train.batch
        return [(round(share * windows), augmentation) for share, augmentation in self.later]


# Strong enough that after ten epochs training is no better than validation; the mild one is nearer to real music.
STRONG = Augmentation(semitones=6, stretch=0.12, loudness=0.1, velocity=10, jitter=0.003)
MILD = Augmentation(semitones=6, stretch=0.08, velocity=8)

RECIPES: dict[str, Recipe] = {
    # A CPU of two cores: three minutes, most of them the steps, 6 to 7 s each.  checkpoints/maestro-tiny came of it
    # with --steps 12000 --batch 32 on a GPU.
    "tiny": Recipe(
        TrainConfig(
            PRESETS["tiny"],
            OptimizerConfig(learning_rate=4e-3, warmup_steps=50),
            steps=20,
            steps_per_dispatch=5,
            dropout=0.0,
            checkpoint_every=50,
        ),
        MILD,
        validation_pieces=2,
    ),
    "small": Recipe(TrainConfig(PRESETS["small"], steps=5_000), MILD),
    # One H200: thirteen minutes.  The released weights (checkpoints/maestro-piano) came of this.
    "release": Recipe(
        TrainConfig(
            PRESETS["release"],
            OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3),
            steps=14_000,
            dropout=0.2,
            token_dropout=0.03,
            checkpoint_every=2_500,
        ),
        STRONG,
        later=((0.75, MILD),),
    ),
    # One H200: fifteen minutes.
    "large": Recipe(
        TrainConfig(
            PRESETS["large"],
            OptimizerConfig(learning_rate=3e-3, adam_learning_rate=3e-3),
            steps=5_600,
            dropout=0.2,
            token_dropout=0.03,
        ),
        STRONG,
        later=((0.9, MILD),),
    ),
}
