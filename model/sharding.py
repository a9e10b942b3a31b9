"""Which letter of a parameter or a batch lies along which axis of the mesh of devices: one table."""

from __future__ import annotations

import dataclasses

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec


@dataclasses.dataclass(frozen=True)
class Rules:
    """Mesh axis of each letter; None means replicated.

    The batch is spread over `data`; the MLP's hidden layer and the heads over `model` (size 1 unless asked for).
    """

    B: str | None = "data"
    D: str | None = None
    F: str | None = "model"
    HK: str | None = "model"
    K: str | None = None
    V: str | None = None
    Q: str | None = None
    S: str | None = None
    E: str | None = None
    W: str | None = None

    def spec(self, letters: tuple[str, ...]) -> PartitionSpec:
        """PartitionSpec of an array whose axes bear these letters."""
        return PartitionSpec(*(getattr(self, letter) for letter in letters))


def make_mesh(model: int = 1, devices: list[jax.Device] | None = None) -> Mesh:
    """Mesh (data, model) over all devices, `model` of them to each copy of the parameters."""
    devices = jax.devices() if devices is None else devices
    if len(devices) % model:
        raise ValueError(f"{len(devices)} devices cannot be shared out {model} to a copy of the model")
    shape = (len(devices) // model, model)
    return jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)
