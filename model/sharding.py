"""Where the arrays of a training run lie on the devices.

The devices stand in a table (data, model).  Rows of a batch are shared out to all of them.  What belongs to the
parameters, the optimiser's state included, is whole once in each line: every device keeps a part of each array, and a
step brings the others' parts, in the type that it computes in (ZeRO, Rajbhandari et al., 2020; PyTorch's FSDP).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA, MODEL = "data", "model"


def make_mesh(model: int = 1, devices: list[jax.Device] | None = None) -> Mesh:
    """Mesh (data, model) over all devices, `model` of them to each copy of the parameters."""
    devices = jax.devices() if devices is None else devices
    if len(devices) % model:
        raise ValueError(f"{len(devices)} devices cannot be shared out {model} to a copy of the model")
    shape = (len(devices) // model, model)
    return jax.make_mesh(shape, (DATA, MODEL), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def of_rows(mesh: Mesh) -> NamedSharding:
    """Of rows [k, B, ...]: B over all devices."""
    return NamedSharding(mesh, PartitionSpec(None, (DATA, MODEL)))


def of_part(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Of an array of the parameters' or the optimiser's: its longest axis that can be shared out, or none."""
    parts = mesh.shape[MODEL]
    longest = max((size for size in shape if size % parts == 0), default=0)
    if parts == 1 or not longest:
        return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec(*[None] * shape.index(longest), MODEL))


def share_out(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """The function that lays arrays [arrays, ...] whole on the devices of a line, as many on each: zeros fill up."""

    def lay(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, -len(x) % mesh.shape[MODEL]), *[(0, 0)] * (x.ndim - 1)])
        return jax.lax.with_sharding_constraint(padded, NamedSharding(mesh, PartitionSpec(MODEL)))

    return lay


def bring(mesh: Mesh, dtype: jnp.dtype) -> Callable[[Mapping[str, jax.Array]], dict[str, jax.Array]]:
    """The function from parameters that lie in parts to whole ones of that type; gradients of it lie in parts again."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    @functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
    def whole(x: jax.Array, kind: jnp.dtype) -> jax.Array:
        return jax.lax.with_sharding_constraint(x.astype(dtype), everywhere)

    def forward(x: jax.Array, kind: jnp.dtype) -> tuple[jax.Array, None]:
        return whole(x, kind), None

    def backward(kind: jnp.dtype, _: None, gradient: jax.Array) -> tuple[jax.Array]:
        return (jax.lax.with_sharding_constraint(gradient, of_part(mesh, gradient.shape)).astype(kind),)

    whole.defvjp(forward, backward)
    return lambda params: {name: whole(x, x.dtype) for name, x in params.items()}
