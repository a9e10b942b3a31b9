"""How much is learnt of folders of music, in which time: `musicgen train --from piano` on each, several times.

python benchmarks/tuning/measure.py FOLDER ... --seeds 5 --out result.json
Adds to result.json what each run's report says, with seconds (wall and of the processor) and memory.  Stopped, the same
command leaves out what is there and goes on with the run that it was at, whose seconds are then those of the last part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def measure(folder: Path, seed: int, start: str, style: str | None, out: Path) -> dict[str, Any]:
    """One run, which makes the weights `out`."""
    command = ["train", "--from", start, "--midi-dir", str(folder), "--out", str(out), "--seed", str(seed)]
    command += ["--style", style] if style is not None else []
    resumed = out.with_name(f"{out.name}.tuning").exists()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "musicgen.app", *command], check=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    report = json.loads((out / "report" / "report.json").read_text())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {name: report[name] for name in ("before", "after", "copied", "music", "run")}
    return {
        **found,
        "resumed": resumed,
        "wall_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mebibytes": after.ru_maxrss >> 10,
        "adapters_mebibytes": round(sum(path.stat().st_size for path in out.glob("model-*.safetensors")) / 2**20, 2),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, and add to the file after each run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--start", default="piano")
    parser.add_argument("--style")
    parser.add_argument("--work", type=Path, default=Path("tuning-runs"), help="where the weights are until then")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    asked = parser.parse_args()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    machine = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version(), "commit": commit}
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    asked.work.mkdir(parents=True, exist_ok=True)
    for seed in range(asked.seeds):  # so that each folder has its first draw early
        for folder in asked.folders:
            which = {"folder": folder.name, "seed": seed, "start": asked.start, "style": asked.style}
            if any(which.items() <= run.items() for run in runs):
                continue
            out = asked.work / f"{folder.name}-{seed}"
            runs.append({**which, **measure(folder, seed, asked.start, asked.style, out), **machine})
            asked.out.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
