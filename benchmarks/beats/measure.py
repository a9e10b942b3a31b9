"""How well beats are found in ASAP's performances, and what their clarity says of that.

    python benchmarks/beats/measure.py --asap DIR --annotations DIR [--split test] [--seconds 60] [--out result.json]

ASAP's own repository has the annotations (NAME_annotations.txt beside each performance).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.beats import WITHIN, agree, find_beats
from musicgen.data_prep.performance import cut


def load(folder: Path, annotations: Path, split: str) -> Iterator[tuple[str, Performance, np.ndarray]]:
    """Name, music and beats in seconds of each annotated performance."""
    for row in csv.DictReader((folder / "asap.csv").open()):
        name = row["midi_filename"]
        told = annotations / f"{name[:-4]}_annotations.txt"
        if row["split"] == split and told.exists():
            lines = [line.split("\t") for line in told.read_text().splitlines() if line.strip()]
            beats = [float(line[0]) for line in lines if line[2].split(",")[0] in ("b", "db", "bR")]
            yield name, read_midi(folder / name)[0], np.array(beats)


def main() -> int:
    """Measure, and print or write what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--asap", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each piece, from its first beat on")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows, spent = [], 0.0
    for name, music, beats in load(arguments.asap, arguments.annotations, arguments.split):
        began = time.process_time()
        part = cut(music, 0.0, beats[0] + arguments.seconds)
        beats = beats[beats <= beats[0] + arguments.seconds]
        found = find_beats(part.onset, part.pitch, part.velocity)
        spent += time.process_time() - began
        assert found is not None
        inside = found.seconds[(found.seconds > beats[0] - WITHIN) & (found.seconds < beats[-1] + WITHIN)]
        rows.append({"name": name, "f": round(agree(inside, beats), 3), "clarity": round(found.clarity, 3)})
        rows[-1] |= {"heard": bool(found.heard), "minutes": round(part.duration / 60, 2)}
    f, clarity, heard = (np.array([row[key] for row in rows]) for key in ("f", "clarity", "heard"))
    result = {
        "split": arguments.split,
        "seconds": arguments.seconds,
        "pieces": len(rows),
        "f": round(float(f.mean()), 3),
        "heard": int(heard.sum()),
        "f_where_heard": round(float(f[heard].mean()), 3),
        "f_elsewhere": round(float(f[~heard].mean()), 3) if not heard.all() else None,
        "correlation": round(float(np.corrcoef(f, clarity)[0, 1]), 3),
        "cpu_seconds_a_minute": round(spent / sum(row["minutes"] for row in rows), 3),
    }
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
