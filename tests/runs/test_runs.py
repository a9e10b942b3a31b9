"""The scripts of runs/: each walks its whole way, from an archive to weights that load, at toy size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from musicgen import checkpoints
from musicgen.checkpoints import codec_release

RUNS = Path(__file__).parents[2] / "runs"
SCRIPTS = sorted(path.name for path in RUNS.glob("*.sh") if os.access(path, os.X_OK))


def walk(script: str, run: Path, **settings: str) -> str:
    """Run the script as a person does, with the musicgen of this environment; what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment = {**os.environ, **quick, "PATH": path, "TOY": "1", "RUN": str(run), "WORKERS": "0"}
    done = subprocess.run(
        ["sh", str(RUNS / script)], env={**environment, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_there_is_one_for_each_of_the_released_weights() -> None:
    assert SCRIPTS == ["maestro-tiny.sh", "maestro.sh", "piano-codec.sh", "piano-codes.sh"]
    assert checkpoints.names() == ["maestro-piano", "maestro-tiny", "piano-codes"]
    assert checkpoints.names(codec_release.FOLDER) == ["piano"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_head_says_what_to_expect(script: str) -> None:
    head = (RUNS / script).read_text().split("\n. ")[0]
    for word in ("Hardware", "Time", "Expected", "Recorded", f"TOY=1 runs/{script}"):
        assert word in head
    for path in re.findall(r"(?:checkpoints|benchmarks)/[\w/.-]+\w", head):
        assert (RUNS.parent / path).exists(), path


@pytest.mark.slow
@pytest.mark.parametrize("script", ["maestro.sh", "maestro-tiny.sh"])
def test_weights_of_notes(script: str, tmp_path: Path) -> None:
    told = walk(script, tmp_path)
    (weights,) = re.findall(r"released weights: (.*)", told)
    assert checkpoints.load(weights).about["steps"] == 10
    assert "nats" in told
    assert (Path(weights) / "memorisation.npz").is_file() == (script == "maestro.sh")


@pytest.mark.slow
def test_weights_of_sound(tmp_path: Path) -> None:
    """The codec first, then the model over its codes, from the same renders."""
    pytest.importorskip("midirenderer")
    (codec,) = re.findall(r"released codec: (.*)", walk("piano-codec.sh", tmp_path))
    known = codec_release.load(codec)
    assert known.about["validation"]["step"] == 10
    renders = {path: path.stat().st_mtime_ns for path in (tmp_path / "renders").rglob("*.wav")}
    (weights,) = re.findall(r"released weights: (.*)", walk("piano-codes.sh", tmp_path, CODEC=codec))
    released = checkpoints.load(weights)
    assert released.tokenizer["codec_sha256"] == known.sha256 and released.about["training"]["sampled_rate"] == 1.0
    assert released.about["start"]["sha256"] == checkpoints.load(tmp_path / "codes" / "weights").sha256
    assert renders == {path: path.stat().st_mtime_ns for path in (tmp_path / "renders").rglob("*.wav")}


def test_the_scripts_are_plain_shell() -> None:
    """Every sh takes them; no part of a line is run when a variable is unset."""
    for script in SCRIPTS:
        assert subprocess.run(["sh", "-n", str(RUNS / script)], check=False).returncode == 0
    assert shutil.which("sh") and "set -eu" in (RUNS / "archive.sh").read_text()
