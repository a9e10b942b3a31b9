"""Weights that are written over others: whichever moment a kill or a reader comes, one of the two is whole."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.checkpoints.replace import replacing
from musicgen.model import parameters
from musicgen.model.config import ModelConfig

CONFIG = ModelConfig(width=16, heads=2, local_layers=0, layers=1, cross_attends=1, context=16, latents=4, vocab_size=16)


def write(folder: Path, step: int) -> str:
    """Weights of a step, in more shards the later it is."""
    params = {name: np.full(shape, step, np.float32) for name, shape in parameters.shapes(CONFIG).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SHARD_BYTES", 4_000 // step)
        return checkpoints.release(folder, CONFIG, params, {}, {"steps": step}, f"# Step {step}\n")


def step_in(folder: Path) -> int:
    """The step of the weights that are loaded from there; every file of them says the same."""
    released = checkpoints.load(folder)
    step = int(released.about["steps"])
    assert all((np.abs(x - step) < 0.01 * step).all() for x in released.params.values())
    assert f"# Step {step}" in (released.folder / checkpoints.CARD).read_text()
    return step


class Snapshots:
    """Copies of a folder as it is before every change of a file's or folder's name, and before every opening."""

    def __init__(self, place: Path, target: Path) -> None:
        self.place, self.target, self.on, self.count = place, target, False, 0
        sys.addaudithook(self._note)  # for ever: `on` decides

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event == "open" or event.startswith(("os.", "shutil."))):
            self.on = False
            shutil.copytree(self.place, self.target / str(self.count))
            self.on, self.count = True, self.count + 1

    def __enter__(self) -> Snapshots:
        self.on = True
        return self

    def __exit__(self, *_: object) -> None:
        self.on = False


def test_killed_at_every_step(tmp_path: Path) -> None:
    """A kill leaves what lies on the disk at its moment: each such state is loaded, and written over."""
    run = tmp_path / "run"
    write(run / "weights", 1)
    with Snapshots(run, tmp_path / "moments") as snapshots:
        write(run / "weights", 2)
    moments = [tmp_path / "moments" / str(i) for i in range(snapshots.count)]
    found = [step_in(moment / "weights") for moment in moments]
    assert found == sorted(found) and {1, 2} == set(found)
    assert any(not (moment / "weights").exists() for moment in moments)  # between the two renames, too
    for moment in moments:
        write(moment / "weights", 3)
        assert step_in(moment / "weights") == 3
        assert [path.name for path in moment.iterdir()] == ["weights"]


def test_killed_at_the_first_checkpoint(tmp_path: Path) -> None:
    """There is nothing, or what is there is whole."""
    (tmp_path / "run").mkdir()
    with Snapshots(tmp_path / "run", tmp_path / "moments") as snapshots:
        write(tmp_path / "run" / "weights", 1)
    assert snapshots.count > 10
    for i in range(snapshots.count):
        weights = tmp_path / "moments" / str(i) / "weights"
        assert not weights.exists() or step_in(weights) == 1
        if not weights.exists():
            with pytest.raises(checkpoints.UnknownCheckpointError):
                checkpoints.load(weights)


def test_what_else_lies_in_the_folder_stays(tmp_path: Path) -> None:
    write(tmp_path / "weights", 2)
    (tmp_path / "weights" / "memorisation.npz").write_bytes(b"index")
    write(tmp_path / "weights", 1)
    assert (tmp_path / "weights" / "memorisation.npz").read_bytes() == b"index"
    assert step_in(tmp_path / "weights") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize("after", [0, 1])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The first or the second rename fails: the old weights stand where they stood, and nothing is left over."""
    write(tmp_path / "weights", 1)
    calls, rename = itertools.count(), Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if next(calls) == after:
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError):
        write(tmp_path / "weights", 2)
    assert step_in(tmp_path / "weights") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_body_that_fails_leaves_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "folder") as new:
        (new / "file").write_text("ne")
        raise KeyboardInterrupt
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


PROGRAM = """
import sys, itertools
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_replace import write
for i in itertools.count():
    write(Path({weights!r}), 1 + i % 2)
    print(i, flush=True)
"""


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes weights over and over again."""
    text = PROGRAM.format(folder=str(Path(__file__).parent), weights=str(tmp_path / "weights"))
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_read_while_it_is_written_and_killed(tmp_path: Path, writing: subprocess.Popen[str]) -> None:
    """A hundred reads beside a writer, then SIGKILL: no read finds damage."""
    assert writing.stdout is not None
    assert writing.stdout.readline()
    drain = threading.Thread(target=writing.stdout.read)
    drain.start()
    found = [step_in_files(tmp_path / "weights") for _ in range(100)]
    assert set(found) == {1, 2}
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    drain.join()
    assert step_in(tmp_path / "weights") in (1, 2)
    write(tmp_path / "weights", 3)
    assert step_in(tmp_path / "weights") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def step_in_files(folder: Path) -> int:
    """The step of the weights that are read; files read once, since they may be others a moment later."""
    return int(checkpoints.load(folder).about["steps"])
