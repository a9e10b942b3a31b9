"""Low-rank adapters (Hu et al., 2021): what a model learns of somebody's own music, in a few megabytes.

    y = x @ (kernel + left @ right)        kernel [D, F] as it was released, left [D, R], right [R, F]

Only the factors, embedding, logits and scales are trained, so that a step has no gradients of kernels to make.
model/low_rank.py adds the products to the kernels, after which the model is one like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.int4 import is_matrix
from musicgen.model.low_rank import LEFT, RIGHT, STYLE
from musicgen.model.perceiver_ar import Linear, PerceiverAR
from musicgen.model.shapes import Array, Float


class Adapted(nnx.Module):
    """A linear layer, and what is added to it."""

    def __init__(self, linear: Linear, left: Float[Array, "D R"], right: Float[Array, "R F"]):
        self.linear, self.left, self.right = linear, nnx.Param(left), nnx.Param(right)

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows F"]:
        return self.linear(x) + product(x, self.left[...].astype(x.dtype), self.right[...].astype(x.dtype))


@jax.custom_vjp
def product(
    x: Float[Array, "*rows D"], left: Float[Array, "D R"], right: Float[Array, "R F"]
) -> Float[Array, "*rows F"]:
    """x @ left @ right, whose gradient transposes nothing wider than R.

    JAX's own would transpose x and what comes from above, on a CPU a fifth of a step (benchmarks/tuning).
    """
    return x @ left @ right


def _product(x: Array, left: Array, right: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    narrow = x @ left
    return narrow @ right, (x, narrow, left, right)


def _gradients(kept: tuple[Array, Array, Array, Array], above: Array) -> tuple[Array, Array, Array]:
    x, narrow, left, right = kept
    of_narrow = above @ right.T
    of_left, of_right = (
        a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1]) for a, b in ((of_narrow, x), (narrow, above))
    )
    return of_narrow @ left.T, jax.lax.optimization_barrier(of_left).T, of_right


product.defvjp(_product, _gradients)


def adapt(model: PerceiverAR, factors: Mapping[str, jax.Array]) -> PerceiverAR:
    """The model, each of whose linear layers that has factors adds their product; cheap, also while tracing."""
    for name in factors:
        if name.endswith(LEFT):
            kernel = name.removesuffix(LEFT)
            *path, layer = kernel.removesuffix(".kernel").split(".")
            block: object = model
            for part in path:
                block = block[int(part)] if part.isdigit() else getattr(block, part)  # type: ignore[index]
            linear = getattr(block, layer)
            setattr(block, layer, Adapted(linear, factors[kernel + LEFT], factors[kernel + RIGHT]))
    return model


def initial(config: ModelConfig, base: Mapping[str, np.ndarray], rank: int, seed: int) -> dict[str, np.ndarray]:
    """What is trained, f32 by name, as it begins: the products are 0, what is no matrix is as in the base.

    base: its parameters, also as they are stored.
    """
    rng, trained = np.random.default_rng(seed), dict[str, np.ndarray]()
    for name, shape in sorted(parameters.shapes(config).items()):
        if is_matrix(name, shape):
            inputs, outputs = shape
            trained[name + LEFT] = rng.normal(0, inputs**-0.5, (inputs, rank)).astype(np.float32)
            trained[name + RIGHT] = np.zeros((rank, outputs), np.float32)
        else:
            trained[name] = np.asarray(base[name], np.float32)
    return trained


def shrink(trained: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Only this share of what was learnt: all that differs from the base, brought nearer to it (Wortsman et al., 2022).

    What was there before comes back sooner than what was learnt goes (benchmarks/tuning).  The row of a new style stays
    as it is, since nothing else is moved by it.
    """

    def nearer(name: str, x: np.ndarray) -> np.ndarray:
        if name.endswith((LEFT, STYLE)):
            return x
        before = 0.0 if name.endswith(RIGHT) else np.asarray(base[name], np.float32)
        return before + np.float32(share) * (x - before)

    return {name: nearer(name, np.asarray(x, np.float32)) for name, x in trained.items()}


def initial_style(base: Mapping[str, np.ndarray], styles: slice) -> dict[str, np.ndarray]:
    """A new style's embedding as it begins: the mean of the tokens of the old ones."""
    return {f"embedding{STYLE}": base["embedding"][styles].astype(np.float32).mean(axis=0)}
