"""The two dials, latents and context, in one table and one picture: time, memory and validation nats.

    python benchmarks/curves/curves.py          # curves.md and curves.png beside this script

Measures nothing: it reads what the others have recorded (benchmarks/cpu/result.json, benchmarks/decoding/curves.jsonl
and benchmarks/dials/result.jsonl) and leaves empty what is not there.  The picture wants matplotlib.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CPU = HERE.parent / "cpu" / "result.json"
GPU = HERE.parent / "decoding" / "curves.jsonl"
NATS = HERE.parent / "dials" / "result.jsonl"

Setting = tuple[int, int]  # N and M


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def settings() -> dict[Setting, dict[str, float]]:
    """What is known of each N and M: milliseconds and megabytes a token, and nats with their standard error."""
    known: dict[Setting, dict[str, float]] = {}

    def at(cell: dict[str, Any]) -> dict[str, float]:
        return known.setdefault((cell["context"], cell["latents"]), {})

    for cell in json.loads(CPU.read_text())["dials"]["grid"] if CPU.exists() else []:
        at(cell).update(cpu=1e3 / cell["tokens_per_second"], megabytes=cell["cache_megabytes"])
    for cell in lines(GPU):
        if cell.get("batch") == 1 and "failed" not in cell:
            at(cell).update(gpu=1e3 / cell["tokens_per_second_with_refills"])
    for cell in lines(NATS):
        count = sum(cell["targets"])
        mean = sum(cell["nats"]) / count
        each = ((nats - mean * n) ** 2 for nats, n in zip(cell["nats"], cell["targets"], strict=True))
        pieces = len(cell["nats"])
        at(cell).update(nats=mean, error=math.sqrt(sum(each) * pieces / max(pieces - 1, 1)) / count)
    return known


def table(known: dict[Setting, dict[str, float]]) -> str:
    """In Markdown, a row a setting."""
    rows = ["| N | M | nats/token | CPU, ms a token | GPU, ms a token | caches, MB |", "| --- " * 6 + "|"]
    for (N, M), cell in sorted(known.items()):
        nats = f"{cell['nats']:.3f} ± {cell['error']:.3f}" if "nats" in cell else ""
        spent = [f"{cell[name]:.3g}" if name in cell else "" for name in ("cpu", "gpu", "megabytes")]
        rows.append(f"| {N:,} | {M:,} | {nats} | {' | '.join(spent)} |")
    return "\n".join(rows) + "\n"


def draw(known: dict[Setting, dict[str, float]], path: Path) -> None:
    """Time, and nats against time, a line for each N."""
    from matplotlib.figure import Figure

    panels = {
        "cpu": "ms a token, CPU, one thread",
        "gpu": "ms a token, H200, batch 1",
        "nats": "nats/token, validation",
    }
    panels = {name: title for name, title in panels.items() if any(name in cell for cell in known.values())}
    figure = Figure(figsize=(1 + 3.6 * len(panels), 4), layout="constrained")
    contexts, ticks = sorted({N for N, _ in known}), sorted({M for _, M in known})
    for axes, (name, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for place, N in enumerate(contexts):
            points = [(M, cell[name]) for (n, M), cell in sorted(known.items()) if n == N and name in cell]
            shade = place / max(len(contexts) - 1, 1)
            colour = (0.9 - 0.9 * shade, 0.45, 0.25 + 0.6 * shade)
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=f"N = {N:,}")
        axes.set(title=title, xlabel="latents M", yscale="linear" if name == "nats" else "log")
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{M:,}" for M in ticks], rotation=45)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if name != "nats" else "")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Both."""
    known = settings()
    (HERE / "curves.md").write_text(table(known))
    print(table(known))
    try:
        draw(known, HERE / "curves.png")
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed here")


if __name__ == "__main__":
    main()
