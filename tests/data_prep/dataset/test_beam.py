"""The job on Apache Beam's DirectRunner writes the bytes of the local runner."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from musicgen.data_prep.dataset import manifest, prep
from musicgen.data_prep.dataset.prep import PrepError, PrepProgress

pytestmark = pytest.mark.filterwarnings("ignore")  # Beam warns of much, none of it ours


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 3)


@pytest.fixture
def folder(music_folder: Path, tmp_path: Path) -> Path:
    """Music with a bad file and, in another split, a copy of a piece."""
    folder = Path(shutil.copytree(music_folder, tmp_path / "music"))
    (folder / "photo.mid").write_bytes(b"\xff\xd8\xff\xe0")
    shutil.copy(folder / "early" / "piece 01.mid", folder / "early" / "copy of a test piece.mid")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_as_the_local_runner(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    told: list[PrepProgress] = []
    local = prep.run(folder, tmp_path / "local", workers=0)
    beam = prep.run(folder, tmp_path / "beam", runner="direct", on_progress=told.append)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert beam.rejected == local.rejected and len(beam.rejected) == 2
    assert (told[-1].done, told[-1].rejected) == (14, 2)

    (tmp_path / "beam" / "train-00001.json").unlink()
    again = prep.run(folder, tmp_path / "beam", runner="DirectRunner", runner_options=["--direct_num_workers=2"])
    assert again.shards_kept == again.shards - 1
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_a_change_of_the_piece_that_stays(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    prep.run(folder, tmp_path / "beam", workers=0)
    shutil.copy(folder / "late" / "piece 06.mid", folder / "early" / "piece 01.mid")
    report = prep.run(folder, tmp_path / "beam", runner="direct")
    assert [entry["duplicate_of"] for entry in report.rejected if entry["duplicate_of"]] == ["early/piece 01.mid"]
    prep.run(folder, tmp_path / "local", workers=0)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_options_reach_the_runner(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beam = pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    seen: list[dict[str, Any]] = []
    real = beam.Pipeline

    def recording(options: Any) -> Any:
        seen.append(options.get_all_options(retain_unknown_options=True))
        return real(runner="DirectRunner")

    monkeypatch.setattr(beam, "Pipeline", recording)
    prep.run(folder, tmp_path / "beam", runner="flink", runner_options=["--flink_master=there:8081", "--parallelism=9"])
    assert (seen[0]["runner"], seen[0]["flink_master"], seen[0]["parallelism"]) == ("FlinkRunner", "there:8081", 9)


def test_an_unknown_runner_is_refused(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    with pytest.raises(PrepError, match="Apache Beam: Unexpected pipeline runner: NoRunner"):
        prep.run(folder, tmp_path / "beam", runner="NoRunner")
