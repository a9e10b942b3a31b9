"""Weight normalisation, as a way to store the kernels of the codec and its discriminators.

The modules know plain kernels.  While they are trained, a kernel is kept as a direction and a gain per output channel
(Salimans & Kingma, 2016), which steadies adversarial training; `fold` makes the kernels that the modules want.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from musicgen.model.parameters import Parameters

KERNEL, DIRECTION, GAIN = ".kernel", ".direction", ".gain"


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
