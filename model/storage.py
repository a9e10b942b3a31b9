"""The form in which weights are stored: matrices as whole numbers with scales, the rest as float16.

    8 bits   int8 as the matrix itself, and a float32 scale for each output
    4 bits   model/int4.py; a matrix that does not divide into its groups has 8 bits

The scales of a matrix NAME are called NAME.scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from musicgen.model import int4

Weights = Mapping[str, np.ndarray]
SCALE = ".scale"  # of a matrix: its name and this


def quantize(
    params: Weights, matrix: Callable[[str, tuple[int, ...]], bool], inputs: int | tuple[int, ...], bits: int = 8
) -> dict[str, np.ndarray]:
    """Float32 parameters by name as they are stored.

    matrix: which of them become whole numbers, by name and shape.  inputs: which axes of a matrix of 8 bits share the
    scale of an output; the last axis and those that are left each have their own.
    """
    stored: dict[str, np.ndarray] = {}
    for name, values in params.items():
        if not matrix(name, values.shape):
            stored[name] = values.astype(np.float16)
        elif bits == 4 and int4.in_four_bits(name, values.shape):
            stored[name], stored[name + SCALE] = int4.quantize(values)
        else:
            scale = np.maximum(np.abs(values).max(axis=inputs), 1e-12).astype(np.float32) / 127
            stored[name] = np.rint(values / scale[..., None, :]).astype(np.int8)
            stored[name + SCALE] = scale
    return stored


def bits_of(values: np.ndarray) -> int:
    """Of each number of a stored array: 4, 8 or those of a float."""
    return 4 if values.dtype == np.uint8 else 8 * values.dtype.itemsize


def bits(stored: Weights) -> int:
    """Of each number of the matrices: 4 if there are any of so many, else 8."""
    return 4 if any(bits_of(values) == 4 for values in stored.values()) else 8


def shape_of(values: np.ndarray) -> tuple[int, ...]:
    """Of the parameter that a stored array holds."""
    if bits_of(values) != 4:
        return values.shape
    *before, outputs, halves = values.shape
    return *before, 2 * halves, outputs


def dequantize(stored: Weights) -> dict[str, np.ndarray]:
    """Inverse of `quantize`, to float32, up to the rounding."""
    params = {}
    for name, values in stored.items():
        scale = stored.get(name + SCALE)
        if name.endswith(SCALE):
            continue
        if scale is None:
            params[name] = values.astype(np.float32)
        elif bits_of(values) == 4:
            params[name] = int4.dequantize(values, scale)
        else:
            params[name] = values.astype(np.float32) * scale[..., None, :]
    return params


def check(stored: Weights, inputs: int | tuple[int, ...]) -> None:
    """Raise ValueError if a matrix of whole numbers has no scale for each of its outputs, or of their groups, or if
    something is no number: weights of NaN would generate for ever."""

    def scaled(values: np.ndarray, scale: np.ndarray | None) -> bool:
        if scale is None or values.ndim < 2:
            return False
        if bits_of(values) == 4:
            return scale.shape == (*values.shape[:-1], 2 * values.shape[-1] // int4.GROUP)
        return scale.shape == tuple(np.delete(values.shape, inputs))

    for name, values in stored.items():
        if values.dtype in (np.int8, np.uint8) and not scaled(values, stored.get(name + SCALE)):
            raise ValueError(f"{name} has no scale for each of its outputs")
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite: the training of these weights has diverged")
