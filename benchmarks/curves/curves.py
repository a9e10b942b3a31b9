"""The two dials, latents and context, in one table and one picture: tokens a second, memory and validation nats.

    python benchmarks/curves/curves.py          # curves.md beside this script, docs/curves.png

Measures nothing: it reads what the others have recorded (benchmarks/cpu/result.json, benchmarks/decoding/curves.jsonl
and benchmarks/dials/maestro-piano.jsonl, all of one model) and leaves empty what is not there.  The picture wants
matplotlib.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CPU = HERE.parent / "cpu" / "result.json"
GPU = HERE.parent / "decoding" / "curves.jsonl"
NATS = HERE.parent / "dials" / "maestro-piano.jsonl"
PICTURE = HERE.parents[1] / "docs" / "curves.png"

Setting = tuple[int, int]  # N and M


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def settings() -> dict[Setting, dict[str, float]]:
    """What is known of each N and M: tokens a second, megabytes of caches, and nats with their standard error."""
    known: dict[Setting, dict[str, float]] = {}

    def at(cell: dict[str, Any]) -> dict[str, float]:
        return known.setdefault((cell["context"], cell["latents"]), {})

    for cell in json.loads(CPU.read_text())["dials"]["grid"] if CPU.exists() else []:
        at(cell).update(cpu=cell["tokens_per_second"], megabytes=cell["cache_megabytes"])
    for cell in lines(GPU):  # of a cell measured again the last counts
        if cell.get("batch") == 1 and "failed" not in cell:
            at(cell).update(gpu=cell["tokens_per_second_with_refills"])
    for cell in lines(NATS):
        count = sum(cell["targets"])
        mean = sum(cell["nats"]) / count
        each = ((nats - mean * n) ** 2 for nats, n in zip(cell["nats"], cell["targets"], strict=True))
        pieces = len(cell["nats"])
        at(cell).update(
            nats=mean, once=bool(cell.get("once")), error=math.sqrt(sum(each) * pieces / max(pieces - 1, 1)) / count
        )
    return known


def table(known: dict[Setting, dict[str, float]]) -> str:
    """In Markdown, a row a setting."""
    rows = ["| N | M | nats/token | CPU, tokens/s | GPU, tokens/s | caches, MB |", "| --- " * 6 + "|"]
    for (N, M), cell in sorted(known.items()):
        nats = f"{cell['nats']:.3f} ± {cell['error']:.3f}{'*' if cell['once'] else ''}" if "nats" in cell else ""
        speed = [f"{cell[name]:,.0f}" if name in cell else "" for name in ("cpu", "gpu")]
        memory = f"{cell['megabytes']:.3g}" if "megabytes" in cell else ""
        rows.append(f"| {N:,} | {M:,} | {nats} | {' | '.join(speed)} | {memory} |")
    if any(cell.get("once") for cell in known.values()):
        rows += ["", "\\* each piece read once (benchmarks/dials/once.py)"]
    return "\n".join(rows) + "\n"


def draw(known: dict[Setting, dict[str, float]], path: Path) -> None:
    """What each number of latents is worth and costs, a line for each context."""
    from matplotlib.figure import Figure
    from PIL import Image

    panels = {
        "nats": "nats/token, validation (less is better)",
        "cpu": "tokens a second, one CPU core",
        "gpu": "tokens a second, H200, batch 1",
        "megabytes": "caches, MB (float32, on a CPU)",
    }
    figure = Figure(figsize=(9, 6), layout="constrained")
    contexts, ticks = sorted({N for N, _ in known}), sorted({M for _, M in known})
    lines = {}
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for place, N in enumerate(contexts):
            points = [(M, cell[name]) for (n, M), cell in sorted(known.items()) if n == N and name in cell]
            shade = place / max(len(contexts) - 1, 1)
            colour = (0.95 - 0.95 * shade, 0.5 - 0.3 * shade, 0.1 + 0.6 * shade)
            if points:
                (lines[N],) = axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=colour)
        axes.set_title(title, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{M:,}" for M in ticks], rotation=30)
        if name == "megabytes":
            axes.set_yscale("log")
        elif name != "nats":
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:g}" if name != "gpu" else "{x:,.0f}")
        axes.grid(alpha=0.3)
    for axes in figure.axes[2:]:
        axes.set_xlabel("latents M")
    handles = [lines[N] for N in sorted(lines)]
    labels = [f"N = {N:,}" for N in sorted(lines)]
    figure.legend(handles, labels, loc="outside right center", fontsize=9, title="context")
    figure.savefig(path, dpi=80)
    with Image.open(path) as drawn:  # few colours: a quarter of the bytes
        drawn.convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    """Both."""
    known = settings()
    (HERE / "curves.md").write_text(table(known))
    print(table(known))
    try:
        draw(known, PICTURE)
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed here")


if __name__ == "__main__":
    main()
