"""Which engine generates here: ONNX Runtime's on a CPU, JAX's on anything faster and wherever ONNX Runtime is not.

MUSICGEN_BACKEND=jax or onnxruntime chooses otherwise, such as to replay a piece that the other one made.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
from typing import TYPE_CHECKING

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.data_prep.rules.loops import context_limit
from musicgen.data_prep.rules.preamble import preamble

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.model.engine import Engine, Rules

VARIABLE = "MUSICGEN_BACKEND"
ONNX, JAX = "onnxruntime", "jax"


def chosen() -> str:
    """The name of the engine that generates here.  JAX, which takes a second, is asked only where it may find a GPU.

    Raises BadInput for a MUSICGEN_BACKEND that is none.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", ONNX, JAX):
        raise BadInput(f"{VARIABLE} must be {ONNX} or {JAX}, not {asked[:80]!r}")
    if asked:
        return asked
    if importlib.util.find_spec(ONNX) is None:
        return JAX
    return JAX if _may_have_accelerator() and jax_platform() != "cpu" else ONNX


def open_engine(released: Released, rules: Rules) -> tuple[Engine, str]:
    """The weights in an engine, and what it is: platform, name and version.

    Raises EnvironmentProblem if it cannot use this machine, or the weights do not fit their own config.
    """
    if chosen() == ONNX:
        try:
            import numba
            import onnxruntime

            from musicgen.model.cpu.engine import OnnxEngine
        except ImportError as error:  # it was asked for, or a library it needs is not there
            raise EnvironmentProblem(
                f"ONNX Runtime does not start here ({error}): pip install onnxruntime numba, or set {VARIABLE}={JAX}"
            ) from None
        try:
            engine = OnnxEngine(released.config, released.weights, rules, preamble(), context_limit)
        except ValueError as error:
            raise EnvironmentProblem(f"the weights {released.name} are damaged ({error}): install them again") from None
        return engine, f"cpu {ONNX} {onnxruntime.__version__} numba {numba.__version__}"
    platform = jax_platform()
    import jax

    from musicgen.app.compiled import keep_compiled
    from musicgen.model.jax_engine import JaxEngine

    keep_compiled()
    return JaxEngine(
        released.config, released.params, rules, preamble(), context_limit
    ), f"{platform} {JAX} {jax.__version__}"


def _may_have_accelerator() -> bool:
    """Whether JAX has anything but a CPU to look for: a plugin, or libtpu, and is not told to leave it."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return False
    plugins = importlib.util.find_spec("jax_plugins")
    return importlib.util.find_spec("libtpu") is not None or (
        plugins is not None and any(pkgutil.iter_modules(plugins.submodule_search_locations or []))
    )


def jax_platform() -> str:
    """cpu, gpu or tpu.  Raises EnvironmentProblem if JAX does not start."""
    import jax

    try:
        return jax.default_backend()
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"JAX does not start here ({error}): set JAX_PLATFORMS=cpu, see musicgen doctor"
        ) from None
