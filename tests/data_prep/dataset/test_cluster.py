"""A Dask cluster over a network that fails: a scheduler and two workers, each in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from namespaces import Hosts

from musicgen.data_prep.dataset import manifest, prep

pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PORT = 8786
PATIENCE = 120.0  # seconds until something must have happened
# After so long a dead connection is noticed: 30 s unless told, and no less than this.
DASK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
# A shard is made for each permit; where the gate is open, none is needed.
JOB = """
import json, sys, time
from pathlib import Path
from musicgen.data_prep.dataset import manifest, prep

manifest.ITEMS_PER_SHARD = 1
made, gate = prep.make_shard, Path(sys.argv[4])

def make_shard(job, shard):
    while not (gate / "open").exists():
        for permit in gate.glob("permit-*"):
            try:
                permit.unlink()
            except FileNotFoundError:
                continue  # another was faster
            return made(job, shard)
        time.sleep(0.02)
    return made(job, shard)

prep.make_shard = make_shard
report = prep.run(sys.argv[1], sys.argv[2], runner="dask", cluster=sys.argv[3])
print(json.dumps(report.shards_kept))
"""


def until(happened: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    """Wait for it; if the process ends before, show its log."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_job_outlives_a_worker_a_cable_and_its_driver(
    hosts: Callable[[int], Hosts], music_folder: Path, tmp_path: Path
) -> None:
    """kill -9, link down, kill -9 and the same command again: the bytes are those of one machine."""
    network, scheduler_at = hosts(3), f"tcp://{Hosts.address(0)}:{PORT}"
    out, gate = tmp_path / "data", tmp_path / "gate"
    gate.mkdir()

    def work(host: int, name: str, *command: str) -> tuple[subprocess.Popen[str], Path]:
        log = tmp_path / name
        return network.start(host, *command, log=log, environment=os.environ | DASK), log

    def worker(host: int, name: str) -> subprocess.Popen[str]:
        options = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(tmp_path / f"{name}.d"))
        address = ("--host", Hosts.address(host), scheduler_at)
        process, log = work(host, name, "-m", "dask", "worker", *options, *address)
        until(lambda: "Registered to" in log.read_text(), process, log)
        return process

    def driver(name: str) -> tuple[subprocess.Popen[str], Path]:
        return work(0, name, "-c", JOB, str(music_folder), str(out), scheduler_at, str(gate))

    def permit(name: str, shards: int, process: subprocess.Popen[str], log: Path) -> None:
        """So many more shards are made."""
        before = len(list(out.glob("*-?????.json")))
        for number in range(shards):
            (gate / f"permit-{name}-{number}").touch()
        until(lambda: len(list(out.glob("*-?????.json"))) >= before + shards, process, log)

    scheduler, log = work(0, "scheduler", "-m", "dask", "scheduler", "--no-dashboard", "--port", str(PORT))
    until(lambda: "Scheduler at" in log.read_text(), scheduler, log)
    first = worker(1, "worker-1")
    worker(2, "worker-2")

    job, log = driver("driver-1")
    permit("both", 3, job, log)
    first.send_signal(signal.SIGKILL)
    permit("one", 2, job, log)
    job.send_signal(signal.SIGKILL)

    worker(1, "worker-1-again")
    job, log = driver("driver-2")
    permit("again", 2, job, log)
    network.cut(2)
    (gate / "open").touch()
    assert job.wait(PATIENCE) == 0, log.read_text()
    assert json.loads(log.read_text()) >= 5
    network.close()

    shutil.rmtree(gate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "ITEMS_PER_SHARD", 1)
        prep.run(music_folder, tmp_path / "local", workers=0)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()
    }
