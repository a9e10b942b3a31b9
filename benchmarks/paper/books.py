"""Books: bytes of English novels, longer context against Transformer-XL and a plain decoder at equal time on one GPU.

    python benchmarks/paper/books.py out --data english-novels.tar.xz                              # contexts
    python benchmarks/paper/books.py out --data english-novels.tar.xz --runs perceiver-ar:8192:58,transformer-xl:8192:42
    python benchmarks/paper/books.py out --toy                                                     # seconds on a CPU

The archive holds AUTHOR_TITLE_YEAR.txt; every eleventh author is held out.  KIND:N:L is a stack of L blocks
in all over N bytes; all kinds of one L have the same parameters.  Bits a byte of the held-out text after the same time.
"""

from __future__ import annotations

import argparse
import lzma
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from loop import (
    Batch,
    begin,
    compile_ahead,
    compute,
    draw_where_possible,
    gigabytes,
    make_scores,
    parser_of,
    record,
    results,
    score,
    train,
    windows_at,
)
from stacks import Stack, bits, config_of_bytes

from musicgen.model.config import EOS, SPECIALS
from musicgen.model.training.stop import StopRun
from musicgen.model.windows import windows

RUNS = (
    "perceiver-ar:2048:12,perceiver-ar:8192:12,perceiver-ar:16384:12,perceiver-ar:65536:12,"
    "transformer-xl:8192:12,plain:2048:12,plain:4096:12"
)
EVERY = 11  # authors, of whom one is held out
INPUTS = 2**19  # a step


