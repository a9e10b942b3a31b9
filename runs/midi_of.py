"""The pieces of MAESTRO that the scripts render, alone: for a machine to which not much can be carried.

python runs/midi_of.py maestro-v3.0.0 run/midi.tar.xz [--train-hours 40] [--held-out-hours 3.5]
"""

from __future__ import annotations

import argparse
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from render_maestro import CSV, hours_of, jobs_of


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maestro", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-hours", type=float, default=40.0)
    parser.add_argument("--held-out-hours", type=float, default=3.5, help="of validation and of test")
    arguments = parser.parse_args()
    hours = hours_of(arguments.train_hours, arguments.held_out_hours)
    jobs = list(jobs_of(arguments.maestro, [Path("piano")], Path("piano"), hours))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.out, "w:xz") as archive:
        for name in (CSV, *(job.midi for job in jobs)):
            archive.add(arguments.maestro / name, name)
    hours_in_all = sum(job.seconds for job in jobs) / 3600
    megabytes = arguments.out.stat().st_size / 1e6
    print(f"{len(jobs)} pieces, {hours_in_all:.1f} hours, {megabytes:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
