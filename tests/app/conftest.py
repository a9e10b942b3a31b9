"""Music to test with."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings

from musicgen.data_prep import Performance, write_midi

HERE = Path(__file__).parent

# Machines differ in speed: how long an example may take is not Hypothesis's to say.
settings.register_profile("app", deadline=None, print_blob=True)
settings.load_profile("app")


def _module(name: str) -> ModuleType:
    """A module that lies beside the tests."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module fake_engine.py, which is also a program."""
    return _module("fake_engine")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy_sound.py."""
    return _module("toy_sound")


@pytest.fixture(scope="session")
def released(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a codec, a model of its codes, and another codec."""
    folder = tmp_path_factory.mktemp("released")
    toy.release_model(folder / "model", toy.release_codec(folder / "codec"))
    toy.release_codec(folder / "other", seed=1)
    return folder


@pytest.fixture(scope="session")
def piece() -> Callable[..., Performance]:
    """Makes random music: piece(notes, seed, pedal)."""
    return _piece


def _piece(notes: int = 40, seed: int = 0, pedal: bool = True) -> Performance:
    """Random music off the 10 ms grid, one note per key at a time, about four notes a second."""
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, notes / 4, notes)).round(4)
    pitch = rng.integers(36, 96, notes)
    end = onset + rng.uniform(0.05, 2.0, notes).round(4)
    for key in np.unique(pitch):
        mine = np.flatnonzero(pitch == key)
        end[mine[:-1]] = np.minimum(end[mine[:-1]], onset[mine[1:]])
    keep = end > onset + 0.02
    velocity = rng.integers(20, 110, notes)
    times = np.sort(rng.uniform(0, notes / 4, notes // 5)).round(4)
    feet = np.stack([times, np.where(np.arange(times.size) % 2 == 0, 127.0, 0.0)], axis=1)
    return Performance(onset[keep], end[keep], pitch[keep], velocity[keep], feet if pedal else np.zeros((0, 2)))


@pytest.fixture
def music() -> Performance:
    """A piece of about ten seconds with pedal."""
    return _piece()


@pytest.fixture
def prime_file(tmp_path: Path, music: Performance) -> Path:
    """The same piece as a file."""
    path = tmp_path / "prime.mid"
    write_midi(music, path)
    return path
