"""Compute at evaluation: the same weights with 16 to 2,048 latents, on images and on books; bits and seconds.

    python benchmarks/paper/latents.py out --images IMAGES --cifar FOLDER --books BOOKS --novels english-novels.tar.xz
    python benchmarks/paper/latents.py out --toy                                    # seconds on a CPU, untrained

IMAGES and BOOKS are the folders that images.py and books.py have written, of which the raster order at 3,072 inputs and
the Perceiver AR of 8,192 bytes and 12 blocks are taken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import books
import images
from loop import begin, draw_where_possible, parser_of, record, results
from stacks import Stack

PAPER = {16: 3.566, 64: 3.495, 512: 3.414, 1024: 3.403, 1536: 3.399}  # ImageNet 64, bits a dimension
LATENTS = "16,64,256,512,1024,1536,2048"


def flags_of(add_flags: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """Those of another program, as it has them unless told otherwise."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args([])


def learnt(stack: Stack, path: Path, toy: bool) -> Any:
    """The parameters of a run's state; of a toy they may be fresh."""
    if not toy and not path.is_file():
        raise SystemExit(f"latents.py: there is no {path}: run the program that trains it first")
    return begin(stack, 1e-3, path).params


def of_images(given: Any, scored: Callable[..., None]) -> None:
    """Each number of latents on test images."""
    flags = flags_of(images.add_flags)
    run = "perceiver-ar:3072:1024"
    if given.toy:
        run, flags.width, flags.layers, flags.window = "perceiver-ar:48:16", 16, 1, 4
    held_out = images.made_up(2, 4) if given.toy else images.read_images(given.cifar / "cifar10-test.npz", given.count)
    S = held_out.shape[1]
    stack = images.stack_of(flags, run, S)
    params = learnt(stack, given.images / f"{run.replace(':', '-')}-raster-absolute.npz", given.toy)
    told = images.Told(held_out, images.order_of("raster", S), places=True)
    rows = min(8, len(held_out))
    one = images.Told(held_out[:rows], images.order_of("raster", S), places=True)
    for M in given.latents:
        if stack.config.context >= M:
            few = stack.resized(stack.config.context, M)
            images.bits_of(few, params, one, rows)  # compiles
            scored("images", M, lambda few=few: images.bits_of(few, params, told, rows), held_out.size)


def of_books(given: Any, scored: Callable[..., None]) -> None:
    """Each number of latents on held-out bytes."""
    flags = flags_of(books.add_flags)
    run = "perceiver-ar:8192:12"
    if given.toy:
        run, flags.width, flags.latents, flags.window = "perceiver-ar:32:4", 16, 8, 4
    held_out = books.as_tokens(b"It was the best of times. " * 9) if given.toy else books.read_books(given.novels)[1]
    stack = books.stack_of(flags, run)
    params = learnt(stack, given.books / f"{run.replace(':', '-')}.npz", given.toy)
    for M in given.latents:
        if stack.config.context >= M:
            few = stack.resized(stack.config.context, M)
            part = held_out[: max(4 * stack.config.context, given.bytes)]
            books.bits_of(few, params, part[: 4 * (few.sizes[0] + 2)])  # compiles
            scored("books", M, lambda few=few, part=part: books.bits_of(few, params, part)[0], len(part))


def table_of(lines: list[dict[str, Any]]) -> str:
    """In Markdown."""
    at = {(line["task"], line["latents"]): line for line in lines}
    table = ["| M | images, bits | s | books, bits | s | the paper, ImageNet 64, bits |", "| --- " * 6 + "|"]
    for M in sorted({line["latents"] for line in lines}):
        cells = [at.get((task, M), {}) for task in ("images", "books")]
        told = " | ".join(f"{cell.get('bits', '')} | {cell.get('seconds', '')}" for cell in cells)
        table.append(f"| {M} | {told} | {PAPER.get(M, '')} |")
    return "\n".join(table) + "\n"


def draw(out: Path) -> None:
    """Bits and seconds by latents."""
    from matplotlib.figure import Figure

    lines = results(out, "latents")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("bits", "seconds"), strict=True):
        for task in ("images", "books"):
            points = sorted((line["latents"], line[name]) for line in lines if line["task"] == task)
            if points:
                axes.plot(*zip(*points, strict=True), "o-", label=task)
        axes.set(
            xlabel="latents at evaluation", ylabel=name, xscale="log", yscale="log" if name == "seconds" else "linear"
        )
        axes.legend(fontsize=8)
    figure.savefig(out / "latents.png", dpi=110)


def main() -> None:
    """Command line; see above."""
    parser = parser_of(__doc__, 0)
    add = parser.add_argument
    add("--images", type=Path, help="what images.py has written")
    add("--books", type=Path, help="what books.py has written")
    add("--cifar", type=Path, help="folder of cifar10-test.npz")
    add("--novels", type=Path, help="english-novels.tar.xz")
    add("--latents", type=lambda text: [int(part) for part in text.split(",")], default=LATENTS, help="%(default)s")
    add("--count", type=int, default=200, help="test images (%(default)s)")
    add("--bytes", type=int, default=2**18, help="held-out bytes (%(default)s)")
    given = parser.parse_args()
    if given.toy:
        given.latents, given.bytes, given.images, given.books = [4, 16], 200, given.out, given.out
    given.out.mkdir(parents=True, exist_ok=True)

    def scored(task: str, M: int, measure: Callable[[], float], targets: int) -> None:
        began = time.monotonic()
        told = {"bits": round(measure(), 4), "seconds": round(time.monotonic() - began, 2), "targets": targets}
        record(given.out, "latents", {"name": f"{task} {M}", "task": task, "latents": M, **told})

    if given.images:
        of_images(given, scored)
    if given.books:
        of_books(given, scored)
    (given.out / "latents.md").write_text(table_of(results(given.out, "latents")))
    draw_where_possible(draw, given.out)


if __name__ == "__main__":
    main()
