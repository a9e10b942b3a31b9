"""Matrices in four bits: numbers from -8 to 7, and one float16 scale for 32 inputs of an output; 4.5 bits a weight.

In four bits are the kernels [.., inputs, outputs] that are stored as whole numbers at all (storage.py), if groups of 32
divide their inputs: all matrices of the blocks, and for codes `widen`, `told`, `view` and `readout`.  What is stored as
float16 stays so: `embedding`, `table`, `begin`, `logits.kernel` and the scales of queries and keys.

Of a group, m is the weight of the largest magnitude, with its sign, and m / -8 the scale, so that m itself is -8 and
comes back (the scheme that llama.cpp calls Q4_0).  In memory each output is a row, for MatMulNBits and for
model/cpu/step.py, which read it from left to right: a byte holds input 2i in its lower half and input 2i+1 in its
upper, each plus 8.

Rounding the same weights, NumPy and JAX agree bit for bit (on a GPU, whose division is not exact, but for ties), and
rounding what was rounded changes nothing.  Training and storage therefore see the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax

GROUP = 32
# As a float16, a smaller scale loses precision, and XLA takes it for 0: so does everybody.
LEAST_SCALE = 2.0**-14


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the parameter of this name and shape is [inputs, outputs], or one such for each codebook, and is stored
    as whole numbers."""
    return name.endswith(".kernel") and not name.startswith("logits") and len(shape) in (2, 3)


def in_four_bits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether four bits are for it."""
    return is_matrix(name, shape) and shape[-2] % GROUP == 0


def round_groups(x: Any) -> tuple[Any, Any]:
    """Kernel f32 [.., inputs, outputs] of NumPy's or JAX's -> whole numbers f32 [.., groups, 32, outputs] and their
    scales f32 [.., groups, 1, outputs], each of which a float16 holds."""
    xp = x.__array_namespace__()
    groups = xp.reshape(x, (*x.shape[:-2], x.shape[-2] // GROUP, GROUP, x.shape[-1]))
    highest, lowest = xp.max(groups, axis=-2, keepdims=True), xp.min(groups, axis=-2, keepdims=True)
    scale = xp.where(highest > -lowest, highest, lowest) / -8
    scale = _as_float16(xp.where(xp.abs(scale) < LEAST_SCALE, 0, scale))
    return xp.clip(xp.round(groups / xp.where(scale == 0, 1, scale)), -8, 7) * (scale != 0), scale


def _as_float16(x: Any) -> Any:
    """f32, rounded to what a float16 holds."""
    if isinstance(x, np.ndarray):
        return x.astype(np.float16).astype(np.float32)
    import jax

    return jax.lax.reduce_precision(x, exponent_bits=5, mantissa_bits=10)  # XLA may leave out a cast there and back


def fake_quantize(params: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Parameters f32 as four bits hold them.  A gradient goes through as if nothing were rounded (straight through)."""
    import jax

    def rounded(x: jax.Array) -> jax.Array:
        numbers, scale = round_groups(jax.lax.stop_gradient(x))
        return (numbers * scale).reshape(x.shape) + (x - jax.lax.stop_gradient(x))

    return {name: rounded(x) if in_four_bits(name, x.shape) else x for name, x in params.items()}


def quantize(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel f32 [.., inputs, outputs] -> u8 [.., outputs, inputs/2] and scales f16 [.., outputs, inputs/32]."""
    numbers, scale = round_groups(kernel)
    halves = np.ascontiguousarray(np.swapaxes(numbers.reshape(kernel.shape) + 8, -1, -2), np.uint8)
    scales = np.ascontiguousarray(np.swapaxes(scale[..., 0, :], -1, -2), np.float16)
    return halves[..., ::2] | halves[..., 1::2] << 4, scales


def dequantize(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Inverse of `quantize`, up to the rounding: f32 [.., inputs, outputs]."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1)  # [.., outputs, inputs/2, 2]
    groups = halves.reshape(*scales.shape, GROUP).astype(np.float32) - 8
    rows = (groups * scales[..., None].astype(np.float32)).reshape(*packed.shape[:-1], -1)
    return np.ascontiguousarray(np.swapaxes(rows, -1, -2))
