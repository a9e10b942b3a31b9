"""Muon for the matrices, Adam for embedding, logits and scales: one optax transformation with one schedule."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import optax


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Learning rates at the top of the schedule, and the schedule: linear warm-up, flat, linear to zero over `decay`."""

    learning_rate: float = 2e-3  # Muon's; an update has the root mean square 0.2 * learning_rate
    adam_learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay: float = 0.6  # share of all steps
    clip: float = 1.0


def schedule(config: OptimizerConfig, steps: int, peak: float) -> optax.Schedule:
    """Learning rate as a function of the step."""
    decay_steps = max(1, int(steps * config.decay))
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, config.warmup_steps),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, decay_steps),
        ],
        [config.warmup_steps, max(config.warmup_steps, steps - decay_steps)],
    )


def is_matrix(path: tuple[Any, ...], value: jax.Array) -> bool:
    """Muon's parameters: the blocks' kernels.  Embedding and logits are tables, one row a token, and go to Adam."""
    name = jax.tree_util.keystr(path)
    return value.ndim == 2 and "embedding" not in name and "logits" not in name


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The update rule over the whole parameter tree (Jordan et al., 2024; scaling of Liu et al., arXiv 2502.16982)."""

    def muon_axes(params: Any) -> Any:
        axes = optax.contrib.MuonDimensionNumbers(0, 1)
        return jax.tree_util.tree_map_with_path(lambda path, x: axes if is_matrix(path, x) else None, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.contrib.muon(
            schedule(config, steps, config.learning_rate),
            adam_learning_rate=schedule(config, steps, config.adam_learning_rate),
            weight_decay=config.weight_decay,
            adam_b2=0.99,
            muon_weight_dimension_numbers=muon_axes,
            consistent_rms=0.2,
        ),
    )
