"""Matrices as int8 with one float32 scale an output, the form in which weights are stored; the rest is float16."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]
SCALE = ".scale"  # of an int8 matrix: its name and this


def quantize(
    params: Weights, matrix: Callable[[str, np.ndarray], bool], inputs: int | tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Float32 parameters by name as they are stored.

    matrix: which of them become int8.  inputs: which of its axes share the scale of an output; the last axis and those
    that are left each have their own.
    """
    stored: dict[str, np.ndarray] = {}
    for name, values in params.items():
        if matrix(name, values):
            scale = np.maximum(np.abs(values).max(axis=inputs), 1e-12).astype(np.float32) / 127
            stored[name] = np.rint(values / scale[..., None, :]).astype(np.int8)
            stored[name + SCALE] = scale
        else:
            stored[name] = values.astype(np.float16)
    return stored


def dequantize(stored: Weights) -> dict[str, np.ndarray]:
    """Inverse of `quantize`, to float32, up to the rounding."""
    params = {}
    for name, values in stored.items():
        if not name.endswith(SCALE):
            scale = stored.get(name + SCALE)
            params[name] = values.astype(np.float32) * (1 if scale is None else scale[..., None, :])
    return params


def check_scales(stored: Weights, inputs: int | tuple[int, ...]) -> None:
    """Raise ValueError if an int8 array has no scale for each of its outputs."""
    for name, values in stored.items():
        scale = stored.get(name + SCALE)
        if values.dtype == np.int8 and (scale is None or scale.shape != tuple(np.delete(values.shape, inputs))):
            raise ValueError(f"{name} has no scale for each of its outputs")
