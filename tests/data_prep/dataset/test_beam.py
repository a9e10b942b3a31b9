"""The job on Apache Beam's DirectRunner writes the bytes of the local runner."""

from __future__ import annotations

import shutil
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from musicgen.data_prep.dataset import beam as beam_runner
from musicgen.data_prep.dataset import manifest, prep
from musicgen.data_prep.dataset.prep import PrepError, PrepProgress
from musicgen.data_prep.dataset.runners import Runner
from musicgen.data_prep.errors import EngineError

# Beam takes seconds to import, and warns of much, none of it ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


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
    assert list(beam.rejected) == list(local.rejected) and len(beam.rejected) == 2
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
    monkeypatch.setattr(beam_runner, "check", lambda runner, options: None)
    prep.run(folder, tmp_path / "beam", runner="flink", runner_options=["--flink_master=there:8081", "--parallelism=9"])
    assert (seen[0]["runner"], seen[0]["flink_master"], seen[0]["parallelism"]) == ("FlinkRunner", "there:8081", 9)


def test_an_unknown_runner_is_refused(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    with pytest.raises(PrepError, match="Apache Beam: Unexpected pipeline runner: NoRunner"):
        prep.run(folder, tmp_path / "beam", runner="NoRunner")


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        (
            "flink",
            ("--flink_master=127.0.0.1:9",),
            "nothing answers at 127.0.0.1:9 .*start it, or give --flink_master",
        ),
        ("spark", ("--spark_master_url=spark://127.0.0.1:9",), "nothing answers at spark://127.0.0.1:9"),
        ("PortableRunner", ("--job_endpoint=127.0.0.1:9",), "nothing answers at 127.0.0.1:9 .* give --job_endpoint"),
        ("flink", (), r"put beam-runners-flink-.*-job-server-.*\.jar into .*--flink_job_server_jar=FILE"),
        ("spark", (), r"put beam-runners-spark-3-job-server-.*\.jar into .*--spark_job_server_jar=FILE"),
    ],
)
def test_what_flink_and_spark_lack(
    runner: str, options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before the job begins: a dead endpoint, or the jar that is to be put somewhere."""
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    server = pytest.importorskip("apache_beam.utils.subprocess_server").JavaJarServer

    def offline(*where: str) -> None:
        raise URLError("no network")

    monkeypatch.setattr(server, "_download_jar_to_cache", offline)
    with pytest.raises(EngineError, match=message):
        Runner(runner, options=(*options, f"--jar_cache_dir={tmp_path}")).check()


def test_an_endpoint_that_is_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a web server, or one that says nothing."""
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    assert 2 * beam_runner.ANSWERS < 10
    monkeypatch.setattr(beam_runner, "ANSWERS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"what answers at {address} is no job server of Apache Beam"):
            Runner("flink", options=(f"--job_endpoint={address}",)).check()


def test_the_jar_and_java(tmp_path: Path) -> None:
    """A jar that is there will do if there is a Java."""
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    with zipfile.ZipFile(tmp_path / "server.jar", "w") as archive:
        archive.writestr("org/apache/beam/runners/flink/FlinkJobServerDriver.class", b"")
    zipfile.ZipFile(tmp_path / "other.jar", "w").close()
    (tmp_path / "torn.jar").touch()
    jar = f"--flink_job_server_jar={tmp_path / 'server.jar'}"
    Runner("flink", options=(jar, f"--job_server_java_launcher={sys.executable}")).check()
    with pytest.raises(EngineError, match="java is missing: install it"):
        Runner("flink", options=(jar, "--job_server_java_launcher=no-java")).check()
    for other in (Path("nowhere.jar"), tmp_path / "other.jar", tmp_path / "torn.jar", tmp_path):
        with pytest.raises(PrepError, match=f"{other} is no job server of Flink's: give the path of one"):
            Runner("flink", options=(f"--flink_job_server_jar={other}",)).check()
    with pytest.raises(PrepError, match="Apache Beam refuses --runner-option: argument --flink_version"):
        Runner("flink", options=("--flink_version=0",)).check()
