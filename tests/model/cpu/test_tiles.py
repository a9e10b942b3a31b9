"""Products in tiles, and what model/cpu/blocks.py makes with them; whole models are compared in test_scoring.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.extending import is_jitted as is_dispatcher
from toys import TOY, random_parameters

from musicgen.model.cpu import blocks
from musicgen.model.cpu.blocks import Blocks, gelu, soften
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.memory import rotations
from musicgen.model.cpu.primitives import compiled
from musicgen.model.cpu.tiles import (
    LINE,
    TILE,
    amx_registers,
    best_dtype,
    free_registers,
    pack,
    place,
    products,
    room,
    store,
    use_registers,
    whole_tiles,
)

DTYPES = sorted({np.float32, best_dtype()}, key=str)  # those this processor multiplies


@compiled
def multiply_rows(
    x: np.ndarray, panels: np.ndarray, factors: np.ndarray, out: np.ndarray, registers: np.ndarray
) -> None:
    """out = x @ panels, by way of factors."""
    use_registers(registers)
    for row in range(x.shape[0]):
        store(x[row], factors[row])
    products(factors, panels, out)
    free_registers(registers)


@compiled
def find_place(inner: int, column: int, inners: int, panels: np.ndarray) -> int:
    """Where it is in them."""
    return place(inner, column, inners, panels)


def numbers(panels: np.ndarray) -> np.ndarray:
    """As floats."""
    return panels if panels.dtype == np.float32 else (panels.astype(np.uint32) << 16).view(np.float32)


def is_inlined(function: Any) -> bool:
    return bool(function.targetoptions.get("forceinline"))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 150), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_products_are_those_of_numpy(dtype: type, rows: int, inputs: int, outputs: int, seed: int) -> None:
    """Of any size, what pads them being zeros; bfloat16 has eight bits."""
    draw = np.random.default_rng(seed)
    x, matrix = (draw.standard_normal(shape).astype(np.float32) for shape in ((rows, inputs), (inputs, outputs)))
    padded = np.zeros((whole_tiles(rows), inputs), np.float32)
    padded[:rows] = x
    factors = room((len(padded), whole_tiles(inputs)), dtype)
    factors[:] = 1  # what was there before does not matter
    out = room((len(padded), whole_tiles(outputs)), np.float32)
    multiply_rows(padded, pack(matrix, dtype), factors, out, amx_registers())
    error = 1e-5 if dtype == np.float32 else 2**-7
    np.testing.assert_allclose(out[:rows, :outputs], x @ matrix, atol=error * (np.abs(x) @ np.abs(matrix)).max())
    assert not out[rows:].any() and not out[:, outputs:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_have_their_place(dtype: type) -> None:
    """Where keys and values are put, one by one, is where a whole matrix would have them."""
    matrix = np.random.default_rng(0).standard_normal((TILE + 5, 2 * TILE + 3)).astype(np.float32)
    panels = pack(matrix, dtype)
    assert panels.ctypes.data % LINE == 0
    found = [
        numbers(panels).ravel()[find_place(i, o, whole_tiles(len(matrix)), panels)] for i, o in np.ndindex(matrix.shape)
    ]
    np.testing.assert_allclose(np.reshape(found, matrix.shape), matrix, rtol=0 if dtype == np.float32 else 2**-8)


def test_softmax_and_gelu() -> None:
    """Over all that may come, neither infinite nor NaN."""
    scores = np.concatenate([np.linspace(-30, 30, 999), [-1e9, -200, 31]]).astype(np.float32)
    expected = np.exp(scores.astype(np.float64) - scores.max())
    total = soften(scores)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-5)
    x = np.concatenate([np.linspace(-8, 8, 999), [-1e4, 1e4]]).astype(np.float32)
    exact = x.astype(np.float64)
    exact = exact / (1 + np.exp(np.minimum(-1.5957691216057308 * (exact + 0.044715 * exact**3), 700)))
    gelu(x)
    np.testing.assert_allclose(x, exact, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing(dtype: type) -> None:
    """Nor does it matter how often a block is applied: nobody goes on before all are there."""
    engine = OnnxEngine(TOY, {name: np.asarray(x) for name, x in random_parameters(TOY).items()})
    rows = 12 * TILE
    at = rotations(TOY, rows)
    h = np.random.default_rng(1).standard_normal((rows, TOY.width)).astype(np.float32)
    found = []
    for threads in (1, 3):
        blocks, x = Blocks(TOY, engine.matrices, threads, dtype), h.copy()
        for _ in range(4):
            for name in ("local.0", "layers.1"):
                blocks.apply(name, x, at, x, at, 0, TOY.local_window if name == "local.0" else rows)
        found.append(blocks.outputs(x))
    np.testing.assert_array_equal(*found)


def test_what_a_compiled_function_calls_has_no_copy() -> None:
    """Which one of several copies ran hung on Numba's cache: `evaluate` told another score where it had compiled."""
    whole = [function for function in vars(blocks).values() if is_dispatcher(function) and not is_inlined(function)]
    called = {name for function in whole for name in function.py_func.__code__.co_names} & vars(blocks).keys()
    parts = {name: getattr(blocks, name) for name in called if is_dispatcher(getattr(blocks, name))}
    assert len(whole) >= 4 and {"attend", "project", "rotate", "add_rows"} <= parts.keys()
    assert [name for name, part in parts.items() if not is_inlined(part)] == ["wait"]  # which adds nothing up
