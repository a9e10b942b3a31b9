"""Work is killed at any moment and begun again: what is said to be done is whole, and nothing is left lying about.

A few of each in the suite, of training in `make nightly`; `make kills` tries a hundred.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from musicgen import checkpoints
from musicgen.app.replay import read_generated
from musicgen.data_prep import Performance, read_midi, write_midi

KILLS = int(os.environ.get("KILLS", "2"))
SEED = int(os.environ.get("SEED", "0"))  # of the moments
MUSICGEN = (sys.executable, "-m", "musicgen.app")
CALM = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
pytestmark = pytest.mark.slow


def run(*arguments: object, kill_after: float | None = None) -> int:
    """The exit code of a command, -9 if it was killed after so many seconds."""
    command = [*MUSICGEN, *map(str, arguments)]
    with subprocess.Popen(command, env={**os.environ, **CALM}, stderr=subprocess.PIPE, text=True) as process:
        try:
            process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    return process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_until_done(seconds: float, folder: Path, *arguments: object) -> Iterator[Path]:
    """Run a command again and again, killed at moments drawn from a whole run's time, until it was killed so often.

    Gives each folder in which it got to its end, `folder` and a number.
    """
    rng = random.Random(SEED)
    kills, done = 0, 0
    while kills < KILLS or done == 0:
        out = folder.with_name(f"{folder.name}-{done}")
        began = time.monotonic()
        code = run(*arguments, "--out", out, kill_after=rng.uniform(0, seconds) if kills < KILLS else None)
        if code == 0:
            seconds = min(seconds, time.monotonic() - began)
            yield out
            shutil.rmtree(out)
            done += 1
        else:
            assert code == -signal.SIGKILL
            kills += 1


def timed(*arguments: object) -> float:
    """How long a whole run takes."""
    began = time.monotonic()
    assert run(*arguments) == 0
    return time.monotonic() - began


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory, piece: Callable[..., Performance]) -> Path:
    """Pieces for three splits."""
    folder = tmp_path_factory.mktemp("music")
    splits = ["train"] * 8 + ["validation", "test"]
    for seed, _ in enumerate(splits):
        write_midi(piece(80, seed), folder / f"{seed}.mid")
    rows = [f"{split},{seed}.mid" for seed, split in enumerate(splits)]
    (folder / "splits.csv").write_text("\n".join(["split,midi_filename", *rows]) + "\n")
    return folder


def prep(music: Path) -> Sequence[object]:
    return ("prep", "--midi-dir", music, "--workers", 2, "--quiet")


def test_prep(music: Path, tmp_path: Path) -> None:
    """The data set of a job that was killed is, to the byte, that of one that was not."""
    seconds = timed(*prep(music), "--out", tmp_path / "whole")
    for killed in killed_until_done(seconds, tmp_path / "killed", *prep(music)):
        assert contents(killed) == contents(tmp_path / "whole")


@pytest.mark.nightly
def test_train(music: Path, tmp_path: Path) -> None:
    """Whenever it says that it is done, the weights are those of its last step, and whole."""
    assert run(*prep(music), "--out", tmp_path / "set") == 0
    train = ("train", "--preset", "toy", "--data", tmp_path / "set", "--no-samples", "--steps", 20)
    seconds = timed(*train, "--out", tmp_path / "whole")
    whole = checkpoints.load(tmp_path / "whole/weights")
    for out in killed_until_done(seconds, tmp_path / "killed", *train):
        killed = checkpoints.load(out / "weights")
        assert killed.about["steps"] == 20 and killed.sha256 == whole.sha256
        assert [name for name in contents(out) if ".tmp" in name or "weights." in name] == []


def test_generation(music: Path, tmp_path: Path) -> None:
    """There is a whole piece under the name asked for, or none."""
    make = ("generate", music / "0.mid", "--checkpoint", "maestro-tiny", "--seconds", 3, "--seed", 1, "--quiet")
    out = tmp_path / "new.mid"
    seconds = timed(*make, "--out", out)
    whole = out.read_bytes()
    assert read_generated(out).provenance.seed == 1 and not read_midi(whole)[1]
    out.unlink()
    rng = random.Random(SEED)
    kills = 0
    while kills < KILLS:
        began = time.monotonic()
        code = run(*make, "--out", out, kill_after=rng.uniform(0, seconds))
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            seconds = min(seconds, time.monotonic() - began)
        kills += code != 0
        assert not out.exists() or out.read_bytes() == whole
        out.unlink(missing_ok=True)
    assert run(*make, "--out", out) == 0 and contents(tmp_path) == {"new.mid": whole}
