"""How fast is `musicgen prep`, and how much faster than the same tokens through note-seq, or MidiTok's like them?

    python benchmarks/prep/measure.py --midi-dir maestro-v3.0.0 --csv maestro-v3.0.0/maestro-v3.0.0.csv

Measured in one run on the same files: our `prepare` against note-seq's path and MidiTok's on a sample of files, one
after the other, file by file; then, with --whole, the whole folder; then the windows that the training loader draws
from it.
Writes the result beside this script (--out).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep.dataset import prep
from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.loader import Windows
from musicgen.data_prep.dataset.prep import Item, Prepared
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.vocabulary import VOCABULARY

HERE = Path(__file__).parent
REPEATS = 5  # of our side, the median counts; note-seq's takes seconds and is measured once


def note_seq_path() -> Callable[[str], np.ndarray]:
    """A file's path -> ids through note-seq: read, apply the pedal, quantise, performance events, ids."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from note_seq import midi_io, sequences_lib
        from note_seq.performance_lib import Performance, PerformanceEvent

    first = {
        PerformanceEvent.NOTE_ON: VOCABULARY.first("note_on"),
        PerformanceEvent.NOTE_OFF: VOCABULARY.first("note_off"),
        PerformanceEvent.TIME_SHIFT: VOCABULARY.first("time_shift") - 1,
        PerformanceEvent.VELOCITY: VOCABULARY.first("velocity") - 1,
    }

    def ids(path: str) -> np.ndarray:
        sequence = midi_io.midi_file_to_note_sequence(path)
        sequence = sequences_lib.apply_sustain_control_changes(sequence)
        quantized = sequences_lib.quantize_note_sequence_absolute(sequence, 100)
        events = Performance(quantized, num_velocity_bins=32)
        return np.array([first[event.event_type] + event.event_value for event in events], np.int16)

    return ids


def miditok_path() -> Callable[[str], int]:
    """A file's path -> how many ids MidiTok makes of it: MIDI-like tokens of 10 ms, 32 velocities, pedal as tokens.

    Not the same tokens, but the nearest it has: the pedal is written down and not applied.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from miditok import MIDILike, TokenizerConfig

    like = {"pitch_range": (0, 127), "num_velocities": 32, "beat_res": {(0, 2): 50}, "use_sustain_pedals": True}
    tokenizer = MIDILike(
        TokenizerConfig(**like, use_programs=False)
    )  # 50 steps a beat, MAESTRO's beats are half seconds

    def count(path: str) -> int:
        tracks = tokenizer(path)
        return sum(len(track.ids) for track in (tracks if isinstance(tracks, list) else [tracks]))

    return count


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time, which other work on the machine disturbs least; both sides are one thread."""
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


def compare(items: list[Item]) -> dict[str, Any]:
    """Per file: our seconds, note-seq's and MidiTok's, their ratios to ours, the tokens of all."""
    theirs, others = note_seq_path(), miditok_path()
    (
        theirs(items[0].path),
        others(items[0].path),
        prep.prepare(items[0]),
    )  # what is imported or built at first use is not measured
    rows = []
    for item in items:
        times = [seconds(lambda: prep.prepare(item)) for _ in range(REPEATS)]  # noqa: B023
        ours, made = statistics.median(each for each, _ in times), times[0][1]
        slow, ids = seconds(lambda: theirs(item.path))  # noqa: B023
        tokenized = [seconds(lambda: others(item.path)) for _ in range(REPEATS)]  # noqa: B023
        middle = statistics.median(each for each, _ in tokenized)
        assert isinstance(made, Prepared), made
        row = {
            "file": item.name,
            "notes": len(made.performance),
            "ours_s": round(ours, 5),
            "note_seq_s": round(slow, 3),
            "miditok_s": round(middle, 4),
        }
        row |= {"ratio": round(slow / ours, 1), "tokens": len(made.tokens), "note_seq_tokens": len(ids)}
        row |= {"miditok_ratio": round(middle / ours, 1), "miditok_tokens": tokenized[0][1]}
        row["same_tokens"] = bool(np.array_equal(made.tokens, ids))
        rows.append(row)
        print(row, flush=True)
    names = ("ours_s", "note_seq_s", "miditok_s")
    ours_total, slow_total, middle_total = (sum(row[key] for row in rows) for key in names)
    return {
        "ours_s": round(ours_total, 4),
        "note_seq_s": round(slow_total, 2),
        "ratio": round(slow_total / ours_total, 1),
        "smallest_ratio": min(row["ratio"] for row in rows),
        "miditok_s": round(middle_total, 3),
        "miditok_ratio": round(middle_total / ours_total, 1),
        "smallest_miditok_ratio": min(row["miditok_ratio"] for row in rows),
        "files": rows,
    }


def whole(midi_dir: str, table: str | None, out: Path, workers: int) -> dict[str, Any]:
    """The whole folder: seconds, memory of the parent and of the largest worker, totals per split."""
    report = prep.run(midi_dir, out, csv=table, workers=workers)
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    parent, child = (usage.ru_maxrss for usage in usages)
    again = prep.run(midi_dir, out, csv=table, workers=workers)
    return {
        "workers": workers,
        "seconds": round(report.wall_seconds, 1),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 1),
        "seconds_of_a_second_run": round(again.wall_seconds, 1),
        "peak_mib_parent": round(parent / 1024),
        "peak_mib_largest_worker": round(child / 1024),
        "shards_mib": round(sum(path.stat().st_size for path in out.iterdir()) / 2**20),
        "rejected": len(report.rejected),
        "splits": report.totals,
    }


def windows(shards: Path, context: int, count: int) -> dict[str, Any]:
    """Augmented windows a second in one thread, by the clock and by processor time."""
    draw = Windows(ShardSet(shards, "train"), context, Augmentation())
    rng = np.random.default_rng(0)
    slots = rng.permutation(draw.slots)[: count + 50]
    for slot in slots[count:]:
        draw(int(slot), rng)
    clock, busy = time.perf_counter(), time.process_time()
    for slot in slots[:count]:
        draw(int(slot), rng)
    clock, busy = time.perf_counter() - clock, time.process_time() - busy
    return {"context": context, "per_second": round(count / clock), "per_cpu_second": round(count / busy)}


def circumstances() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    cpu = "unknown"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("numpy", "note-seq", "pretty-midi", "protobuf", "miditok", "symusic")
        },
        "commit": git("rev-parse", "HEAD"),
        "data_prep_changed_since": bool(git("status", "--porcelain", "--", "../../data_prep")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--midi-dir", required=True)
    parser.add_argument("--csv")
    parser.add_argument("--files", type=int, default=12, help="size of the sample for note-seq")
    parser.add_argument("--whole", action="store_true", help="also the whole folder and the loader")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    arguments = parser.parse_args()
    result = circumstances()
    items = prep.find_items(arguments.midi_dir, arguments.csv)
    items.sort(key=lambda item: item.name)
    step = max(1, len(items) // arguments.files)
    if arguments.whole:
        with tempfile.TemporaryDirectory() as folder:
            result["whole"] = whole(arguments.midi_dir, arguments.csv, Path(folder) / "shards", arguments.workers)
            print(result["whole"], flush=True)
            result["loader"] = windows(Path(folder) / "shards", 4096, 1000)
            print(result["loader"], flush=True)
    result["against_others"] = compare(items[step // 2 :: step][: arguments.files])
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
