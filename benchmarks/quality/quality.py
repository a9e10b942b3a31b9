"""How good is the music at given sampling settings?  Generates sets of pieces and scores them against real ones.

    python benchmarks/quality/quality.py SHARDS OUT --settings 0.95:0.98:0,1:0.98:0,1:1:0.02
    python benchmarks/quality/quality.py SHARDS OUT --settings 1:1:0 --seconds 600      # drift over ten minutes
    python benchmarks/quality/quality.py OUT                                                  # the table again

A setting is temperature:top-p:min-p. For each, 64 pieces of two minutes from nothing and 64 that continue the first 20
seconds of as many pieces of `--split` (the prime left out), in batches. Both sets go to OUT as MIDI files and
through `musicgen evaluate --samples`: against the first two minutes of all pieces of the split, and against the two
minutes after their first 20 seconds. OUT/results.jsonl gets a line a set; what is there is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SETS = ("nothing", "primed")
MOST_TOKENS = 120  # a second of music; the densest pieces of MAESTRO have 90
SHOWN = ("notes_per_second", "duration", "polyphony", "velocity", "pitch_class_entropy", "self_similarity_10s")
SHARES = ("silence_over_3s", "repeats_over_16")


class Setting(NamedTuple):
    """How tokens are drawn."""

    temperature: float
    top_p: float
    min_p: float

    def __str__(self) -> str:
        return ":".join(f"{value:g}" for value in self)


def settings_of(text: str) -> list[Setting]:
    """temperature:top-p:min-p,..."""
    return [Setting(*map(float, part.split(":"))) for part in text.split(",")]


def chosen(count: int, limit: int) -> list[int]:
    """`limit` of `count` places at equal distances; one after the other again if there are fewer."""
    return [i * count // limit for i in range(limit)] if limit <= count else [i % count for i in range(limit)]


def write_real(arguments: argparse.Namespace) -> None:
    """The reference of both sets, as MIDI files."""
    from musicgen.data_prep import cut, shift_time, write_midi
    from musicgen.data_prep.dataset.shards import ShardSet

    pieces = ShardSet(arguments.shards, arguments.split)
    for name, start in zip(SETS, (0.0, arguments.prime_seconds), strict=True):
        folder = arguments.out / f"real-{arguments.split}-{arguments.seconds:g}" / name
        if folder.is_dir():
            continue
        making = folder.with_suffix(".part")
        making.mkdir(parents=True, exist_ok=True)
        for i in range(len(pieces)):
            music = pieces.notes(i)
            begin = float(music.onset[0]) + start
            part = shift_time(cut(music, begin, begin + arguments.seconds), -begin)
            if len(part):
                write_midi(part, making / f"{i:03}.mid")
        making.rename(folder)


def primes_of(arguments: argparse.Namespace) -> list[np.ndarray]:
    """int16[T] tokens of the openings that are continued."""
    from musicgen.app.prime import make_prime
    from musicgen.data_prep.dataset.shards import ShardSet

    pieces = ShardSet(arguments.shards, arguments.split)
    places = chosen(len(pieces), arguments.pieces)
    return [make_prime(pieces.notes(i), arguments.prime_seconds, "").tokens for i in places]


def drawn(stream: Any, rows: int, seconds: float) -> tuple[np.ndarray, int]:
    """int16[rows, T] with music for so many seconds in every row, and how many rows ran out of tokens before."""
    from musicgen.data_prep import STEPS_PER_SECOND, steps

    blocks: list[np.ndarray] = []
    now, count = np.zeros(rows, np.int64), 0
    while now.min() < seconds * STEPS_PER_SECOND and count < seconds * MOST_TOKENS:
        blocks.append(np.asarray(next(stream)))
        now += np.array([steps(row)[-1] for row in blocks[-1]])
        count += blocks[-1].shape[1]
    return np.concatenate(blocks, axis=1), int((now < seconds * STEPS_PER_SECOND).sum())


def generate(
    model: Any, primes: Sequence[np.ndarray], setting: Setting, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Write a piece for every prime, without the prime."""
    from musicgen.app.join import close_at
    from musicgen.data_prep import decode, write_midi
    from musicgen.model.sampler import Sampling

    began, tokens, short = time.perf_counter(), 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(primes), arguments.rows):
        batch = primes[first : first + arguments.rows]
        stream = model.engine.start(
            batch,
            latents=arguments.latents or model.latents,
            context=arguments.context or model.context,
            sampling=Sampling(temperature=setting.temperature, top_p=setting.top_p, min_p=setting.min_p),
            seed=arguments.seed + first,
        )
        rows, late = drawn(stream, len(batch), arguments.seconds)
        tokens, short = tokens + rows.size, short + late
        for place, (row, before) in enumerate(zip(rows, batch, strict=True), start=first):
            music = decode(close_at(row, before, arguments.seconds), before)
            write_midi(music, folder / f"{place:03}.mid")
    wall = time.perf_counter() - began
    return {"wall_seconds": round(wall, 1), "tokens_per_second": round(tokens / wall), "short": short}


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two lines the same measurement."""
    names = ("set", "setting", "checkpoint_sha256", "pieces", "seconds", "split", "seed", "latents", "context")
    return tuple(line[name] for name in names)


class Scoring:
    """`musicgen evaluate --samples` in processes of their own, while the next set is drawn."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.waiting: list[tuple[dict[str, Any], Path, subprocess.Popen[bytes]]] = []

    def start(self, line: dict[str, Any], folder: Path, real: Path) -> None:
        """Begin to score a folder against another."""
        told = folder.with_suffix(".json")
        command = [sys.executable, "-m", "musicgen.app", "evaluate", "--samples", str(folder)]
        command += ["--midi-dir", str(real), "--seconds", f"{line['seconds']:g}", "--json", "--quiet"]
        with told.open("wb") as file:
            self.waiting.append((line, told, subprocess.Popen(command, stdout=file)))

    def collect(self, wait: bool) -> None:
        """Write the lines of what is done, or of everything."""
        for entry in list(self.waiting):
            line, told, process = entry
            if wait:
                process.wait()
            if process.poll() is None:
                continue
            self.waiting.remove(entry)
            if process.returncode:
                raise SystemExit(f"musicgen evaluate --samples failed for {told.with_suffix('')}")
            line["score"] = summary(json.loads(told.read_text()))
            with (self.out / "results.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(row_of(line), flush=True)


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """What is chosen by, out of the whole report."""
    measures = told["measures"]
    rows = [row for name, row in (measures | told["histograms"]).items() if row.get("overlap") and name != "seconds"]
    gaps = {name: row["difference"] for name, row in measures.items() if name != "seconds"}
    starred = [name for name, gap in gaps.items() if gap["mean"] is not None and (gap["low"] > 0 or gap["high"] < 0)]
    return {
        "overlap": float(np.mean([row["overlap"]["samples"] for row in rows])) if rows else None,
        "kl": float(np.mean([row["kl"]["samples"] for row in rows])) if rows else None,
        "frechet": told.get("frechet"),
        "starred": starred,
        "means": {name: measures[name]["samples"]["mean"] for name in measures},
        "reference": {name: measures[name]["reference"]["mean"] for name in measures},
        "drift": {name: measures[name] for name in measures if name.endswith("_drift")},
        "minutes": {name: row["samples"]["mean"] for name, row in told["minutes"].items()},
        "left_out": told["left_out"],
    }


def head() -> str:
    """The first lines of the table."""
    names = ["setting", "set", "Frechet", "chance", "overlap", "KL", "differ", *SHOWN, *SHARES, "short", "silent"]
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def row_of(line: dict[str, Any]) -> str:
    """A line of the table."""
    score = line["score"]
    frechet = score["frechet"] or {"distance": None, "chance": {"mean": None}}
    values = [frechet["distance"], frechet["chance"]["mean"], score["overlap"], score["kl"]]
    values += [score["means"][name] for name in SHOWN]
    shown = ["-" if value is None else f"{value:.3g}" for value in values]
    shares = [f"{score['means'][name]:.1%}" for name in SHARES]
    cells = [line["setting"], line["set"], *shown[:4], str(len(score["starred"])), *shown[4:], *shares]
    return f"| {' | '.join(cells)} | {line['short']} | {score['left_out']['samples']} |"


def drift(lines: list[dict[str, Any]]) -> list[str]:
    """A table of changes a minute, for the sets that are long enough; none if none is."""
    rows = []
    for line in lines:
        found = {
            name: row for name, row in line["score"].get("drift", {}).items() if row["samples"]["mean"] is not None
        }
        for name, row in found.items():
            cells = [
                f"{row[k]['mean']:.3g} [{row[k]['low']:.3g}, {row[k]['high']:.3g}]" for k in ("samples", "reference")
            ]
            rows.append(f"| {line['setting']} | {line['set']} | {name} | {row['unit']} | {' | '.join(cells)} |")
    return ["", "| setting | set | drift | unit | samples | real |", "| --- " * 6 + "|", *rows] if rows else []


def read(out: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for line in (out / "results.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def measure(arguments: argparse.Namespace) -> None:
    """Make and score every set that is not there yet."""
    from musicgen.app.generate import open_model, open_weights
    from musicgen.data_prep.vocabulary import BOS

    arguments.out.mkdir(parents=True, exist_ok=True)
    write_real(arguments)
    real = arguments.out / f"real-{arguments.split}-{arguments.seconds:g}"
    model = open_model(open_weights(arguments.checkpoint))
    starts = {"nothing": [np.array([BOS], np.int16)] * arguments.pieces, "primed": primes_of(arguments)}
    about = {"checkpoint": model.name, "checkpoint_sha256": model.sha256, "backend": model.backend}
    about |= {name: getattr(arguments, name) for name in ("pieces", "seconds", "prime_seconds", "split", "seed")}
    about |= {"latents": arguments.latents or model.latents, "context": arguments.context or model.context}
    done = {key_of(line) for line in read(arguments.out)}
    scoring = Scoring(arguments.out)
    print(head(), flush=True)
    for setting in arguments.settings:
        for name in arguments.sets:
            line = {"set": name, "setting": str(setting), **about}
            if key_of(line) in done:
                continue
            place = f"{model.sha256[:8]}-{about['latents']}-{about['context']}-{arguments.seconds:g}s-{arguments.seed}"
            folder = arguments.out / place / str(setting).replace(":", "_") / name
            line |= generate(model, starts[name], setting, folder, arguments)
            scoring.start(line, folder, real / name)
            scoring.collect(wait=False)
    scoring.collect(wait=True)


def arguments_of() -> argparse.Namespace:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("shards", type=Path, nargs="?", help="a data set made by musicgen prep; without it only the table is shown")
    add("out", type=Path, help="folder for the pieces, their scores and results.jsonl")
    add("--settings", type=settings_of, default=settings_of("1:1:0"), metavar="T:P:M,...", help="(1:1:0)")
    add("--sets", type=lambda text: text.split(","), default=list(SETS), metavar="SET,SET", help="nothing,primed")
    add("--pieces", type=int, default=64, help="in each set (%(default)s)")
    add("--seconds", type=float, default=120.0, help="of each piece (%(default)g)")
    add("--prime-seconds", type=float, default=20.0, help="(%(default)g)")
    add("--split", default="validation", help="of the primes and of the reference (%(default)s)")
    add("--rows", type=int, default=64, help="pieces in one batch (%(default)s)")
    add("--seed", type=int, default=0)
    add("--checkpoint", metavar="NAME|DIR", help="weights (those that come with musicgen)")
    add("--latents", type=int, metavar="M", help="(the model's)")
    add("--context", type=int, metavar="N", help="(the model's)")
    return parser.parse_args()


def main() -> None:
    """Measure if there is a data set, then show the table."""
    arguments = arguments_of()
    if arguments.shards is not None:
        measure(arguments)
    lines = read(arguments.out)
    if not lines:
        raise SystemExit(f"{arguments.out} has no results: name a data set before it")
    lines.sort(key=lambda line: (line["seconds"], line["set"], line["setting"]))
    table = "\n".join([head(), *map(row_of, lines), *drift(lines)])
    (arguments.out / "results.md").write_text(table + "\n")
    print(f"\n{table}")


if __name__ == "__main__":
    main()
