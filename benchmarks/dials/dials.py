"""What the dials cost: nats/token on MAESTRO validation for every context N and number of latents M.

    python benchmarks/dials/dials.py SHARDS grid.jsonl [--checkpoint NAME|DIR]    # measures what is missing, reports
    python benchmarks/dials/dials.py grid.jsonl                                   # reports: grid.md, grid.png

One JSON line a cell, written as soon as it is known; a run that was stopped goes on where it was. Measuring needs no
matplotlib: run the second line where there is one.

Every cell is scored on the same targets. Of each piece these are `--blocks` blocks of 1,024 targets, beginning at
multiples of 1,024, one drawn in each of as many equal parts of the piece; `--blocks 0` takes all. A cell calls
`nats_of_pieces` with its own stride, M / 2, and only with those windows that score a target of a block: the nats of a
target are those that `musicgen evaluate` would give it. `--stride S` takes the lesser of M / 2 and S: a target then
has between N - S and N tokens before it in every column, where few latents otherwise see a little more than many.

Few latents need hundreds of windows for a block; on a CPU `--once` makes that possible: see once.py.

A cell's standard error is that of a mean over pieces, weighted by their targets. Beside it stands the error of the
difference from the model's own setting, taken piece by piece, which is much smaller: a piece that is hard in one cell
is hard in all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CONTEXTS = (4096, 2048, 1024, 512, 8192, 16384)  # the likeliest to be asked for come first
LATENTS = (2048, 1024, 512, 256, 64, 16)
BLOCK = 1024  # half of the most latents, so that every cell's windows end at the borders of blocks
GOLDEN = 0.6180339887498949
OF_A_CELL = -4  # dtype, context, latents and stride: the end of a cell's key

Cell = dict[str, Any]


def chosen_blocks(targets: int, blocks: int) -> np.ndarray:
    """bool[targets]: what is scored of a piece. The draw depends on its length alone, and is the same every time."""
    there = -(-targets // BLOCK)
    if not 0 < blocks < there:
        return np.ones(targets, np.bool_)
    part = (np.arange(blocks) + targets * GOLDEN % 1) * there / blocks  # one draw, repeated in every part
    wanted = np.zeros(there, np.bool_)
    wanted[part.astype(np.int64)] = True
    return np.repeat(wanted, BLOCK)[:targets]


def measure(
    config: Any, params: Any, pieces: list[np.ndarray], cell: Cell, inputs: int, engine: Any = None
) -> list[tuple[float, int]]:
    """(sum of the nats, targets scored) of each piece [T + 1], at the setting of a cell; by a CPU's engine if given."""
    from musicgen.data_prep.rules.preamble import preamble
    from musicgen.data_prep.vocabulary import VOCABULARY
    from musicgen.model import evaluate

    blocks, N = cell["blocks"], cell["context"]
    setting = {"latents": cell["latents"], "context": N, "stride": cell["stride"], "preamble": preamble()}
    setting["ids"] = VOCABULARY.size
    by_jax = {"dtype": cell["dtype"], "batch": max(1, inputs // N)}

    def needed(targets: int, N: int, M: int, S: int) -> Iterator[evaluate.Window]:
        wanted = chosen_blocks(targets, blocks)
        for window in evaluate.windows(targets, N, M, S):
            if wanted[window.stop - window.scored : window.stop].any():
                yield window

    told = []
    scored: Iterator[np.ndarray]
    if engine is not None:
        from musicgen.model.cpu import scoring

        scored = scoring.nats_of_pieces(engine, pieces, windows=needed, **setting)
    elif cell.get("once"):
        import once

        scored = once.nats_of_pieces(config, params, pieces, windows=needed, **setting, **by_jax)
    else:
        scored = evaluate.nats_of_pieces(config, params, pieces, windows=needed, **setting, **by_jax)
    for piece, nats in zip(pieces, scored, strict=True):
        wanted = chosen_blocks(len(piece) - 1, blocks)
        told.append((float(nats[wanted].astype(np.float64).sum()), int(wanted.sum())))
    return told


def grid(contexts: list[int], latents: list[int]) -> list[tuple[int, int]]:
    """(N, M) of every cell, in the order in which they are measured."""
    return [(N, M) for N in contexts for M in latents if M <= N]


def missing(arguments: argparse.Namespace) -> None:
    """Measure the cells that the file does not have yet."""
    import jax

    from musicgen import checkpoints
    from musicgen.data_prep.dataset.loader import evaluation_pieces

    released = checkpoints.load(arguments.checkpoint or checkpoints.DEFAULT)
    pieces = [tokens for _, tokens in evaluation_pieces(arguments.shards, arguments.split)][:: arguments.every]
    backend = jax.default_backend()
    dtype, engine = arguments.dtype or "bfloat16", None
    if backend == "cpu" and not (arguments.once or arguments.dtype):
        from musicgen.model.cpu.engine import OnnxEngine
        from musicgen.model.cpu.tiles import best_dtype

        engine = OnnxEngine(released.config, released.params)
        dtype = "float32" if best_dtype() == np.float32 else "bfloat16"
    params = {name: jax.numpy.asarray(x) for name, x in released.params.items()}
    about = {
        "checkpoint": released.name,
        "checkpoint_sha256": released.sha256,
        "own_context": released.config.context,
        "own_latents": released.config.latents,
        "split": arguments.split,
        "every": arguments.every,
        "blocks": arguments.blocks,
        "dtype": dtype,
    }
    done = {cell_key(cell) for cell in read(arguments.grid)}
    for N, M in grid(arguments.contexts, arguments.latents):
        cell = {**about, "context": N, "latents": M, "stride": min(max(1, M // 2), arguments.stride or M)}
        if cell_key(cell) in done:
            continue
        cell |= {"once": True} if arguments.once else {}
        began = time.perf_counter()
        scored = measure(released.config, params, pieces, cell, arguments.inputs, engine)
        cell |= {
            "seconds": round(time.perf_counter() - began, 2),
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "nats": [round(nats, 4) for nats, _ in scored],
            "targets": [targets for _, targets in scored],
        }
        with arguments.grid.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        told = weighted(cell["nats"], cell["targets"])
        print(f"N={N:<6} M={M:<5} {told[0]:.4f} +- {told[1]:.4f} nats/token, {cell['seconds']} s", flush=True)


def cell_key(cell: Cell) -> tuple[Any, ...]:
    """What makes two cells the same measurement."""
    return tuple(
        cell[name]
        for name in ("checkpoint_sha256", "split", "every", "blocks", "dtype", "context", "latents", "stride")
    )


def read(path: Path) -> list[Cell]:
    """The cells of a file; a last line cut short, as a killed run leaves it, is dropped from the file."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines = lines[:-1]
    return [json.loads(line) for line in lines]


def weighted(nats: list[float], targets: list[int]) -> tuple[float, float]:
    """nats/token over pieces and its standard error: that of a ratio of two sums over pieces."""
    sums, counts = np.array(nats), np.array(targets)
    mean = sums.sum() / counts.sum()
    n = len(sums)
    error = np.sqrt(((sums - mean * counts) ** 2).sum() * n / max(n - 1, 1)) / counts.sum()
    return float(mean), float(error)


def report(cells: list[Cell]) -> str:
    """The grid as a table in Markdown, and the differences from the model's own setting."""
    at = {(cell["context"], cell["latents"]): cell for cell in cells}
    contexts = sorted({N for N, _ in at})
    latents = sorted({M for _, M in at}, reverse=True)
    first = cells[0]
    own = at.get((first["own_context"], first["own_latents"]))
    what = f"{len(first['nats'])} pieces of {first['split']}, {sum(first['targets']):,} targets in every cell"
    head = [f"| | {' | '.join(f'M={M}' for M in latents)} |", "|" + " --- |" * (len(latents) + 1)]

    def rows(show: Any) -> list[str]:
        return [f"| N={N} | {' | '.join(show(at[N, M]) if (N, M) in at else '' for M in latents)} |" for N in contexts]

    def level(cell: Cell) -> str:
        mean, error = weighted(cell["nats"], cell["targets"])
        return f"{mean:.3f} ± {error:.3f}{mark(cell)}"

    def mark(cell: Cell) -> str:
        return "*" if cell.get("once") else ""

    def gap(cell: Cell) -> str:
        assert own is not None
        mean, error = weighted([a - b for a, b in zip(cell["nats"], own["nats"], strict=True)], cell["targets"])
        return f"{mean:+.3f} ± {error:.3f}{mark(cell)}"

    lines = [f"{first['checkpoint']} ({first['checkpoint_sha256'][:12]}), nats/token, {what}, ± standard error:", ""]
    lines += [*head, *rows(level)]
    if own is not None:
        setting = f"N={first['own_context']}, M={first['own_latents']}"
        lines += ["", f"More than at {setting}, on the same targets, piece by piece:", "", *head, *rows(gap)]
    if any(cell.get("once") for cell in cells):
        lines += ["", "\\* each piece read once (once.py)"]
    return "\n".join(lines) + "\n"


def draw(cells: list[Cell], path: Path) -> None:
    """nats/token by latents, a line for each context."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    contexts = sorted({cell["context"] for cell in cells})
    for place, N in enumerate(contexts):
        row = sorted((cell for cell in cells if cell["context"] == N), key=lambda cell: cell["latents"])
        y = [weighted(cell["nats"], cell["targets"])[0] for cell in row]
        colour = (0.9 - 0.9 * place / max(len(contexts) - 1, 1), 0.45, 0.25 + 0.6 * place / max(len(contexts) - 1, 1))
        axes.plot([cell["latents"] for cell in row], y, "o-", color=colour, label=f"N = {N:,}")
    ticks = sorted({cell["latents"] for cell in cells})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{M:,}" for M in ticks])
    axes.set_xlabel("latents M")
    axes.set_ylabel(f"nats/token ({cells[0]['split']})")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def numbers(text: str) -> list[int]:
    """4096,512 -> [4096, 512]."""
    return [int(part) for part in text.split(",")]


def arguments_of() -> argparse.Namespace:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("shards", type=Path, nargs="?", help="a data set made by musicgen prep; without it nothing is measured")
    add("grid", type=Path, help="the JSON lines; grid.md and grid.png go beside them")
    add("--checkpoint", metavar="NAME|DIR", help="weights (those that come with musicgen)")
    add("--split", default="validation")
    add("--contexts", type=numbers, default=list(CONTEXTS), metavar="N,N", help="%(default)s")
    add("--latents", type=numbers, default=list(LATENTS), metavar="M,M", help="%(default)s")
    add("--every", type=int, default=3, metavar="K", help="every K-th piece (%(default)s)")
    add("--blocks", type=int, default=4, metavar="K", help="blocks of 1,024 targets in a piece; 0: all (%(default)s)")
    add("--stride", type=int, metavar="S", help="no more targets than this in a window (half of the latents)")
    add("--once", action="store_true", help="read each piece once: see once.py (each window anew, as evaluate)")
    add("--inputs", type=int, default=131_072, help="inputs in one call of the model (%(default)s)")
    add("--dtype", help="bfloat16 or float32, by JAX (bfloat16; on a CPU what `musicgen evaluate` takes)")
    return parser.parse_args()


def main() -> None:
    """Measure what is missing if there is a data set, then report."""
    arguments = arguments_of()
    if arguments.shards is not None:
        missing(arguments)
    cells = read(arguments.grid)
    if not cells:
        raise SystemExit(f"{arguments.grid} has no cells: name a data set before it")
    newest = cell_key(cells[-1])[:OF_A_CELL]
    cells = [cell for cell in cells if cell_key(cell)[:OF_A_CELL] == newest]  # of one model, on the same targets
    told = report(cells)
    arguments.grid.with_suffix(".md").write_text(told)
    print(told)
    try:
        draw(cells, arguments.grid.with_suffix(".png"))
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed here")


if __name__ == "__main__":
    main()
