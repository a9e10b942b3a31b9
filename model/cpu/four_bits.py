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

from musicgen.model.cpu.primitives import FAST, compiled

LANES = 16
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS, BYTES = (ir.VectorType(of, LANES) for of in (FLOAT, INT, ir.IntType(8)))
UNKNOWN = ir.Constant(FLOATS, ir.Undefined)


def vector(builder: Any, array: Any, at: Any, kind: Any = FLOATS) -> Any:
    """LANES numbers of an array from its element `at` on."""
    return builder.load(builder.bitcast(builder.gep(array.data, [at]), kind.as_pointer()), align=1)


def all_lanes(value: int) -> Any:
    """The same whole number in each."""
    return ir.Constant(INTS, [value] * LANES)


def numbers(builder: Any, kernel: Any, group: Any) -> tuple[Any, Any]:
    """A group's even and odd weights, whole numbers from -8 to 7 as floats."""
    both = builder.zext(vector(builder, kernel, builder.mul(group, LONG(LANES)), BYTES), INTS)
    halves = builder.and_(both, all_lanes(15)), builder.lshr(both, all_lanes(4))
    lower, upper = (builder.sitofp(builder.sub(half, all_lanes(8)), FLOATS) for half in halves)
    return lower, upper


def scale_of(builder: Any, scale: Any, group: Any) -> Any:
    """A group's, in all lanes."""
    one = builder.load(builder.gep(scale.data, [group]))
    return builder.shuffle_vector(builder.insert_element(UNKNOWN, one, INT(0)), UNKNOWN, all_lanes(0))


def arrays_of(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """The first three arguments, which are arrays."""
    pairs = zip(signature.args[:3], arguments[:3], strict=True)
    return [context.make_array(kind)(context, builder, value) for kind, value in pairs]


@intrinsic  # type: ignore[untyped-decorator]
def row_product(typing: Any, kernel: Any, scale: Any, x: Any, o: Any) -> Any:
    """Row o of kernel u8 [O, D/2] and scale f32 [O, D/32] times x f32 [D], each group's even inputs before its odd."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel, scale, x = arrays_of(context, builder, signature, arguments)
        groups = builder.extract_value(scale.shape, 1)
        first = builder.mul(arguments[3], groups)
        total = cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [0.0] * LANES))
        plus, times = functools.partial(builder.fadd, flags=FAST), functools.partial(builder.fmul, flags=FAST)
        with cgutils.for_range(builder, groups) as loop:
            group, even = builder.add(first, loop.index), builder.mul(loop.index, LONG(2 * LANES))
            lower, upper = numbers(builder, kernel, group)
            lower = times(lower, vector(builder, x, even))
            upper = times(upper, vector(builder, x, builder.add(even, LONG(LANES))))
            both = times(scale_of(builder, scale, group), plus(lower, upper))
            builder.store(plus(builder.load(total), both), total)
        kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS])
        add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(add, [FLOAT(0.0), builder.load(total)], fastmath=FAST)

    return float32(kernel, scale, x, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def unpack(typing: Any, kernel: Any, scale: Any, out: Any, group: Any) -> Any:
    """Weights from a group of kernel u8 [O, D/2] and scale f32 [O, D/32] on, as out f32 [n], a multiple of 32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel, scale, out = arrays_of(context, builder, signature, arguments)
        count = builder.udiv(builder.extract_value(out.shape, 0), LONG(2 * LANES))
        with cgutils.for_range(builder, count) as loop:
            group, even = builder.add(arguments[3], loop.index), builder.mul(loop.index, LONG(2 * LANES))
            scales = scale_of(builder, scale, group)
            odd = builder.add(even, LONG(LANES))
            for weights, at in zip(numbers(builder, kernel, group), (even, odd), strict=True):
                there = builder.bitcast(builder.gep(out.data, [at]), FLOATS.as_pointer())
                builder.store(builder.fmul(weights, scales, flags=FAST), there, align=4)
        return context.get_dummy_value()

    return types.void(kernel, scale, out, types.intp), generate


@compiled
def even_before_odd(x: np.ndarray, out: np.ndarray) -> None:
    """x [D] into out [D] in the order in which a group's weights come out of their bytes."""
    for first in range(0, x.shape[0], 2 * LANES):
        for i in range(LANES):
            out[first + i], out[first + LANES + i] = x[first + 2 * i], x[first + 2 * i + 1]
