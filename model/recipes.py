"""How each preset is trained: one table."""

from __future__ import annotations

from musicgen.model.config import PRESETS
from musicgen.model.optimizer import OptimizerConfig
from musicgen.model.train import TrainConfig

RECIPES: dict[str, TrainConfig] = {
    # A CPU of two cores: minutes.
    "tiny": TrainConfig(
        PRESETS["tiny"],
        OptimizerConfig(learning_rate=4e-3, warmup_steps=50),
        steps=200,
        steps_per_dispatch=5,
        dropout=0.0,
        checkpoint_every=100,
        compute="float32",
    ),
    "small": TrainConfig(PRESETS["small"], steps=5_000),
    # One H200: seven minutes.  The released weights (checkpoints/maestro-piano) came of this.
    "release": TrainConfig(
        PRESETS["release"],
        OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3),
        steps=7_600,
        checkpoint_every=1_900,
    ),
    "large": TrainConfig(PRESETS["large"], OptimizerConfig(learning_rate=1e-3), steps=20_000, batch=32, dropout=0.25),
}
