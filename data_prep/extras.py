"""The commands that install what is missing: an extra's packages, or musicgen again from where it came."""

from __future__ import annotations

import importlib.metadata
import json
import urllib.parse

DISTRIBUTION = "perceiver-musicgen"


def install_command(extra: str) -> str:
    """What installs the packages of an extra, by their own names: that works wherever musicgen itself came from."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    packages = [line.partition(";")[0].strip() for line in lines if f'extra == "{extra}"' in line]
    wanted = packages or [f"{DISTRIBUTION}[{extra}]"]
    return "pip install " + " ".join(f'"{package}"' for package in wanted)


def reinstall_command() -> str:
    """What brings back the files of musicgen as they were installed: from its clone, its wheel, or by its name."""
    try:
        came_from = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        came_from = None
    source = json.loads(came_from) if came_from else {}
    place = urllib.parse.unquote(source.get("url", DISTRIBUTION).removeprefix("file://"))
    if source.get("dir_info", {}).get("editable"):
        return f'git -C "{place}" checkout -- checkpoints'
    return f'pip install --force-reinstall --no-deps "{place}"'
