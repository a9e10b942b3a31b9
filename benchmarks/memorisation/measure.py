"""What does the longest match with the training set say, how often does it err, and what does it cost?

    musicgen evaluate --build-index SHARDS --csv CSV --out memorisation.npz
    python benchmarks/memorisation/measure.py --data SHARDS --csv CSV --index memorisation.npz

Background: pieces of the test split, whose works are not in the training set. Control: pieces of the training set
against the other pieces in it, where the same work is played by somebody else. Copies: passages of the training set,
disguised, in the middle of test pieces. Writes the result beside this script (--out).
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.data_prep import Performance, cut, decode, encode, merge, shift_time
from musicgen.data_prep.dataset.augment import stretch, transpose
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.evaluation.memorisation import longest_match, measure_background
from musicgen.data_prep.evaluation.memorisation_index import Index, read_index, title_of

HERE = Path(__file__).parent
SECONDS = 120.0
THRESHOLDS = (24, 32, 40, 48, 64)
COPIED = (24, 32, 48, 64, 96, 128)  # notes of a planted passage
COPIES = 60  # of each length


def shares(lengths: np.ndarray) -> dict[str, Any]:
    """A distribution of longest matches in numbers."""
    return {
        "pieces": len(lengths),
        "quantiles": {f"{q:g}": float(np.quantile(lengths, q)) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)},
        "at_least": {str(k): round(float((lengths >= k).mean()), 4) for k in THRESHOLDS},
    }


def whole_pieces(test: ShardSet, index: Index, every: int) -> dict[str, Any]:
    """Complete test pieces, and the longest matches among them."""
    found = []
    for i in range(0, len(test), every):
        match = longest_match(test.notes(i), index)
        found.append((match.length if match else 0, test.name(i), match.title if match else ""))
    found.sort(reverse=True)
    return {**shares(np.array([length for length, *_ in found])), "longest": found[:5]}


def other_performances(train: ShardSet, index: Index, works: dict[str, str], pieces: int) -> dict[str, Any]:
    """The first two minutes of training pieces whose work is there twice, against all pieces but themselves."""
    count = collections.Counter(works[train.name(i)] for i in range(len(train)))
    played_again = [i for i in range(len(train)) if count[works[train.name(i)]] > 1]
    chosen = np.random.default_rng(0).choice(played_again, min(pieces, len(played_again)), replace=False)
    lengths = []
    for i in np.sort(chosen).tolist():
        match = longest_match(cut(train.notes(i), 0, SECONDS), index, without=[train.name(i)])
        lengths.append(match.length if match else 0)
    return {"of": len(played_again), **shares(np.array(lengths))}


def disguised(passage: Performance, rng: np.random.Generator) -> Performance:
    """Transposed, up to 5 % slower or faster, every note up to 10 ms off, and written as tokens."""
    moved = transpose(passage, int(rng.integers(-6, 7)))
    moved = stretch(moved, float(rng.uniform(0.95, 1.05)))
    late = rng.uniform(0, 0.02, len(moved))
    return decode(encode(Performance(moved.onset + late, moved.end + late, moved.pitch, moved.velocity, moved.pedal)))


def planted(train: ShardSet, test: ShardSet, index: Index, works: dict[str, str], notes: int) -> dict[str, Any]:
    """Copies of `notes` notes in the middle of two minutes of a test piece: how many are found and named."""
    rng = np.random.default_rng(notes)
    lengths, named = [], 0
    while len(lengths) < COPIES:
        i = int(rng.integers(len(train)))
        source = train.notes(i)
        if len(source) < 1000:
            continue
        at = int(rng.integers(len(source) - notes - 1))
        passage = cut(source, source.onset[at], source.onset[at + notes])
        if not 0 < len(passage) <= notes or passage.pitch.min() < 6 or passage.pitch.max() > 121:
            continue
        copy = disguised(shift_time(passage, -float(passage.onset[0])), rng)
        host = test.notes(int(rng.integers(len(test))))
        middle = SECONDS / 2
        after = middle + copy.end.max() + 0.1
        music = merge(
            [cut(host, 0, middle), shift_time(copy, middle), shift_time(cut(host, middle, SECONDS), after - middle)]
        )
        match = longest_match(music, index)
        lengths.append(match.length if match else 0)
        named += match is not None and works[match.name] == works[train.name(i)]
    found = np.array(lengths)
    return {
        "copies": len(found),
        "median_length": float(np.median(found)),
        "work_named": round(named / len(found), 3),
        "at_least": {str(k): round(float((found >= k).mean()), 3) for k in THRESHOLDS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--data", "--csv", "--index"):
        parser.add_argument(option, required=True)
    parser.add_argument("--every", type=int, default=1, help="every so manieth test piece")
    parser.add_argument("--control", type=int, default=150, help="training pieces of the control")
    parser.add_argument("--out", default=str(HERE / "result.json"))
    arguments = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    began = time.perf_counter()
    index = read_index(arguments.index)
    reading = time.perf_counter() - began
    train, test = ShardSet(arguments.data, "train"), ShardSet(arguments.data, "test")
    with open(arguments.csv, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        works = {row["midi_filename"]: title_of(row["canonical_composer"], row["canonical_title"]) for row in rows}
    excerpts = [cut(test.notes(i), 0, SECONDS) for i in range(0, len(test), 6)]
    wall, cpu = [], []
    for music in excerpts:
        began, busy = time.perf_counter(), time.process_time()
        longest_match(music, index)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - busy)
    result = {
        "cpu": "AMD EPYC",
        "cores": os.cpu_count(),
        "load_before": load,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "index": {
            "bytes": os.path.getsize(arguments.index),
            "pieces": len(index.names),
            "notes": len(index.interval),
            "read_seconds": round(reading, 2),
        },
        "query_of_two_minutes": {
            "pieces": len(excerpts),
            "notes_median": float(np.median([len(music) for music in excerpts])),
            "wall_seconds_median": round(float(np.median(wall)), 3),
            "wall_seconds_worst": round(max(wall), 3),
            "cpu_seconds_median": round(float(np.median(cpu)), 3),
            "cpu_seconds_worst": round(max(cpu), 3),
        },
        "peak_mib_after_queries": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "threshold": THRESHOLD,
        "test_two_minutes": shares(
            measure_background((test.notes(i) for i in range(0, len(test), arguments.every)), index)
        ),
        "test_whole": whole_pieces(test, index, arguments.every),
        "same_work_played_by_another": other_performances(train, index, works, arguments.control),
        "planted_copies": {str(notes): planted(train, test, index, works, notes) for notes in COPIED},
    }
    Path(arguments.out).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
