"""Products of matrices in four bits (model/int4.py), for which Numba has no words: its loops over halves of bytes take
ten times as long.

Of a group, the even inputs' weights are the lower halves of 16 bytes and the odd inputs' the upper ones, 16 numbers at
once with each.  What is written here in vectors of 16, LLVM makes of whatever a processor has.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, types
from numba.core import cgutils
from numba.extending import intrinsic

from musicgen.model.cpu.primitives import FAST, compiled, prefetch

LANES = 16
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS, BYTES = (ir.VectorType(of, LANES) for of in (FLOAT, INT, ir.IntType(8)))
UNKNOWN = ir.Constant(FLOATS, ir.Undefined)
AHEAD = 5120  # bytes: how far before its use a weight is asked for


@intrinsic  # type: ignore[untyped-decorator]
def row_product(typing: Any, kernel: Any, scale: Any, x: Any, row: Any) -> Any:
    """The row of kernel u8 [O, D/2] and scale f32 [O, D/32] times x f32 [2, D/2], its even inputs and its odd ones."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        ]
        row, groups = arguments[3], builder.extract_value(arrays[1].shape, 1)
        size = builder.extract_value(arrays[2].shape, 1)
        first = builder.mul(row, groups)
        total = cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [0.0] * LANES))

        def vector(array: Any, at: Any, kind: Any = FLOATS) -> Any:
            return builder.load(builder.bitcast(builder.gep(array.data, [at]), kind.as_pointer()), align=1)

        def all_lanes(value: int) -> Any:
            return ir.Constant(INTS, [value] * LANES)

        def number(half: Any) -> Any:
            return builder.sitofp(builder.sub(half, all_lanes(8)), FLOATS)

        plus, times = functools.partial(builder.fadd, flags=FAST), functools.partial(builder.fmul, flags=FAST)
        with cgutils.for_range(builder, groups) as loop:
            group, even = builder.add(first, loop.index), builder.mul(loop.index, LONG(LANES))
            odd = builder.add(even, size)
            both = builder.zext(vector(arrays[0], builder.mul(group, LONG(LANES)), BYTES), INTS)
            lower = times(number(builder.and_(both, all_lanes(15))), vector(arrays[2], even))
            upper = times(number(builder.lshr(both, all_lanes(4))), vector(arrays[2], odd))
            one = builder.load(builder.gep(arrays[1].data, [group]))
            scales = builder.shuffle_vector(builder.insert_element(UNKNOWN, one, INT(0)), UNKNOWN, all_lanes(0))
            builder.store(plus(builder.load(total), times(scales, plus(lower, upper))), total)
        kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS])
        add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(add, [FLOAT(0.0), builder.load(total)], fastmath=FAST)

    return float32(kernel, scale, x, types.intp), generate


@compiled
def product_of_halves(
    kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray, part: int, parts: int
) -> None:
    """out [B, O] = x [B, D] @ the matrix in kernel u8 [O, D/2] and scale f32 [O, D/32], this part's outputs of it."""
    outputs, groups = scale.shape
    B, D = x.shape
    halves = np.empty((B, 2, D // 2), np.float32)
    for row in range(B):
        for i in range(D // 2):
            halves[row, 0, i], halves[row, 1, i] = x[row, 2 * i], x[row, 2 * i + 1]
    flat, flat_scale = kernel.reshape(-1), scale.reshape(-1)
    for o in range(outputs * part // parts, outputs * (part + 1) // parts):
        for i in range(o * D // 2, (o + 1) * D // 2, 64):
            prefetch(flat, i + AHEAD)
        for i in range(o * groups, (o + 1) * groups, 16):
            prefetch(flat_scale, i + AHEAD // LANES)
        for row in range(B):
            out[row, o] = row_product(kernel, scale, halves[row], o)
