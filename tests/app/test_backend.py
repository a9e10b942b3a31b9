"""Which engine is chosen, without asking JAX where that is not needed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from musicgen.app import backend
from musicgen.app.audio import codes_file
from musicgen.app.commands import replay as replay_command
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.checkpoints import Released
from musicgen.data_prep.rules import grammar
from musicgen.model.config import PRESETS


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the person nor by the tests' own settings."""
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


def installed(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Of the packages that matter only these are there."""
    there = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> ModuleSpec | None:
        if name in ("onnxruntime", "libtpu", "jax_plugins"):
            return ModuleSpec(name, None) if name in modules else None
        return there(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def on(monkeypatch: pytest.MonkeyPatch, platform: str | None) -> None:
    """What JAX would find; None: it must not be asked."""

    def find() -> str:
        assert platform is not None, "JAX was started without need"
        return platform

    monkeypatch.setattr(backend, "jax_platform", find)


@pytest.mark.parametrize(
    "modules, platform, expected",
    [
        (["onnxruntime"], None, "onnxruntime"),
        ([], None, "jax"),
        (["libtpu"], None, "jax"),
        (["onnxruntime", "libtpu"], "tpu", "jax"),
        (["onnxruntime", "libtpu"], "cpu", "onnxruntime"),  # installed where there is no TPU
    ],
)
def test_the_choice(monkeypatch: pytest.MonkeyPatch, modules: list[str], platform: str | None, expected: str) -> None:
    """By what is installed and, where there may be an accelerator, by what JAX finds."""
    installed(monkeypatch, *modules)
    on(monkeypatch, platform)
    assert backend.chosen() == expected


def test_a_jax_plugin_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """CUDA's comes as a package inside jax_plugins; the folder alone is nothing."""
    there = importlib.util.find_spec
    plugins = ModuleSpec("jax_plugins", None, is_package=True)
    plugins.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: plugins if name == "jax_plugins" else there(name, *rest)
    )
    on(monkeypatch, None)
    assert backend.chosen() == "onnxruntime"
    (tmp_path / "xla_cuda").mkdir()
    (tmp_path / "xla_cuda" / "__init__.py").touch()
    on(monkeypatch, "gpu")
    assert backend.chosen() == "jax"
    on(monkeypatch, None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert backend.chosen() == "onnxruntime"


def test_a_person_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an environment variable, and is told if it is misspelt."""
    on(monkeypatch, None)
    for name in (backend.JAX, backend.ONNX):
        monkeypatch.setenv(backend.VARIABLE, name)
        assert backend.chosen() == name
    monkeypatch.setenv(backend.VARIABLE, "torch")
    with pytest.raises(BadInput, match="must be onnxruntime or jax, not 'torch'"):
        backend.chosen()


def test_a_replay_on_the_other_engine_says_how_to_choose() -> None:
    """Only where the engine is another; with the same one the version or the processor is."""
    verdict = replay_command._verdict(False, "a.mid", "cpu jax 0.10.2", "cpu onnxruntime 1.32.0")
    assert verdict.endswith("round differently: MUSICGEN_BACKEND=jax chooses the other engine")
    verdict = replay_command._verdict(False, "a.mid", "cpu onnxruntime 1.32.0", "cpu onnxruntime 1.33.0")
    assert verdict.endswith("which may round differently")


def test_weights_that_do_not_fit_their_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid sums, but not a model: one line instead of a traceback from the engine."""
    monkeypatch.setenv(backend.VARIABLE, backend.ONNX)
    released = Released("odd", Path(), PRESETS["tiny"], {}, {}, {}, "0" * 64)
    with pytest.raises(BadInput, match="the weights odd are damaged .*: install them again"):
        backend.open_engine(released, grammar)


@pytest.mark.parametrize("start", [backend.jax_platform, lambda: codes_file.encoder(None, 8)])  # type: ignore[arg-type]
def test_a_jax_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, start: Callable[[], object]) -> None:
    """Such as with JAX_PLATFORMS=cuda and no plugin for it: drivers raise anything, without words, too."""

    def default_backend() -> str:
        raise AssertionError

    monkeypatch.setattr("jax.default_backend", default_backend)
    with pytest.raises(EnvironmentProblem, match=r"JAX does not start here \(AssertionError\): set JAX_PLATFORMS=cpu"):
        start()


def test_nothing_heavy_is_imported() -> None:
    """Where ONNX Runtime generates, the main job starts without JAX and what belongs to it."""
    code = """
import sys
from musicgen.app import backend, generate, prime, progress, replay
from musicgen.app import novelty as apart
from musicgen.app.commands import generate as generate_command
from musicgen.model.cpu import engine as onnx_engine
from musicgen.data_prep.rules import endings
from musicgen.data_prep.rules import note_limits as releases
heavy = {"jax", "flax", "optax", "gradio", "onnx", "soundfile"} & set(sys.modules)
asked = ("scipy._", "scipy.version")  # Numba asks which version is there, and takes nothing else
heavy |= {name for name in sys.modules if name.startswith("scipy.") and not name.startswith(asked)}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
