"""Parameters of the codec and its discriminators by name, and weight normalisation as a way to store kernels.

The modules know plain kernels.  While they are trained, a kernel is kept as a direction and a gain per output channel
(Salimans & Kingma, 2016), which steadies adversarial training; `fold` makes the kernels that the modules want.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

Parameters = dict[str, jax.Array]
Module = TypeVar("Module", bound=nnx.Module)

KERNEL, DIRECTION, GAIN = ".kernel", ".direction", ".gain"


def _flat(state: nnx.State) -> dict[str, tuple[tuple[Any, ...], nnx.Variable]]:
    return {".".join(map(str, path)): (path, variable) for path, variable in nnx.to_flat_state(state)}


@functools.cache
def _skeleton(
    kind: Callable[..., nnx.Module], config: Any
) -> tuple[Any, dict[str, tuple[tuple[Any, ...], nnx.Variable]]]:
    graph, state = nnx.split(nnx.eval_shape(lambda: kind(config, nnx.Rngs(0))))
    return graph, _flat(state)


def shapes(kind: Callable[..., nnx.Module], config: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of kind(config, rngs) by name."""
    return {name: variable.shape for name, (_, variable) in _skeleton(kind, config)[1].items()}


def initial(kind: Callable[..., nnx.Module], config: Any, seed: int) -> Parameters:
    """Fresh parameters of kind(config, rngs), float32."""
    state = nnx.split(kind(config, nnx.Rngs(seed)))[1]
    return {name: variable[...] for name, (_, variable) in _flat(state).items()}


def bind(kind: Callable[..., Module], config: Any, params: Mapping[str, jax.Array]) -> Module:
    """The module with these parameters; cheap, also while tracing.  Raises ValueError if names or shapes do not fit."""
    graph, flat = _skeleton(kind, config)
    wrong = set(flat) ^ set(params) or {n for n in flat if tuple(params[n].shape) != tuple(flat[n][1].shape)}
    if wrong:
        raise ValueError(f"parameters do not fit the config: {', '.join(sorted(wrong)[:3])}")
    state = nnx.from_flat_state({path: variable.replace(params[name]) for name, (path, variable) in flat.items()})
    return nnx.merge(graph, state)


def length(kernel: jax.Array) -> jax.Array:
    """The l2 norm per output channel, the last axis; other axes stay with size 1."""
    return jnp.sqrt(jnp.sum(jnp.square(kernel), axis=tuple(range(kernel.ndim - 1)), keepdims=True) + 1e-12)


def unfold(params: Mapping[str, jax.Array]) -> Parameters:
    """Every kernel as a direction and a gain: how parameters are trained.

    Directions begin with length 1, so that all turn at the same rate, however small their kernels are.
    """
    result: Parameters = {}
    for name, value in params.items():
        if name.endswith(KERNEL):
            stem = name.removesuffix(KERNEL)
            gain = length(value)
            result |= {stem + DIRECTION: value / gain, stem + GAIN: gain}
        else:
            result[name] = value
    return result


def fold(params: Mapping[str, jax.Array]) -> Parameters:
    """Inverse of `unfold`: how parameters are used and released."""
    result: Parameters = {}
    for name, value in params.items():
        if name.endswith(DIRECTION):
            stem = name.removesuffix(DIRECTION)
            result[stem + KERNEL] = params[stem + GAIN] * value / length(value)
        elif not name.endswith(GAIN):
            result[name] = value
    return result
