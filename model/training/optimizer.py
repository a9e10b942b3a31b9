"""Muon for the matrices, Adam for embedding, logits and scales: one optax transformation with one schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from musicgen.model.shapes import Array, Float

MATRIX, OTHER = "matrix", "other"


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


def stack_alike(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation over all arrays of one kind and shape at once, [arrays, ...] by kind and shape.

    Muon's many small products then are few large ones.
    """

    def kind(name: str, x: jax.Array) -> str:
        return f"{MATRIX if is_matrix(name, x) else OTHER} {x.shape}"

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


def orthogonal(x: Float[Array, "*B m n"]) -> Float[Array, "*B m n"]:
    """Matrices with their singular values all brought near 1, by Newton-Schulz (Jordan et al., 2024).

    In x's own type: the values end between 0.7 and 1.2, so bfloat16 is exact enough (checkpoints/LOG.md, section 13),
    and on a GPU a step of training the large preset takes a tenth less time with it (benchmarks/training).
    """
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (jnp.linalg.norm(x.astype(jnp.float32), axis=(-2, -1), keepdims=True) + 1e-8).astype(x.dtype)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x if wide else x.mT


def scale_by_muon(
    beta: float, compute: jnp.dtype, share_out: Callable[[jax.Array], jax.Array] | None = None
) -> optax.GradientTransformation:
    """Nesterov's momentum made orthogonal, an update's root mean square 0.2 whatever the matrix's shape.

    Arrays f32 [arrays, ..., m, n]; momentum stays float32, what is made orthogonal is of the type `compute`.
    share_out: lays the arrays on devices so that each is whole on one.
    """

    def update(momentum: jax.Array) -> jax.Array:
        size = 0.2 * max(momentum.shape[-2:]) ** 0.5  # Liu et al., arXiv 2502.16982
        x = momentum.astype(compute)
        x = orthogonal(x) if share_out is None else share_out(orthogonal(share_out(x)))[: len(x)]
        return size * x.astype(momentum.dtype)

    trace = optax.trace(beta, nesterov=True)
    return optax.chain(trace, optax.stateless(lambda updates, _: jax.tree.map(update, updates)))


def optimizer(
    config: OptimizerConfig,
    steps: int,
    compute: str = "float32",
    share_out: Callable[[jax.Array], jax.Array] | None = None,
) -> optax.GradientTransformation:
    """The update rule over parameters by name; Muon multiplies in the type `compute`.  share_out: see there."""
    muon = optax.chain(
        scale_by_muon(0.95, jnp.dtype(compute), share_out),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(schedule(config, steps, config.learning_rate)),
    )
    adam = optax.nadam(schedule(config, steps, config.adam_learning_rate), b2=0.99)
    rules = optax.partition({MATRIX: muon, OTHER: adam}, lambda stacks: {name: name.split()[0] for name in stacks})
    return stack_alike(optax.chain(optax.clip_by_global_norm(config.clip), rules))
