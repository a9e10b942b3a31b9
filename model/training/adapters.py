"""Low-rank adapters (Hu et al., 2021): what a model learns of somebody's own music, in a few megabytes.

    y = x @ (kernel + left @ right)        kernel [D, F] as it was released, left [D, R], right [R, F]

Only the factors are trained, so that a step has no gradients of kernels to make.  With embedding, logits and scales no
more is learnt, and twice as much forgotten (benchmarks/tuning).  model/low_rank.py adds the products to the kernels,
after which the model is one like any other.
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


def initial(config: ModelConfig, rank: int, seed: int) -> dict[str, np.ndarray]:
    """The factors of every matrix, f32 by name, as they begin: the products are 0."""
    rng, factors = np.random.default_rng(seed), dict[str, np.ndarray]()
    for name, shape in sorted(parameters.shapes(config).items()):
        if is_matrix(name, shape):
            inputs, outputs = shape
            factors[name + LEFT] = rng.normal(0, inputs**-0.5, (inputs, rank)).astype(np.float32)
            factors[name + RIGHT] = np.zeros((rank, outputs), np.float32)
    return factors


def shrink(factors: Mapping[str, jax.Array], share: float) -> dict[str, jax.Array]:
    """Only this share of what was learnt: the products, brought nearer to 0 (Wortsman et al., 2022)."""
    return {name: share * x if name.endswith(RIGHT) else x for name, x in factors.items()}


def initial_style(base: Mapping[str, np.ndarray], styles: slice) -> dict[str, np.ndarray]:
    """A new style's embedding as it begins: the mean of the tokens of the old ones."""
    return {f"embedding{STYLE}": base["embedding"][styles].astype(np.float32).mean(axis=0)}