def read_books(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out bytes as tokens u16 [T], each book followed by EOS."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    with lzma.open(path) as file, tarfile.open(fileobj=file) as archive:
        books = {m.name.rsplit("/", 1)[-1]: archive.extractfile(m).read() for m in archive if m.name.endswith(".txt")}  # type: ignore[union-attr]
    authors = sorted({name.split("_")[0] for name in books})
    for name in sorted(books):
        held_out = authors.index(name.split("_")[0]) % EVERY == EVERY // 2
        parts[held_out].append(as_tokens(books[name]))
    training, test = (np.concatenate(part) for part in parts)
    print(f"{len(parts[0])} books, {len(training):,} bytes to learn; {len(parts[1])} and {len(test):,} held out")
    return training, test


def as_tokens(text: bytes) -> np.ndarray:
    """u16 [T + 1], EOS last."""
    return np.append(np.frombuffer(text, np.uint8).astype(np.uint16) + SPECIALS, np.uint16(EOS))


def stack_of(given: argparse.Namespace, run: str) -> Stack:
    """The stack of KIND:N:L."""
    kind, N, blocks = run.split(":")
    depth = int(blocks)
    crosses = 2 if depth > 5 else 1
    config = config_of_bytes(
        given.width,
        local_window=given.window,
        local_layers=2,
        cross_attends=crosses,
        layers=depth - 2 - crosses,
        context=int(N),
        latents=min(given.latents, int(N)),
    )
    return Stack(config, kind, given.keep, compute=compute())


def rows_of(stack: Stack, targets: int) -> int:
    """Of a batch of so many targets, and of no more inputs than memory holds."""
    N, M = stack.sizes
    return max(1, min(targets // M, INPUTS // N))


def batches_of(stack: Stack, tokens: np.ndarray, targets: int) -> tuple[Any, int]:
    """The batch of a step, of so many targets, and its rows: windows from anywhere, or segments one after the other."""
    N, M = stack.sizes
    rows = rows_of(stack, targets)
    streams = tokens[: len(tokens) // rows * rows].reshape(rows, -1)
    segments = (streams.shape[1] - 1) // M

    def batch(step: int) -> Batch:
        if stack.kind == "transformer-xl":
            segment = step % segments
            return next(in_a_row(stack, streams, [(segment + 1) * M], [M]))._replace(first=segment == 0)
        ends = np.random.default_rng(step).integers(N, len(tokens) - 1, rows, endpoint=True)
        cut = tokens[ends[:, None] - N + np.arange(N + 1)]
        return windows_at(cut.astype(np.int32), np.full(rows, N), stack)._replace(at=np.zeros((rows, N, 0), np.int32))

    return batch, rows


def in_a_row(stack: Stack, streams: np.ndarray, stops: list[int], scored: list[int]) -> Iterator[Batch]:
    """Windows [B, N] of streams [B, T] that end there, one after the other."""
    N, _ = stack.sizes
    for stop, count in zip(stops, scored, strict=True):
        first = max(0, stop - N)
        cut = streams[:, first : stop + 1].astype(np.int32)
        batch = windows_at(cut, np.full(len(streams), stop - first), stack, count)
        yield batch._replace(at=np.zeros((*batch.inputs.shape, 0), np.int32), first=stop == stops[0])


def bits_of(stack: Stack, params: Any, tokens: np.ndarray, rows: int = 4) -> tuple[float, int, float]:
    """Bits a byte of tokens [T] in `rows` streams, how many were scored, and seconds of it without the first window.

    A plain decoder's windows advance by half of what it sees, the others' by their latents.
    """
    N, M = stack.sizes
    streams = tokens[: len(tokens) // rows * rows].reshape(rows, -1)
    cuts = list(windows(streams.shape[1] - 1, N, M, max(1, M // 2) if stack.kind == "plain" else M))
    if stack.kind == "transformer-xl":
        cuts = [cut for cut in cuts if cut.scored == M]  # segments are whole
    total, count, began = 0.0, 0, time.monotonic()
    given = in_a_row(stack, streams, [cut.stop for cut in cuts], [cut.scored for cut in cuts])
    for number, (mask, nats, _) in enumerate(score(stack, params, given)):
        total, count = total + float(nats[mask].sum()), count + int(mask.sum())
        began = time.monotonic() if number == 0 else began  # the first one compiles
    return bits(total / count), count, time.monotonic() - began


def draw(out: Path) -> None:
    """Bits of the batches in training over time, a line for each run, and held-out bits as a level at its end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for line in results(out, "books"):
        x, y = [look["seconds"] for look in line["curve"]], [bits(look["nats"]) for look in line["curve"]]
        smooth = np.convolve(y, np.ones(9) / 9, "valid") if len(y) > 30 else y
        (drawn,) = axes.plot(x[len(x) - len(smooth) :], smooth, linewidth=0.8)
        label = f"{line['name']}: {line['bits']:.3f} held out"
        axes.plot([line["seconds"]], [line["bits"]], "o", color=drawn.get_color(), label=label)
    axes.set(xlabel="seconds of training", ylabel="bits a byte", ylim=(None, 4))  # above: single letters
    axes.legend(fontsize=8)
    figure.savefig(out / "books.png", dpi=110)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those that decide what a model is."""
    add = parser.add_argument
    add("--data", type=Path, help="english-novels.tar.xz")
    add("--width", type=int, default=512, help="%(default)s")
    add("--latents", type=int, default=1024, help="%(default)s")
    add("--window", type=int, default=128, help="of the local blocks (%(default)s)")
    add("--keep", type=float, default=1.0, help="of the inputs before the latents, in training (%(default)s)")
    add("--score", type=int, default=2**20, help="held-out bytes, from the beginning (%(default)s)")


def main() -> None:
    """Command line; see above."""
    parser = parser_of(__doc__, 240)
    add_flags(parser)
    parser.add_argument("--runs", default=RUNS, metavar="KIND:N:L,...", help="%(default)s")
    parser.add_argument("--targets", type=int, default=32_768, help="a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="compile steps only, and tell their gigabytes")
    given = parser.parse_args()
    if given.toy:
        given.width, given.latents, given.window, given.score, given.targets = 16, 8, 4, 400, 32
        given.runs, given.seconds = "perceiver-ar:32:4,transformer-xl:32:4", min(given.seconds, 0.3)
    elif given.data is None and not given.memory:
        parser.error("--data says where the novels are; --toy needs none")
    given.out.mkdir(parents=True, exist_ok=True)
    if given.data is not None:
        training, held_out = read_books(given.data)
    else:
        training, held_out = (as_tokens(b"It was the best of times. " * n) for n in (200, 20))
    stacks = [stack_of(given, run) for run in given.runs.split(",")]
    compile_ahead([(stack, rows_of(stack, given.targets)) for stack in stacks], given.rate)
    with StopRun(given.limit) as stop:
        for run, stack in zip(given.runs.split(","), stacks, strict=True):
            if given.memory:
                rows = rows_of(stack, given.targets)
                print(run, rows, "rows", round(gigabytes(stack, rows, given.rate), 2), "GB", flush=True)
            elif not stop.should_stop():
                one(given, run, stack, training, held_out[: given.score], stop)
    if not given.memory and results(given.out, "books"):
        draw_where_possible(draw, given.out)


def one(given: Any, run: str, stack: Stack, training: np.ndarray, held_out: np.ndarray, stop: StopRun) -> None:
    """Train and score one model."""
    path = given.out / f"{run.replace(':', '-')}.npz"
    batches, rows = batches_of(stack, training, given.targets)
    clock = {"seconds": given.seconds, "rate": given.rate, "stop": stop}
    state, curve = train(stack, begin(stack, given.rate, path), batches, path, **clock)
    if stop.should_stop():
        print(f"{run}: stopped after {state.spent:.0f} s; the same command goes on")
        return
    told, count, spent = bits_of(stack, state.params, held_out)
    line = {"name": run, "rows": rows, "steps": state.step, "seconds": round(state.spent, 1), "bits": round(told, 4)}
    line |= {"bytes": count, "scoring_seconds": round(spent, 2), "steps_per_second": round(state.step / state.spent, 3)}
    line |= {"parameters": sum(x.size for x in state.params.values())}
    record(given.out, "books", {**line, "curve": curve[:: max(1, len(curve) // 400)]})
    make_scores.cache_clear()


if __name__ == "__main__":
    main()
