"""A Dask cluster over a network that fails: a scheduler and two workers, each in a network namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """Network namespaces "s", "a" and "b": cables from s to each of the others, 10.77.1.1 to .2 and 10.77.2.1 to .2."""

    def __init__(self) -> None:
        self.prefix = f"mg{os.getpid()}"
        self.processes: list[subprocess.Popen[str]] = []

    def build(self) -> None:
        for host in "sab":
            ip("netns", "add", self.prefix + host)
            ip("-n", self.prefix + host, "link", "set", "dev", "lo", "up")
        for number, host in enumerate("ab", start=1):
            peer = ("type", "veth", "peer", "name", "cable", "netns", self.prefix + host)
            ip("-n", self.prefix + "s", "link", "add", "name", host, *peer)
            for end, name, last in (("s", host, 1), (host, "cable", 2)):
                ip("-n", self.prefix + end, "address", "add", f"10.77.{number}.{last}/24", "dev", name)
                ip("-n", self.prefix + end, "link", "set", "dev", name, "up")

    def start(self, host: str, *command: str, log: Path) -> subprocess.Popen[str]:
        """A process on that host; what it says is in the log."""
        with log.open("w") as file:
            whole = ["ip", "netns", "exec", self.prefix + host, sys.executable, *command]
            process = subprocess.Popen(whole, stdout=file, stderr=subprocess.STDOUT, text=True, env=os.environ | DASK)
        self.processes.append(process)
        return process

    def cut(self, host: str) -> None:
        ip("-n", self.prefix + host, "link", "set", "dev", "cable", "down")

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for host in "sab":
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", self.prefix + host)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        hosts.build()
    except (OSError, subprocess.CalledProcessError) as error:
        hosts.close()
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
    yield hosts
    hosts.close()


def until(happened: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    """Wait for it; if the process ends before, show its log."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_job_outlives_a_worker_a_cable_and_its_driver(hosts: Hosts, music_folder: Path, tmp_path: Path) -> None:
    """kill -9, link down, kill -9 and the same command again: the bytes are those of one machine."""
    out, gate = tmp_path / "data", tmp_path / "gate"
    gate.mkdir()

    def work(host: str, name: str, *command: str) -> tuple[subprocess.Popen[str], Path]:
        return hosts.start(host, *command, log=tmp_path / name), tmp_path / name

    def worker(host: str, name: str, net: str) -> subprocess.Popen[str]:
        options = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(tmp_path / f"{name}.d"))
        address = ("--host", f"{net}.2", f"tcp://{net}.1:{PORT}")
        process, log = work(host, name, "-m", "dask", "worker", *options, *address)
        until(lambda: "Registered to" in log.read_text(), process, log)
        return process

    def driver(name: str) -> tuple[subprocess.Popen[str], Path]:
        return work("s", name, "-c", JOB, str(music_folder), str(out), f"tcp://10.77.1.1:{PORT}", str(gate))

    def permit(name: str, shards: int, process: subprocess.Popen[str], log: Path) -> None:
        """So many more shards are made."""
        before = len(list(out.glob("*-?????.json")))
        for number in range(shards):
            (gate / f"permit-{name}-{number}").touch()
        until(lambda: len(list(out.glob("*-?????.json"))) >= before + shards, process, log)

    scheduler, log = work("s", "scheduler", "-m", "dask", "scheduler", "--no-dashboard", "--port", str(PORT))
    until(lambda: "Scheduler at" in log.read_text(), scheduler, log)
    first = worker("a", "worker-a", "10.77.1")
    worker("b", "worker-b", "10.77.2")

    job, log = driver("driver-1")
    permit("both", 3, job, log)
    first.send_signal(signal.SIGKILL)
    permit("one", 2, job, log)
    job.send_signal(signal.SIGKILL)

    worker("a", "worker-a-2", "10.77.1")
    job, log = driver("driver-2")
    permit("again", 2, job, log)
    hosts.cut("b")
    (gate / "open").touch()
    assert job.wait(PATIENCE) == 0, log.read_text()
    assert json.loads(log.read_text()) >= 5
    hosts.close()

    shutil.rmtree(gate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "ITEMS_PER_SHARD", 1)
        prep.run(music_folder, tmp_path / "local", workers=0)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()
    }
