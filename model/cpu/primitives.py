"""What Numba has no name for: memory fetched ahead, and threads that wait for each other inside compiled code.

Numba keeps what it has compiled on disk and makes it anew when the file of a function changes, not when one that it
calls does: whoever changes this file deletes model/__pycache__.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

FAST = ("reassoc", "contract", "nsz", "arcp", "nnan")  # what may be done to sums and products


OPTIONS: dict[str, Any] = {
    "nogil": True,
    "no_cfunc_wrapper": True,  # nobody calls them from C, and one takes a tenth of the time to compile
    "error_model": "numpy",
    "fastmath": set(FAST),
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """njit without the GIL; kept on disk for the next process wherever there is room for it."""
    with contextlib.suppress(RuntimeError):  # nowhere to keep it
        return njit(function, cache=True, **OPTIONS)
    return njit(function, **OPTIONS)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but laid into each function that calls it, and kept there alone.

    Else each caller has a copy, whose sums may be in another order.  Which copy they all call hangs on what was loaded
    first, and that on whether this process compiles or reads what another one has compiled.
    """
    return njit(getattr(function, "py_func", function), forceinline=True, **OPTIONS)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Ask for the memory around array[at], which need not be there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] + [ir.IntType(32)] * 3)
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        where = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        builder.call(fetch, [where, *(ir.Constant(ir.IntType(32), value) for value in (0, 2, 1))])  # read, near, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_increment(typing: Any, barrier: Any) -> Any:
    """barrier[0] += 1 by one thread at a time; all that was written before is seen by whoever sees it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(barrier), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_load(typing: Any, barrier: Any) -> Any:
    """barrier[0] as it is now."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(data, "seq_cst", 8)

    return types.int64(barrier), generate


@intrinsic  # type: ignore[untyped-decorator]
def greater(typing: Any, a: Any, b: Any) -> Any:
    """The greater of two float32; unlike Python's max, LLVM finds that of a whole array in vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.maxnum.f32")
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def power_of_two(typing: Any, exponent: Any) -> Any:
    """2**exponent of a whole float32 from -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(32)
        biased = builder.add(builder.fptosi(arguments[0], whole), ir.Constant(whole, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(whole, 23)), ir.FloatType())

    return types.float32(types.float32), generate


if sys.platform == "win32":  # which has another name for it

    @compiled
    def yield_cpu() -> None:
        """Let whoever waits for this core have it."""
else:
    sched_yield = types.ExternalFunction("sched_yield", types.int32())

    @compiled
    def yield_cpu() -> None:
        """Let whoever waits for this core have it."""
        sched_yield()


@compiled
def wait(barrier: np.ndarray, goal: int) -> int:
    """Until all threads are here, which is when the barrier is at `goal`; returns it."""
    atomic_increment(barrier)
    tries = 0
    while atomic_load(barrier) < goal:
        tries += 1
        if tries > 10_000:
            yield_cpu()
    return goal
