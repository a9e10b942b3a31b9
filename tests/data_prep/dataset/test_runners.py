"""Where shards are made: on a Dask cluster within this process the bytes are the local runner's; what is refused."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.data_prep.dataset import manifest, prep
from musicgen.data_prep.dataset.prep import PrepError, PrepProgress
from musicgen.data_prep.dataset.runners import Runner
from musicgen.data_prep.errors import EngineError

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's, none of them ours


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_dask_makes_the_same_bytes(music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a file that is none; what is there is kept."""
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 3)
    folder = Path(shutil.copytree(music_folder, tmp_path / "music"))
    (folder / "photo.mid").write_bytes(b"\xff\xd8\xff\xe0")
    told: list[PrepProgress] = []
    prep.run(folder, tmp_path / "local", workers=0)
    prep.run(folder, tmp_path / "dask", runner="dask", workers=0, on_progress=told.append)
    assert contents(tmp_path / "dask") == contents(tmp_path / "local")
    assert (told[-1].done, told[-1].rejected) == (told[-1].total, 1)
    (tmp_path / "dask" / "train-00001.json").unlink()
    again = prep.run(folder, tmp_path / "dask", runner="dask", workers=0)
    assert again.shards_kept == again.shards - 1
    assert contents(tmp_path / "dask") == contents(tmp_path / "local")

    (folder / "early" / "piece 01.mid").rename(tmp_path / "gone.mid")  # a folder that is not mounted where a worker is
    monkeypatch.setattr(prep, "walk_items", lambda *source: items)
    items = [prep.Item("piece 01.mid", "train", str(folder / "early" / "piece 01.mid"))]
    with pytest.raises(PrepError, match=r"the worker on .* does not see .*piece 01.mid: mount its folder"):
        prep.run(folder, tmp_path / "unseen", runner="dask", workers=0)


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        (Runner("nonsense"), "there is no runner 'nonsense': there are local, dask, direct, flink, spark, dataflow"),
        (Runner("local", "tcp://there:8786"), "is of a Dask scheduler: choose the runner dask"),
        (Runner("dask", options=("--x=1",)), "are for those of Apache Beam, not for dask"),
        (Runner("dask", "tcp://there:8786", workers=2), "has its own workers"),
        (Runner("dask", "there"), "'there' is no address of a Dask scheduler: tcp://HOST:PORT is one"),
    ],
)
def test_what_cannot_be_meant(runner: Runner, message: str) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    with pytest.raises(PrepError, match=message) as refused:
        runner.check()
    assert not isinstance(refused.value, EngineError)


def test_a_scheduler_that_is_silent_or_not_there(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named before anything is read or written, and soon."""
    cluster = pytest.importorskip("musicgen.data_prep.dataset.cluster")
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    assert cluster.CONNECTS < cluster.ANSWERS < 10
    monkeypatch.setattr(cluster, "ANSWERS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"no Dask scheduler answers at {address}: start one there"):
            prep.run(music_folder, tmp_path / "data", runner="dask", cluster=address)
    with pytest.raises(EngineError, match=f"no Dask scheduler answers at {address}"):
        prep.run(music_folder, tmp_path / "data", runner="dask", cluster=address)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("direct", "apache_beam")])
def test_a_runner_is_an_extra(name: str, module: str, uninstall: Callable[[str], None]) -> None:
    uninstall(module)
    with pytest.raises(EngineError, match=rf"the runner {name} is not installed .*: pip install"):
        Runner(name).check()
