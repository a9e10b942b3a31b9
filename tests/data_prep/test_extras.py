"""The commands that install what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from musicgen.data_prep import extras

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", ["app", "train", "data", "dask", "beam", "live", "audio"])
def test_the_packages_are_those_of_the_extra(extra: str) -> None:
    """With their floors, quoted for a shell."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert sorted(extras.install_command(extra).removeprefix("pip install ").split()) == sorted(
        f'"{package}"' for package in wanted
    )


@pytest.mark.parametrize(
    ("came_from", "command"),
    [
        (
            {"url": "file:///my%20clone", "dir_info": {"editable": True}},
            'git -C "/my clone" checkout -- checkpoints',
        ),
        ({"url": "file:///src/clone", "dir_info": {}}, 'pip install --force-reinstall --no-deps "/src/clone"'),
        ({"url": "https://e.org/p.whl"}, 'pip install --force-reinstall --no-deps "https://e.org/p.whl"'),
        (None, 'pip install --force-reinstall --no-deps "perceiver-musicgen"'),
    ],
)
def test_files_come_back_from_where_they_came(came_from: object, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no index knows would mend nothing."""
    text = json.dumps(came_from) if came_from else None
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert extras.reinstall_command() == command
