"""How the tests of the model run: their helpers can be imported, and little time goes into compiling."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

# reference.py and toys.py lie beside the tests, which import them by these names.
sys.path.insert(0, str(Path(__file__).parent))

# What is compiled once is kept for the next run.  `make test` chooses the folder itself.
if jax.config.jax_compilation_cache_dir is None:
    folder = Path(__file__).parents[2] / ".pytest_cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", 2_000_000_000)  # with a limit workers lock it
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def quick_compiler() -> Iterator[None]:
    """LLVM without its expensive passes: half the time, for the same operations in the same order and memory."""
    before = jax.config.values["jax_disable_most_optimizations"]  # `make test` chooses it for all tests
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def usual_compiler(quick_compiler: None) -> Iterator[None]:
    """The compiler as users have it."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
