"""Which musicgen this is."""

from __future__ import annotations

import functools


@functools.cache
def version() -> str:
    """The installed version, or 'source' in a tree that is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.version("perceiver-musicgen")
    except importlib.metadata.PackageNotFoundError:
        return "source"
