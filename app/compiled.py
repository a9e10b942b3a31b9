"""Keeping what JAX has compiled, so that only the first generation on a machine waits for the compiler."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path


def cache_folder() -> Path:
    """Where compiled functions are kept: musicgen/jax in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return Path(base) / "musicgen" / "jax" if base else Path.home() / ".cache" / "musicgen" / "jax"


def keep_compiled() -> Path | None:
    """Turn on JAX's persistent compilation cache, unless the user has chosen one or the folder cannot be written.

    Returns the folder in use, if it is ours.
    """
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Two processes at once may tear an entry; it is then compiled again, which is nothing to tell anybody.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    return folder
