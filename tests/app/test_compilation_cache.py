"""The cache of compiled functions: used when it can be, never in the way."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from musicgen.app.backend import keep_compiled
from musicgen.app.output import cache_folder

NAMES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """JAX as it comes, and afterwards as it was."""
    before = {name: getattr(jax.config, name) for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_users_cache_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made if need be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert keep_compiled() == tmp_path / "cache" / "musicgen" / "jax" == cache_folder("jax")
    assert jax.config.jax_compilation_cache_dir == str(cache_folder("jax"))


def test_the_users_own_choice_stands(tmp_path: Path) -> None:
    """JAX_COMPILATION_CACHE_DIR, for instance."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


@pytest.mark.parametrize("chosen", [False, True])
def test_what_jax_says_of_a_torn_entry_is_not_told(
    chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of the user's choice neither: two processes tear an entry there, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if chosen:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        keep_compiled()
        warnings.warn("Error writing persistent compilation cache entry for 'f': ...", stacklevel=1)
    assert not told


def test_an_impossible_folder_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot be written, or none at all: everything works, only slower."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled() is None
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    if os.name != "nt":
        assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir is None
