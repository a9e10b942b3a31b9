"""Which engine generates here: ONNX Runtime's on a CPU, JAX's on anything faster and wherever ONNX Runtime is not.

MUSICGEN_BACKEND=jax or onnxruntime chooses otherwise, such as to replay a piece that the other one made.
What JAX has compiled is kept, so that only the first generation on a machine waits for the compiler.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.output import cache_folder
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


def open_engine(released: Released, rules: Rules | None = None) -> tuple[Engine, str]:
    """The weights in an engine, and what it is: platform, name and version.

    rules: of the notes, which also have a preamble and forget loops; None for a model of codes.

    Raises EnvironmentProblem if it cannot use this machine, or the weights do not fit their own config.
    """
    of_notes = (rules, preamble(), context_limit) if rules is not None else ()
    try:
        return (_open_onnx if chosen() == ONNX else _open_jax)(released, of_notes)
    except ValueError as error:
        from musicgen.checkpoints import FOLDER

        kind = EnvironmentProblem if released.folder.is_relative_to(FOLDER) else BadInput
        raise kind(f"the weights {released.name} are damaged ({error}): install them again") from None


def _open_onnx(released: Released, of_notes: tuple[Any, ...]) -> tuple[Engine, str]:
    try:
        import numba
        import onnxruntime

        from musicgen.model.cpu.engine import OnnxEngine
    except ImportError as error:  # it was asked for, or a library it needs is not there
        raise EnvironmentProblem(
            f"ONNX Runtime does not start here ({error}): pip install onnxruntime numba, or set {VARIABLE}={JAX}"
        ) from None
    described = f"cpu {ONNX} {onnxruntime.__version__}"
    engine = OnnxEngine(released.config, released.weights, *of_notes)
    return engine, f"{described} numba {numba.__version__}" if of_notes else described


def _open_jax(released: Released, of_notes: tuple[Any, ...]) -> tuple[Engine, str]:
    platform = jax_platform()
    import jax

    from musicgen.model.jax_engine import JaxEngine

    keep_compiled()
    return JaxEngine(released.config, released.params, *of_notes), f"{platform} {JAX} {jax.__version__}"


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
    except Exception as error:  # drivers and plugins that do not fit raise anything
        why = str(error) or type(error).__name__
        raise EnvironmentProblem(
            f"JAX does not start here ({why}): set JAX_PLATFORMS=cpu, see musicgen doctor"
        ) from None


def keep_compiled() -> Path | None:
    """Turn on JAX's persistent compilation cache, unless the user has chosen one or the folder cannot be written.

    Returns the folder in use, if it is ours.
    """
    import jax

    # Two processes at once may tear an entry; it is then compiled again, which is nothing to tell anybody.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    try:
        folder = cache_folder("jax")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
