"""The job: bad files do not stop it, kills do not harm it, and who does it does not change a byte."""

from __future__ import annotations

import json
import operator
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from musicgen.data_prep.dataset import manifest, prep, shards
from musicgen.data_prep.dataset.prep import Item, Prepared, PrepError, PrepProgress, Rejected
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.dataset.workers import map_in_order
from musicgen.data_prep.midi import write_midi
from musicgen.data_prep.performance import Performance


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 3)


@pytest.fixture
def folder(music_folder: Path, tmp_path: Path) -> Path:
    """A folder of music that a test may change."""
    return Path(shutil.copytree(music_folder, tmp_path / "music"))


@pytest.fixture
def undisturbed(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run makes that nothing disturbs."""
    prep.run(folder, tmp_path / "undisturbed", workers=0)
    return contents(tmp_path / "undisturbed")


def test_the_report_the_manifest_and_the_shards_agree(folder: Path, tmp_path: Path) -> None:
    told: list[PrepProgress] = []
    report = prep.run(folder, tmp_path / "set", workers=0, on_progress=told.append)
    assert {split: total["pieces"] for split, total in report.totals.items()} == {
        "train": 9,
        "validation": 1,
        "test": 2,
    }
    assert (report.shards, report.shards_kept, len(report.rejected)) == (5, 0, 0)
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert manifest["complete"] and manifest["splits"] == report.totals
    for split, total in report.totals.items():
        pieces = ShardSet(tmp_path / "set", split)
        assert total["tokens"] == sum(len(pieces.tokens(i)) for i in range(len(pieces)))
        assert total["notes"] == sum(len(pieces.notes(i)) for i in range(len(pieces)))
    for item in manifest["items"]:
        assert item["sha256"] == shards.sha256((folder / item["name"]).read_bytes())
    assert [step.done for step in told] == list(range(1, 13))
    assert told[-1].total == 12
    assert told[-1].tokens == sum(total["tokens"] for total in report.totals.values())


def test_workers_do_not_change_a_byte(folder: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    prep.run(folder, tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == undisturbed


def test_official_splits(folder: Path, tmp_path: Path) -> None:
    rows = "".join(f"late/piece {i:02d}.mid,{'test' if i % 2 else 'train'}\n" for i in range(5, 12))
    (tmp_path / "splits.csv").write_text("midi_filename,split\n" + rows)
    report = prep.run(folder, tmp_path / "set", csv=tmp_path / "splits.csv", workers=0)
    assert {split: total["pieces"] for split, total in report.totals.items()} == {
        "train": 3,
        "validation": 0,
        "test": 4,
    }
    assert [entry["name"] for entry in report.rejected] == [f"early/piece {i:02d}.mid" for i in range(5)]
    assert {entry["reason"] for entry in report.rejected} == {"not named in splits.csv"}
    assert len(ShardSet(tmp_path / "set", "validation")) == 0


def test_bad_files_are_listed_and_the_rest_goes_on(folder: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    (folder / "empty.mid").touch()
    (folder / "photo.mid").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    (folder / "cut.mid").write_bytes((folder / "late" / "piece 11.mid").read_bytes()[:40])
    (folder / "gone.mid").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.mid")
    with open(folder / "huge.mid", "wb") as file:
        file.truncate(100 << 20)
    report = prep.run(folder, tmp_path / "set", workers=0)
    listed = json.loads((tmp_path / "set" / "rejects.json").read_text())
    names = ["cut.mid", "empty.mid", "gone.mid", "huge.mid", "photo.mid", "pipe.mid"]
    assert [entry["name"] for entry in listed] == names
    assert all(entry["reason"] and "\n" not in entry["reason"] for entry in listed)
    assert "cannot be read: No such file" in listed[2]["reason"]
    assert sum(total["pieces"] for total in report.totals.values()) == 12


def test_a_name_that_is_not_utf_8(folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mid")
    try:
        shutil.copy(folder / "late" / "piece 05.mid", folder / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (folder / "late" / "piece 05.mid").unlink()
    prep.run(folder, tmp_path / "set", workers=2)
    assert prep.run(folder, tmp_path / "set", workers=0).shards_kept == 5
    pieces = [ShardSet(tmp_path / "set", split) for split in ("train", "validation", "test")]
    assert name in [each.name(i) for each in pieces for i in range(len(each))]


def test_a_fault_of_ours_rejects_only_the_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from musicgen.data_prep.dataset import pieces

    def faulty(data: bytes) -> object:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(pieces, "read_midi", faulty)
    outcome = prep.prepare(Item("a", "train", str(folder / "late" / "piece 07.mid")))
    assert isinstance(outcome, Rejected) and outcome.reason == "unexpected ZeroDivisionError: oops"


def dying(
    items: Iterable[Item], function: Callable[[Item], object], workers: int, died: Callable[[Item], object]
) -> Iterator[object]:
    """`map_in_order`, where reading piece 07 ends the process."""
    items = list(items)
    calls = [partial(os._exit, 9) if "piece 07" in item.name else partial(function, item) for item in items]
    item_of = dict(zip(map(id, calls), items, strict=True))
    return map_in_order(calls, operator.call, workers, lambda call: died(item_of[id(call)]))


def test_a_dead_worker_costs_only_its_own_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prep, "map_in_order", dying)
        report = prep.run(folder, tmp_path / "set", workers=2)
    assert [(entry["name"], entry["sha256"]) for entry in report.rejected] == [("late/piece 07.mid", None)]
    assert "died" in next(iter(report.rejected))["reason"]
    assert sum(total["pieces"] for total in report.totals.values()) == 11
    # It was never read, so the next run reads it, and only its shard is made again.
    again = prep.run(folder, tmp_path / "set", workers=0)
    assert (again.shards_kept, len(again.rejected)) == (4, 0)
    assert contents(tmp_path / "set") == undisturbed


def test_killed_at_every_write(
    folder: Path,
    tmp_path: Path,
    killed_at_write: Callable[[int], AbstractContextManager[None]],
    undisturbed: dict[str, bytes],
) -> None:
    """13 writes: the manifest's beginning, a shard and a record each for five shards, the rejects, the manifest."""
    for last in range(13):
        out = tmp_path / f"killed {last}"
        with killed_at_write(last):
            prep.run(folder, out, workers=0)
        with pytest.raises(shards.ShardError, match=r"unfinished|does not exist"):
            ShardSet(out, "train")
        report = prep.run(folder, out, workers=0)
        assert report.shards_kept == max(0, min(5, (last - 1) // 2))
        assert contents(out) == undisturbed


def test_killed_for_real(folder: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """SIGKILL with workers busy; that the pipe closes shows that no worker outlives its parent."""
    out = tmp_path / "killed"
    program = (
        "import os, signal, sys\n"
        "from musicgen.data_prep.dataset import manifest, prep\n"
        "manifest.ITEMS_PER_SHARD = 3\n"
        "if __name__ == '__main__':\n"
        "    def kill(progress):\n"
        "        if progress.done == 8: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    prep.run(sys.argv[1], sys.argv[2], workers=2, on_progress=kill)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), str(folder), str(out)]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -9, ended.stderr.decode()
    report = prep.run(folder, out, workers=0)
    assert report.shards_kept >= 1
    assert contents(out) == undisturbed


def test_a_second_run_does_nothing(folder: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "undisturbed"
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    report = prep.run(folder, out, workers=0)
    assert report.shards_kept == report.shards == 5
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.npz")} == before
    assert contents(out) == undisturbed


def test_changed_added_and_removed_files_are_noticed(
    folder: Path, tmp_path: Path, play: Callable[..., Performance]
) -> None:
    out = tmp_path / "set"
    prep.run(folder, out, workers=0)
    write_midi(play(99), folder / "late" / "piece 11.mid")
    assert prep.run(folder, out, workers=0).shards_kept == 4
    (folder / "late" / "piece 11.mid").unlink()
    write_midi(play(98), folder / "late" / "piece 08b.mid")
    assert prep.run(folder, out, workers=0).shards_kept == 4
    for path in (folder / "late").iterdir():
        path.unlink()
    report = prep.run(folder, out, workers=0)
    assert sum(total["pieces"] for total in report.totals.values()) == 5
    prep.run(folder, tmp_path / "fresh", workers=0)
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("victim", ["train-00001.npz", "train-00001.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_mended(
    folder: Path, tmp_path: Path, undisturbed: dict[str, bytes], victim: str, damage: str
) -> None:
    path = tmp_path / "undisturbed" / victim
    if damage == "remove" and victim == "manifest.json":
        path.unlink()
        with pytest.raises(PrepError, match="is not empty and holds no data set"):
            prep.run(folder, path.parent, workers=0)
        return
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    prep.run(folder, path.parent, workers=0)
    assert contents(path.parent) == undisturbed


def test_equal_pieces_are_one(folder: Path, tmp_path: Path) -> None:
    """The piece in an evaluation split stays, its copies in training go; when it changes, the next one stays."""
    test_piece, copies = folder / "early" / "piece 01.mid", ("early/piece 00 copy.mid", "late/piece 11 copy.mid")
    for name in copies:
        shutil.copy(test_piece, folder / name)
    out = tmp_path / "set"
    report = prep.run(folder, out, workers=0)
    assert [(entry["name"], entry["reason"]) for entry in report.rejected] == [
        (name, "the same music as early/piece 01.mid") for name in copies
    ]
    assert prep.run(folder, out, workers=0).shards_kept == report.shards
    shutil.copy(folder / "late" / "piece 06.mid", test_piece)
    report = prep.run(folder, out, workers=0)
    assert [(entry["name"], entry["duplicate_of"]) for entry in report.rejected] == [
        ("late/piece 06.mid", "early/piece 01.mid"),
        (copies[1], copies[0]),
    ]
    prep.run(folder, tmp_path / "fresh", workers=0)
    assert contents(out) == contents(tmp_path / "fresh")


def test_other_settings_need_another_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prep.run(folder, tmp_path / "set", workers=0)
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 4)
    with pytest.raises(PrepError, match=r"other settings \(items_per_shard 3 there, 4 now\): give a new folder"):
        prep.run(folder, tmp_path / "set", workers=0)


def test_a_job_that_cannot_start_says_why(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    for arguments, message in (
        ((tmp_path / "nowhere", tmp_path / "a"), "is not a folder"),
        ((tmp_path / "full", tmp_path / "a"), r"no \.mid, .* or \.rmi file"),
        ((folder, tmp_path / "file"), "is a file: give a folder"),
        ((folder, tmp_path / "full"), "is not empty and holds no data set"),
    ):
        with pytest.raises(PrepError, match=message):
            prep.run(*arguments, workers=0)
    with pytest.raises(PrepError, match=r"no\.csv does not exist"):
        prep.run(folder, tmp_path / "a", csv=tmp_path / "no.csv", workers=0)
    assert not (tmp_path / "a").exists()


def test_memory_is_bounded(folder: Path) -> None:
    """No more inputs are taken than a few per worker ahead of the results that are used."""
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = map_in_order(inputs(), abs, 2, abs)
    assert [next(results) for _ in range(20)] == list(range(20))
    assert len(taken) <= 20 + 8
    results.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder, of which some are copies, of those that are passed over, and when all of it is done already."""
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 32)
    notes = np.zeros(1)
    music = Performance(notes, notes + 1, notes + 60, notes + 64, np.zeros((0, 2)))

    def made(item: Item) -> Prepared:
        sha256 = shards.sha256(item.read())
        return Prepared(item.name, item.split, sha256, music, np.zeros(3, np.int16), sha256)

    monkeypatch.setattr(prep, "prepare", made)
    peaks: list[list[int]] = []
    for count in (128, 640):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"a piece of music, number {number}.mid").write_text(str(number % (count - count // 10)))
            (folder / f"notes on number {number}.txt").touch()
        peaks.append([])
        for _ in range(2):
            tracemalloc.start()
            report = prep.run(folder, tmp_path / f"set {count}", workers=0)
            peaks[-1].append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert len(report.rejected) == count + count // 10 and report.shards_kept == report.shards
    for small, large in zip(*peaks, strict=True):
        assert large - small < 60 * 512, peaks


def test_prepare_is_pure(folder: Path) -> None:
    item = Item("x", "train", str(folder / "late" / "piece 09.mid"))
    first, second = prep.prepare(item), prep.prepare(item)
    assert isinstance(first, Prepared) and isinstance(second, Prepared)
    assert first.performance.equals(second.performance) and first.tokens_sha256 == second.tokens_sha256
    given = prep.prepare(Item("x", "train", "nowhere", data=(folder / "late" / "piece 09.mid").read_bytes()))
    assert isinstance(given, Prepared) and given.tokens_sha256 == first.tokens_sha256


@pytest.mark.slow
def test_the_whole_of_maestro(maestro: Path, tmp_path: Path) -> None:
    """Where MUSICGEN_MAESTRO names it. The notes are the data set's own count."""
    report = prep.run(maestro, tmp_path / "set", csv=maestro / "maestro-v3.0.0.csv", workers=2)
    assert not len(report.rejected)
    assert [report.totals[split]["pieces"] for split in ("train", "validation", "test")] == [962, 137, 177]
    assert [report.totals[split]["notes"] for split in ("train", "validation", "test")] == [5_659_329, 639_425, 741_410]
    assert report.totals["validation"]["tokens"] == 2_591_627  # 30 fewer than note-seq (benchmarks/reading)
