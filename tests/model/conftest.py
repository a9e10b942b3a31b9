"""What the tests of the model share: its slow reference, small shapes, and parameters none of which is zero."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
from hypothesis import HealthCheck, settings

# reference.py and toys.py lie beside the tests and are imported by them by these names.
sys.path.insert(0, str(Path(__file__).parent))

# Machines differ in speed and the first example of a test compiles: how long one may take is not Hypothesis's to say.
settings.register_profile(
    "model", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("model")

# Most of the time goes into compiling; what is compiled once is kept for the next run.  `make test` chooses the folder.
if jax.config.jax_compilation_cache_dir is None:
    folder = Path(__file__).parents[2] / ".pytest_cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", 2_000_000_000)  # with a limit workers lock it
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
