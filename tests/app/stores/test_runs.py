"""`train --data s3://... --out s3://...`: a run that another machine goes on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musicgen import checkpoints
from musicgen.app import cli
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.store_folder import Copy
from musicgen.data_prep.stores import Place, StoreError


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code and what stands on stderr."""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    return code, capsys.readouterr().err


@pytest.mark.slow
def test_a_run_goes_on_on_another_machine(
    store: Any,
    piece: Callable[..., Performance],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the checkpoint in the store, with no file of the first machine; the weights are then those of one run."""
    music = tmp_path / "music"
    music.mkdir()
    for seed in range(2):
        write_midi(piece(80, seed), music / f"{seed}.mid")
    (music / "x.csv").write_text("split,midi_filename\ntrain,0.mid\nvalidation,1.mid\n")
    data, out = f"{store.address}/set", f"{store.address}/run"
    assert run(capsys, "prep", "--midi-dir", music, "--workers", 0, "--quiet", "--out", data)[0] == 0
    train = ("train", "--preset", "toy", "--data", data, "--no-samples", "--out", out)
    code, said = run(capsys, *train, "--stop-after", 0)
    assert code == 0 and "stopped at step 5 of 10" in said and str(tmp_path) not in said
    assert "run/checkpoints/5/_CHECKPOINT_METADATA" in store.names()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    code, said = run(capsys, *train)
    assert code == 0 and f"musicgen --checkpoint {out}/weights --out new.mid" in said
    steps = [json.loads(line)["step"] for line in store.get("run/metrics.jsonl").splitlines()]
    assert steps == sorted(steps) and steps[-1] == 10 and not any("/.lock" in name for name in store.names())
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in store.names():
        if name.startswith("run/weights/"):
            (folder / name.rpartition("/")[2]).write_bytes(store.get(name))
    assert checkpoints.load(folder).about["steps"] == 10


def test_a_checkpoint_that_was_cut_off_is_none(store: Any, tmp_path: Path) -> None:
    """What says that it is whole goes last, and first when it is removed."""
    place = Place(f"{store.address}/run")
    here = Copy(place, tmp_path / "here")
    for name in (
        "checkpoints/5/_CHECKPOINT_METADATA",
        "checkpoints/5/state/d",
        "metrics.jsonl",
        "weights.new/x",
        "a.tmp",
    ):
        (here.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (here.folder / name).write_bytes(name.encode())
    store.spoil("PUT", "/checkpoints/5/state/d", "torn", 1000)
    with pytest.raises(StoreError):
        here.push()
    store.faults.clear()
    assert "run/checkpoints/5/_CHECKPOINT_METADATA" not in store.names()
    place.write("checkpoints/5/state/d", b"half of it")
    there = Copy(place, tmp_path / "there")
    there.pull(keep=True)
    assert not (there.folder / "checkpoints").exists()
    here.push()
    puts = [path for method, path in store.asked if method == "PUT"]
    assert puts[-1].endswith("/checkpoints/5/_CHECKPOINT_METADATA")
    there.pull(keep=True)
    assert (there.folder / "checkpoints/5/state/d").read_bytes() == b"checkpoints/5/state/d"
    assert not (there.folder / "weights.new").exists() and not (there.folder / "a.tmp").exists()

    for path in (here.folder / "checkpoints/5/state/d", here.folder / "checkpoints/5/_CHECKPOINT_METADATA"):
        path.unlink()
    here.push()
    assert "run/checkpoints/5/state/d" in store.names()  # it may be back by the next time
    here.push()
    deleted = [path.rpartition("/")[2] for method, path in store.asked if method == "DELETE"]
    assert deleted[-2:] == ["_CHECKPOINT_METADATA", "d"] and store.names() == ["run/metrics.jsonl"]


def test_what_only_one_side_has(store: Any, tmp_path: Path) -> None:
    """What was not sent yet stays, what the store alone changed comes, what it lost goes; a copy to read has no more
    than the store."""
    place = Place(f"{store.address}/run")
    copy = Copy(place, tmp_path)
    for name in ("same", "lost", "changed"):
        store.put(f"run/{name}", b"1")
    copy.pull(keep=True)
    (copy.folder / "unsent").write_bytes(b"new")
    store.put("run/changed", b"22")
    store.direct.rm(f"{store.address}/run/lost")
    again = Copy(place, tmp_path)  # another process
    store.asked.clear()
    again.pull(keep=True)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == {
        "same": b"1",
        "changed": b"22",
        "unsent": b"new",
    }
    assert not any(path.endswith("/same") for _, path in store.asked)
    again.pull(keep=False)
    assert sorted(path.name for path in again.folder.iterdir()) == ["changed", "same"]
