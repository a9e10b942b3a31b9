"""A training run of Perceiver AR in numbers."""

from __future__ import annotations

import dataclasses

from musicgen.model.config import ModelConfig
from musicgen.model.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole training run.  `batch` counts rows over all devices."""

    model: ModelConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = 7_000
    batch: int = 16
    steps_per_dispatch: int = 10
    dropout: float = 0.15  # of what each block adds to the residual stream
    cross_keep: float = 0.5  # share of the inputs before the latents that cross-attend dropout leaves
    token_dropout: float = 0.0  # share of the inputs whose embedding is hidden
    sampled_rate: float = 0.0  # most of a row's frames that the model samples itself (`scheduled_sampling`; of codes)
    sampled_from: float = 0.4  # share of the run before which there are none: a beginner's samples teach nothing
    sampled_passes: int = 2  # times that a step samples
    z_loss: float = 1e-4
    seed: int = 0
    all_settings: bool = True  # train many N and M at once (multi_context.py), or only those of the config
    gaps: bool = False  # all settings, and gaps to fill in nine of 24 rows (multi_context.py)
    averaged: int = 0  # steps over which the weights that a run leaves are averaged; 0: those of the last step
    four_bits_from: float = 1.0  # share of the run after which it trains what four bits hold (model/int4.py)
    compute: str = "bfloat16"
    deterministic: bool = False  # on a GPU, too, the same bits at every run; slower (model/attention.py)
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    model_axis: int = 1  # devices to one copy of the parameters and of the optimiser's state
