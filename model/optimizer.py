"""Muon for the matrices, Adam for embedding, logits and scales: one optax transformation with one schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

MATRIX = "matrix"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Peak learning rates, and their schedule: linear warm-up, flat, linear to zero over the last `decay` of all.

    A run of few steps warms up for a quarter of them, no longer.
    """

    learning_rate: float = 2e-3  # Muon's; an update has the root mean square 0.2 * learning_rate
    adam_learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay: float = 0.6  # share of all steps
    clip: float = 1.0


def schedule(config: OptimizerConfig, steps: int, peak: float) -> optax.Schedule:
    """Learning rate as a function of the step."""
    decay_steps = max(1, int(steps * config.decay))
    warmup_steps = min(config.warmup_steps, steps // 4)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, warmup_steps),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, decay_steps),
        ],
        [warmup_steps, max(warmup_steps, steps - decay_steps)],
    )


def is_matrix(name: str, value: jax.Array) -> bool:
    """Muon's parameters: the blocks' kernels, and those of which each codebook has its own.

    Embedding and logits are tables, one row a token, and go to Adam.
    """
    if value.ndim == 3:
        return name.endswith(".kernel") and "readout" not in name
    return value.ndim == 2 and "embedding" not in name and "logits" not in name


def stacked(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation over all arrays of one kind and shape at once, [arrays, ...] by kind and shape.

    Muon's many small products then are few large ones.
    """

    def kind(name: str, x: jax.Array) -> str:
        return f"{MATRIX if is_matrix(name, x) else 'other'} {x.shape}"

    def stack(tree: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        together: dict[str, list[jax.Array]] = {}
        for name in sorted(tree):
            together.setdefault(kind(name, tree[name]), []).append(tree[name])
        return {name: jnp.stack(arrays) for name, arrays in together.items()}

    def init(params: Mapping[str, jax.Array]) -> optax.OptState:
        return inner.init(stack(params))

    def update(
        updates: Mapping[str, jax.Array], state: optax.OptState, params: Mapping[str, jax.Array] | None = None
    ) -> tuple[dict[str, jax.Array], optax.OptState]:
        together, state = inner.update(stack(updates), state, None if params is None else stack(params))
        rows = {name: iter(x) for name, x in together.items()}
        return {name: next(rows[kind(name, updates[name])]) for name in sorted(updates)}, state

    return optax.GradientTransformation(init, update)


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The update rule over parameters by name (Jordan et al., 2024; scaling of Liu et al., arXiv 2502.16982)."""

    def muon_axes(stacks: Mapping[str, jax.Array]) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
        return {
            name: optax.contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1) if name.startswith(MATRIX) else None
            for name, x in stacks.items()
        }

    muon = optax.contrib.muon(
        schedule(config, steps, config.learning_rate),
        adam_learning_rate=schedule(config, steps, config.adam_learning_rate),
        weight_decay=config.weight_decay,
        adam_b2=0.99,
        muon_weight_dimension_numbers=muon_axes,
        consistent_rms=0.2,
    )
    return stacked(optax.chain(optax.clip_by_global_norm(config.clip), muon))
