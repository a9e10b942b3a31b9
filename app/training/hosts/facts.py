"""What has to be the same on all hosts of a run, as far as it is known before JAX is loaded."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from musicgen.app.errors import BadInput
from musicgen.app.version import version

# Each host has its own way to the same files, as many processes that read as it likes, and may tire first.
OWN = ("distributed", "out", "data", "workers", "no_samples", "stop_after", "start")
SUMS = "SHA256SUMS"  # in a folder of weights


def facts_of(arguments: argparse.Namespace) -> dict[str, str]:
    """By what a person calls it.  Raises BadInput if there is no data set."""
    python = ".".join(platform.python_version_tuple()[:2])
    facts = {"musicgen": version(), "jax": importlib.metadata.version("jax"), "Python": python}
    for name, value in sorted(vars(arguments).items()):
        if name not in OWN:
            facts[f"--{name.replace('_', '-')}"] = "none given" if value is None else str(value)
    facts["--start"] = _sum_of(Path(str(arguments.start)) / SUMS) or str(arguments.start)
    # The manifest holds a sum of each shard.
    facts["--data"] = _sum_of(Path(arguments.data) / "manifest.json")
    if not facts["--data"]:
        raise BadInput(
            f"--data {arguments.data} is no data set here, on {os.uname().nodename}: mount or copy its folder, or make"
            " it with `musicgen prep`"
        )
    return facts


def _sum_of(path: Path) -> str:
    """A name for the content of a file; "" if there is none."""
    try:
        return f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    except OSError:
        return ""
