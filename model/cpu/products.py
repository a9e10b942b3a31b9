"""The products of a step: matrices of bytes, of halves of bytes or of floats times a few rows.

One row is as quick as its weights come from memory: each becomes a float in a register and is used at once, and so it
is with two.  For more, arithmetic is what takes time: then the weights of two outputs become floats once, and four rows
are added up together, so that each number that is fetched is used several times.  With bytes, whose recorded takes
would come out otherwise, each row is still added up alone.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int8, types, uint8
from numba.extending import overload

from musicgen.model.cpu.four_bits import LANES, even_before_odd, row_product, unpack
from musicgen.model.cpu.primitives import compiled, prefetch

AHEAD = 5120  # bytes: how far before its use a weight is asked for
AT_ONCE = 640  # weights between two such questions: a core has few open at a time
PIECE = 896  # inputs of eight rows, and the weights of two outputs for them, stay in the first cache
TOGETHER = 4  # rows


def number(weight):  # type: ignore[no-untyped-def]  # Numba compares the two signatures
    """A weight of a matrix as float32, without its scale; bytes have 128 for zero (model/cpu/weights.py)."""
    raise NotImplementedError


@overload(number, inline="always")
def _number(weight):  # type: ignore[no-untyped-def]
    if weight == types.uint8:
        return lambda weight: float32(int8(weight ^ uint8(128)))
    return lambda weight: weight


@compiled
def product(kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray, part: int, parts: int) -> None:
    """out [B, O] = x [B, D] @ (kernel [O, D] * scale [O]).T, this part's outputs of it; or of a matrix in four bits,
    kernel u8 [O, D/2] and scale f32 [O, D/32]."""
    first, end = out.shape[1] * part // parts, out.shape[1] * (part + 1) // parts
    if scale.ndim == 1:  # known when this is compiled
        product_of_bytes(kernel, scale, x, out, first, end)
    elif x.shape[0] > 2:
        product_of_rows(kernel, scale, x, out, first, end)
    else:
        product_of_halves(kernel, scale, x, out, first, end)


@compiled
def product_of_bytes(
    kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray, first: int, end: int
) -> None:
    """Of rows x [B, D] and outputs first..end of a matrix of bytes or floats."""
    D, flat, floats = kernel.shape[1], kernel.reshape(-1), np.empty(AT_ONCE, np.float32)
    for o in range(first, end):
        for at in range(0, x.shape[1], AT_ONCE):
            for i in range(o * D + at, o * D + at + AT_ONCE, 64 // kernel.itemsize):
                prefetch(flat, i + AHEAD // kernel.itemsize)
            weights = kernel[o, at : min(at + AT_ONCE, x.shape[1])]
            if x.shape[0] == 1:
                values = x[0, at:]
                total = float32(0)
                for i in range(weights.shape[0]):
                    total += number(weights[i]) * values[i]
                out[0, o] = total if at == 0 else out[0, o] + total
            else:  # bytes become floats once for all rows
                for i in range(weights.shape[0]):
                    floats[i] = number(weights[i])
                for row in range(x.shape[0]):
                    values = x[row, at:]
                    total = float32(0)
                    for i in range(weights.shape[0]):
                        total += floats[i] * values[i]
                    out[row, o] = total if at == 0 else out[row, o] + total
        for row in range(x.shape[0]):
            out[row, o] *= scale[o]


@compiled
def product_of_halves(
    kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray, first: int, end: int
) -> None:
    """Of a row or two, x [B, D], and outputs first..end of a matrix in four bits."""
    D, groups = x.shape[1], scale.shape[1]
    flat, flat_scale = kernel.reshape(-1), scale.reshape(-1)
    rows = np.empty(x.shape, np.float32)
    for row in range(x.shape[0]):
        even_before_odd(x[row], rows[row])
    for o in range(first, end):
        for i in range(o * D // 2, (o + 1) * D // 2, 64):
            prefetch(flat, i + AHEAD)
        for i in range(o * groups, (o + 1) * groups, 16):
            prefetch(flat_scale, i + AHEAD // LANES)
        for row in range(x.shape[0]):
            out[row, o] = row_product(kernel, scale, rows[row], o)


@compiled
def product_of_rows(
    kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray, first: int, end: int
) -> None:
    """Of more rows x [B, D] and outputs first..end of a matrix in four bits."""
    B, D = x.shape
    pieces = (D + PIECE - 1) // PIECE
    rows = np.zeros((pieces, (B + TOGETHER - 1) // TOGETHER * TOGETHER, PIECE), np.float32)  # those beyond B are 0
    for piece in range(pieces):
        for row in range(B):
            even_before_odd(x[row, piece * PIECE : (piece + 1) * PIECE], rows[piece, row])
    weights, sums = np.empty((2, PIECE), np.float32), np.empty((2, TOGETHER), np.float32)
    for piece in range(pieces):
        at = piece * PIECE
        count = min(PIECE, D - at)
        for o in range(first, end, 2):
            for i in range(2):
                group = min(o + i, end - 1) * scale.shape[1] + at // (2 * LANES)
                unpack(kernel, scale, weights[i, :count], group)
            for row in range(0, B, TOGETHER):
                add_up(weights, rows[piece], row, count, sums)
                for r in range(min(TOGETHER, B - row)):
                    for i in range(min(2, end - o)):
                        out[row + r, o + i] = sums[i, r] if piece == 0 else out[row + r, o + i] + sums[i, r]


@compiled
def add_up(weights: np.ndarray, x: np.ndarray, row: int, count: int, out: np.ndarray) -> None:
    """The first `count` weights [2, .] of two outputs times those of four rows of x [B, .] -> out [2, 4], in eight
    registers."""
    first, second = weights[0, :count], weights[1, :count]
    x0, x1, x2, x3 = x[row, :count], x[row + 1, :count], x[row + 2, :count], x[row + 3, :count]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = float32(0)
    for i in range(count):
        a, b = first[i], second[i]
        a0 += a * x0[i]
        a1 += a * x1[i]
        a2 += a * x2[i]
        a3 += a * x3[i]
        b0 += b * x0[i]
        b1 += b * x1[i]
        b2 += b * x2[i]
        b3 += b * x3[i]
    out[0, 0], out[0, 1], out[0, 2], out[0, 3] = a0, a1, a2, a3
    out[1, 0], out[1, 1], out[1, 2], out[1, 3] = b0, b1, b2, b3
