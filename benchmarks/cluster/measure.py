"""What does a Dask cluster of this machine's cores make of a data set, and what does each item of it cost?

    python benchmarks/cluster/measure.py --items 1000,10000,100000

A scheduler and one worker, then two, each a process of one thread, make a data set of long pieces: the throughput.
Then two make sets of tiny pieces, whose making costs little but what is around it: the overhead an item, and the peak
memory of the driver and of the largest worker. The local runner makes the same sets with as many processes, Beam's
direct runner in one, and the bytes are compared. Writes the result beside this script (--out).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep import Performance, write_midi

HERE = Path(__file__).parent
DASK = (sys.executable, "-m", "dask")
DRIVER = """
import json, resource, sys, time
from musicgen.data_prep.dataset import prep
if __name__ == "__main__":
    source, out, how = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    used = lambda: sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    before = used()
    report = prep.run(source, out, **how)
    print(json.dumps([report.wall_seconds, used() - before]))
    print(open("/proc/self/status").read())  # whose peak, unlike ru_maxrss, is not that of who has started it
"""


def write_pieces(folder: Path, count: int, notes: int) -> Path:
    """Random pieces that all differ, about four notes a second."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        onset = np.sort(rng.uniform(0, notes / 4, notes)).round(3)
        pitch = rng.permutation(88)[np.arange(notes) % 88] + 21
        piece = Performance(onset, onset + 0.2, pitch, rng.integers(20, 110, notes), np.zeros((0, 2)))
        write_midi(piece, folder / f"{number:06d}.mid")
    return folder


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, list[int]]]:
    """The address of a scheduler and the process numbers of it and of its workers."""
    address = folder / "scheduler.json"
    address.unlink(missing_ok=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    where = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address))
    started = [subprocess.Popen([*DASK, "scheduler", *where], **quiet)]
    try:
        while not address.exists() or not address.stat().st_size:
            time.sleep(0.1)
        url = json.loads(address.read_text())["address"]
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        started += [subprocess.Popen([*DASK, "worker", url, *options], **quiet) for _ in range(workers)]
        from distributed import Client

        with Client(url, set_as_default=False) as client:
            client.wait_for_workers(workers)
        yield url, [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def make(source: Path, out: Path, **how: Any) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of processor time, and peak MiB of a process that makes the set."""
    command = [sys.executable, "-c", DRIVER, str(source), str(out), json.dumps(how)]
    said, _, status = subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition("\n")
    wall, used = json.loads(said)
    return wall, used, peak_mib(status)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def peak_mib(status: str) -> float:
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def throughput(folder: Path, pieces: int, notes: int, repeats: int) -> dict[str, Any]:
    """Pieces a second by one worker and by two, in turns: the best of each, and the processor seconds of the last."""
    source, found, used = write_pieces(folder / "long", pieces, notes), {}, {}
    warm = write_pieces(folder / "warm", 20, 20)
    for workers in (1, 2):
        with cluster(workers, folder) as (url, pids):
            make(warm, folder / f"warm-{workers}", runner="dask", cluster=url)
            for turn in range(repeats):
                before = list(map(cpu_seconds, pids))
                seconds, driver, _ = make(source, folder / f"long-{workers}-{turn}", runner="dask", cluster=url)
                scheduler, *each = (round(cpu_seconds(pid) - then, 2) for pid, then in zip(pids, before, strict=True))
                used[str(workers)] = {"driver": round(driver, 2), "scheduler": scheduler, "workers": each}
                found[workers] = min(found.get(workers, seconds), seconds)
    local, _, _ = make(source, folder / "long-local", runner="local", workers=2)
    return {
        "pieces": pieces,
        "notes": notes,
        "seconds": {str(workers): round(seconds, 2) for workers, seconds in found.items()},
        "processor_seconds": used,
        "two_against_one": round(found[1] / found[2], 2),
        "local_two_processes": round(local, 2),
        "same_bytes": same(folder / "long-2-0", folder / "long-local"),
    }


def overhead(folder: Path, items: int) -> dict[str, Any]:
    """What an item costs with two workers, and what memory the set takes."""
    source = write_pieces(folder / f"tiny-{items}", items, 3)
    with cluster(2, folder) as (url, (_, *pids)):
        idle = sum(map(cpu_seconds, pids))
        wall, driver, peak = make(source, folder / f"dask-{items}", runner="dask", cluster=url)
        workers, largest = sum(map(cpu_seconds, pids)) - idle, max(map(peak_mib, map(status, pids)))
    local_wall, local, local_peak = make(source, folder / f"local-{items}", runner="local", workers=2)
    direct_wall, direct, direct_peak = make(source, folder / f"direct-{items}", runner="direct")
    return {
        "items": items,
        "dask_seconds": round(wall, 2),
        "local_seconds": round(local_wall, 2),
        "direct_seconds": round(direct_wall, 2),
        "dask_ms_an_item": round(1000 * (driver + workers) / items, 3),
        "local_ms_an_item": round(1000 * local / items, 3),
        "direct_ms_an_item": round(1000 * direct / items, 3),
        "driver_mib": round(peak),
        "local_mib": round(local_peak),
        "direct_mib": round(direct_peak),
        "worker_mib": round(largest),
        "same_bytes": all(same(folder / f"{name}-{items}", folder / f"local-{items}") for name in ("dask", "direct")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="1000,10000,100000")
    parser.add_argument("--pieces", type=int, default=512)
    parser.add_argument("--notes", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "dask": importlib.metadata.version("dask"),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.pieces:
            result["throughput"] = throughput(folder, arguments.pieces, arguments.notes, arguments.repeats)
            print(json.dumps(result["throughput"]), flush=True)
        result["overhead"] = []
        for items in filter(None, arguments.items.split(",")):
            result["overhead"].append(overhead(folder, int(items)))
            print(json.dumps(result["overhead"][-1]), flush=True)
    result["load_after"] = os.getloadavg()[0]
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
