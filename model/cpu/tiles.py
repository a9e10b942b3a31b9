"""Products of matrices in tiles of 32 by 32, by what a processor has for them.

The right matrix is packed once: panels of 16 outputs, of which each holds all inputs one after the other, so that a
vector is filled by one load.  Where a processor has AMX, whose registers are tiles of 16 by 16, numbers are bfloat16,
two inputs side by side: that is five times as fast as floats, which they are elsewhere.  Sums are floats.

Letters: T rows, I inputs and O outputs, both padded to whole tiles.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from musicgen.model.cpu.primitives import FAST, inlined
from musicgen.model.shapes import Float


def host_features() -> Mapping[str, bool]:
    """What this processor has, where LLVM can tell."""
    try:
        found: Mapping[str, bool] = binding.get_host_cpu_features()
    except RuntimeError:
        return {}
    return found


TILE = 32
PANEL = 16  # outputs of a panel, floats of a vector, rows and columns of a register of AMX
LINE = 64  # bytes of a line of the cache: what crosses two of them takes twice as long to load
FEATURES = host_features()
VECTORS = 2 if FEATURES.get("avx512f") else 1  # of a row's sums that stay in registers,
ROWS = 8 if FEATURES.get("avx512f") else 4  # for so many rows at once
REQUEST_PERMISSION, SYSCALL, TILE_DATA = 0x1023, 158, 18  # of Linux, for the registers of AMX

BYTE, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS = ir.VectorType(FLOAT, PANEL)


@functools.cache
def amx_registers() -> np.ndarray:
    """u8 [64]: eight tiles of 16 rows of 64 bytes, as the processor is told; zeros if they are not to be had."""
    registers = np.zeros(64, np.uint8)
    if FEATURES.get("amx-bf16") and sys.platform == "linux":
        allowed = ctypes.CDLL(None).syscall(SYSCALL, REQUEST_PERMISSION, TILE_DATA) == 0
        registers[0] = allowed
        registers[16:32].view(np.uint16)[:] = LINE
        registers[48:56] = PANEL
    return registers


def best_dtype() -> type[np.uint16] | type[np.float32]:
    """What is multiplied fastest: with AMX bfloat16, the upper halves of floats, as uint16."""
    return np.uint16 if amx_registers()[0] else np.float32


def whole_tiles(count: int) -> int:
    """The least multiple of TILE that is no less."""
    return -(-count // TILE) * TILE


def room(shape: Sequence[int], dtype: type) -> np.ndarray:
    """Zeros that begin with a line of the cache."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def pack(matrix: Float[np.ndarray, "I O"], dtype: type) -> np.ndarray:
    """The panels of a matrix of any size, zeros behind it: [O/16, I*16]."""
    inputs, outputs = (whole_tiles(size) for size in matrix.shape)
    padded = np.zeros((inputs, outputs), np.float32)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    side = 2 if dtype == np.uint16 else 1  # by side
    if side == 2:
        bits = padded.view(np.uint32)
        padded = (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)
    found = room((outputs // PANEL, inputs * PANEL), dtype)
    found[:] = padded.reshape(inputs // side, side, -1, PANEL).transpose(2, 0, 3, 1).reshape(found.shape)
    return found


@inlined
def products(x: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None:
    """out f32 [T, O] = x [T, I] @ the matrix in panels."""
    inputs, outputs = x.shape[1], out.shape[1]
    flat_x, flat, flat_out = x.reshape(-1), panels.reshape(-1), out.reshape(-1)
    for o in range(0, outputs, TILE):
        for t in range(0, x.shape[0], TILE):
            multiply(flat_x, t * inputs, inputs, flat, o * inputs, inputs, inputs, flat_out, t * outputs + o, outputs)


def place(inner, column, inners, packed):  # type: ignore[no-untyped-def]  # Numba compares the two signatures
    """Where in the panels [O/16 * I*16] of a matrix its number [inner, column] is, of I = inners."""
    raise NotImplementedError


@overload(place, inline="always")
def _place(inner, column, inners, packed):  # type: ignore[no-untyped-def]
    if packed.dtype == types.uint16:
        return lambda inner, column, inners, packed: (
            (column // PANEL * inners + inner // 2 * 2) * PANEL + column % PANEL * 2 + inner % 2
        )
    return lambda inner, column, inners, packed: (column // PANEL * inners + inner) * PANEL + column % PANEL


def store(x, out):  # type: ignore[no-untyped-def]
    """x f32 [n] as numbers to be multiplied, out [n or more]; what is left of it becomes zeros."""
    raise NotImplementedError


@overload(store)
def _store(x, out):  # type: ignore[no-untyped-def]
    if out.dtype == types.uint16:

        def round_off(x, out):  # type: ignore[no-untyped-def]
            bits = x.view(np.uint32)
            for i in range(x.shape[0]):
                last = bits[i] >> np.uint32(16) & np.uint32(1)
                out[i] = np.uint16(np.uint32(bits[i] + np.uint32(0x7FFF) + last) >> np.uint32(16))
            for i in range(x.shape[0], out.shape[0]):
                out[i] = 0

        return round_off

    def copy(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            out[i] = x[i]
        for i in range(x.shape[0], out.shape[0]):
            out[i] = 0

    return copy


@intrinsic  # type: ignore[untyped-decorator]
def use_registers(typing: Any, registers: Any) -> Any:
    """Lay out the registers of AMX, if there are any, in each thread before its first product."""
    return types.void(registers), instruction("llvm.x86.ldtilecfg")


@intrinsic  # type: ignore[untyped-decorator]
def free_registers(typing: Any, registers: Any) -> Any:
    """Let go of them after its last: a thread that holds them takes longer to switch."""
    return types.void(registers), instruction("llvm.x86.tilerelease")


def instruction(name: str) -> Callable[..., Any]:
    """What makes it of an array u8 [64] whose first number is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if FEATURES.get("amx-bf16"):
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            with builder.if_then(builder.trunc(builder.load(data), ir.IntType(1))):
                call(builder, name, *[data] * name.endswith("cfg"))
        return context.get_dummy_value()

    return generate


def call(builder: Any, name: str, *arguments: Any) -> None:
    """An instruction that gives nothing back."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic  # type: ignore[untyped-decorator]
def multiply(
    typing: Any,
    x: Any,
    x_at: Any,
    x_row: Any,
    panels: Any,
    at: Any,
    panel: Any,
    inputs: Any,
    out: Any,
    out_at: Any,
    out_row: Any,
) -> Any:
    """A tile of `out`, from out_at on, is a tile's rows of x, from x_at on, times two panels, from `at` on.

    All are flat.  x_row, out_row: how far it is from row to row.  panel: I of a whole panel.  inputs: how many are
    summed, a multiple of TILE.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = {i: context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 3, 7)}
        operands = Operands(*(data.get(i, argument) for i, argument in enumerate(arguments)))
        operands = operands._replace(panel=builder.mul(operands.panel, LONG(PANEL)))
        (multiply_by_registers if signature.args[0].dtype == types.uint16 else multiply_by_vectors)(builder, operands)
        return context.get_dummy_value()

    n = types.intp
    return types.void(x, n, n, panels, n, n, n, out, n, n), generate


class Operands(NamedTuple):
    """Those of `multiply`, as values of LLVM; panel: the size of one."""

    x: Any
    x_at: Any
    x_row: Any
    panels: Any
    at: Any
    panel: Any
    inputs: Any
    out: Any
    out_at: Any
    out_row: Any


def multiply_by_registers(builder: Any, to: Operands) -> None:
    """By AMX: four tiles of sums, two of rows, two of panels."""
    sums, rows, columns = ([BYTE(i) for i in those] for those in (range(4), (4, 5), (6, 7)))

    def pointer(data: Any, *places: Any) -> Any:
        return builder.bitcast(builder.gep(data, [functools.reduce(builder.add, places)]), BYTE.as_pointer())

    def half(size: Any, number: int) -> Any:
        return builder.mul(size, LONG(number * PANEL))

    for tile in sums:
        call(builder, "llvm.x86.tilezero", tile)
    with cgutils.for_range(builder, builder.udiv(to.inputs, LONG(TILE))) as loop:
        done = builder.mul(loop.index, LONG(TILE))
        for i in range(2):
            of_x = pointer(to.x, to.x_at, done, half(to.x_row, i))
            call(builder, "llvm.x86.tileloadd64", rows[i], of_x, builder.mul(to.x_row, LONG(2)))
            of_panel = pointer(to.panels, to.at, half(done, 1), builder.mul(to.panel, LONG(i)))
            call(builder, "llvm.x86.tileloadd64", columns[i], of_panel, LONG(LINE))
        for i, tile in enumerate(sums):
            call(builder, "llvm.x86.tdpbf16ps", tile, rows[i // 2], columns[i % 2])
    for i, tile in enumerate(sums):
        where = pointer(to.out, to.out_at, half(to.out_row, i // 2), half(LONG(1), i % 2))
        call(builder, "llvm.x86.tilestored64", tile, where, builder.mul(to.out_row, LONG(4)))


def multiply_by_vectors(builder: Any, to: Operands) -> None:
    """In vectors of 16 floats: a number of x times a panel's outputs; the sums of some rows stay in registers."""
    totals = [[cgutils.alloca_once(builder, FLOATS) for _ in range(VECTORS)] for _ in range(ROWS)]
    nothing, unknown = ir.Constant(FLOATS, [0.0] * PANEL), ir.Constant(FLOATS, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(INT, PANEL), [0] * PANEL)

    def vector(data: Any, place: Any) -> Any:
        return builder.bitcast(builder.gep(data, [place]), FLOATS.as_pointer())

    def of(loop: Any, count: int, number: int, size: Any) -> Any:
        return builder.mul(builder.add(builder.mul(loop.index, LONG(count)), LONG(number)), size)

    rows, sides = (cgutils.for_range(builder, LONG(count)) for count in (TILE // ROWS, 2 // VECTORS))
    with rows as group, sides as side:
        for total in itertools.chain(*totals):
            builder.store(nothing, total)
        with cgutils.for_range(builder, to.inputs) as loop:
            own = builder.add(to.at, builder.mul(loop.index, LONG(PANEL)))
            columns = [
                builder.load(vector(to.panels, builder.add(own, of(side, VECTORS, v, to.panel))), align=4)
                for v in range(VECTORS)
            ]
            for row in range(ROWS):
                number = builder.add(builder.add(to.x_at, loop.index), of(group, ROWS, row, to.x_row))
                number = builder.load(builder.gep(to.x, [number]))
                number = builder.insert_element(unknown, number, INT(0))
                number = builder.shuffle_vector(number, unknown, everywhere)
                for total, column in zip(totals[row], columns, strict=True):
                    product = builder.fmul(number, column, flags=FAST)
                    builder.store(builder.fadd(builder.load(total), product, flags=FAST), total)
        for row in range(ROWS):
            for v in range(VECTORS):
                place = builder.add(of(group, ROWS, row, to.out_row), of(side, VECTORS, v, LONG(PANEL)))
                where = vector(to.out, builder.add(to.out_at, place))
                builder.store(builder.load(totals[row][v]), where, align=4)
