"""Any order: CIFAR-10 as 3,072 integers, told in five orders.

    python benchmarks/paper/images.py out --data FOLDER                             # five orders, three models; one GPU
    python benchmarks/paper/images.py out --data FOLDER --orders raster,random --runs perceiver-ar:3072:1024
    python benchmarks/paper/images.py out --data FOLDER --places none               # rotary distances alone
    python benchmarks/paper/images.py out --toy                                     # seconds on a CPU

FOLDER holds cifar10-train.npz and cifar10-test.npz, JPEG files end to end (`jpeg` u8, `offsets` i64 [n + 1]).  Bits a
dimension of test images after equal steps, for a model that sees all that came before (KIND:N:M) and for plain decoders
that see 1,024 or 2,048 of it.  Absolute places: what an input is, and what comes next, by row, column and channel.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from loop import (
    Batch,
    begin,
    compile_ahead,
    compute,
    draw_where_possible,
    make_scores,
    parser_of,
    record,
    results,
    score,
    train,
    windows_at,
)
from stacks import Stack, bits, config_of_bytes

from musicgen.model.config import BOS, SPECIALS
from musicgen.model.training.stop import StopRun
from musicgen.model.windows import windows

ORDERS = ("raster", "channels", "reversed", "random", "coarse")
RUNS = "perceiver-ar:3072:1024,plain:1024:1024,plain:2048:2048"


def read_images(path: Path, count: int | None = None) -> np.ndarray:
    """u8 [count, S, S, 3]: all, or so many from all over the file, which may be sorted by what they show."""
    from PIL import Image

    with np.load(path) as arrays:
        jpeg, offsets = arrays["jpeg"], arrays["offsets"]
    total = len(offsets) - 1
    files = [jpeg[offsets[i] : offsets[i + 1]].tobytes() for i in np.arange(count or total) * total // (count or total)]
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def made_up(count: int, S: int) -> np.ndarray:
    """Smooth images of few colours, for the toy."""
    rng = np.random.default_rng(0)
    ramp = np.arange(S)[None, :, None, None] * rng.integers(0, 9, (count, 1, 1, 3))
    return (ramp + rng.integers(0, 99, (count, 1, S, 3))).astype(np.uint8)


def order_of(name: str, S: int) -> np.ndarray:
    """i32 [3 * S * S, 3]: row, column, channel of what comes first, second, ..."""
    raster = np.stack(np.meshgrid(np.arange(S), np.arange(S), np.arange(3), indexing="ij"), axis=-1).reshape(-1, 3)
    row, column, channel = raster.T
    if name == "channels":
        return raster[np.lexsort((column, row, channel))]
    if name == "reversed":
        return raster[::-1]
    if name == "random":
        return np.random.default_rng(0).permutation(raster)
    if name == "coarse":  # first every 16th pixel both ways, then every 8th, 4th, 2nd and all
        level = sum((row % stride > 0) | (column % stride > 0) for stride in (16, 8, 4, 2))
        return raster[np.lexsort((channel, column, row, level))]
    if name != "raster":
        raise SystemExit(f"images.py: no order is called {name}: choose of {', '.join(ORDERS)}")
    return raster


class Told:
    """Images as sequences in an order, and the places of what stands in them."""

    def __init__(self, images: np.ndarray, order: np.ndarray, places: bool):
        row, column, channel = order.T
        values = images[:, row, column, channel].astype(np.int32) + SPECIALS
        self.tokens = np.pad(values, ((0, 0), (1, 0)), constant_values=BOS)  # [n, T + 1]
        own, following = np.pad(order + 1, ((2, 0), (0, 0))), np.pad(order + 1, ((1, 1), (0, 0)))
        self.table = np.concatenate([own, following], axis=1).astype(np.int32)  # row i + 1: of input i; 0: before it
        self.places = places

    def windows(self, rows: np.ndarray, ends: np.ndarray, stack: Stack, scored: int | None = None) -> Batch:
        """Windows of these images."""
        batch = windows_at(self.tokens[rows], ends, stack, scored)
        at = self.table[(batch.at[..., 0] + 1).clip(0)] if self.places else batch.at[..., :0]
        return batch._replace(at=at)


def stack_of(given: argparse.Namespace, run: str, S: int) -> Stack:
    """The stack of KIND:N:M."""
    kind, N, M = run.split(":")
    config = config_of_bytes(
        given.width,
        local_window=given.window,
        cross_attends=min(2, given.layers),
        layers=given.layers,
        context=int(N),
        latents=int(M),
    )
    places = (S + 1, S + 1, 4) * 2 if given.places == "absolute" else ()
    return Stack(config, kind, given.keep, places, compute())


def bits_of(stack: Stack, params: Any, told: Told, rows: int) -> float:
    """Bits a dimension, each scored once; a plain decoder's windows advance by half of what it sees."""
    (N, M), T = stack.sizes, told.tokens.shape[1] - 1

    def batches() -> Iterator[Batch]:
        for first in range(0, len(told.tokens), rows):
            chosen = np.arange(first, first + rows) % len(told.tokens)
            for window in windows(T, N, M, max(1, M // 2) if stack.kind == "plain" else M):
                yield told.windows(chosen, np.full(rows, window.stop), stack, window.scored)

    scored = [(nats[mask].sum(), mask.sum()) for mask, nats, _ in score(stack, params, batches())]
    return bits(float(sum(nats for nats, _ in scored) / sum(count for _, count in scored)))


def completed(stack: Stack, params: Any, told: Told, count: int) -> np.ndarray:
    """Sequences whose second halves are drawn, each value in a pass with 16 latents: i32 [count, T + 1]."""
    T, few = told.tokens.shape[1] - 1, stack.resized(stack.sizes[0], min(16, stack.sizes[1]))
    tokens, key = told.tokens[:count].copy(), jax.random.key(0)
    few_told = Told.__new__(Told)
    few_told.tokens, few_told.table, few_told.places = tokens, told.table, told.places

    @jax.jit
    def draw(params: Any, batch: Batch, key: jax.Array) -> jax.Array:
        logits, _ = few.logits(params, batch.inputs, batch.at, few.memory(count))
        return jax.random.categorical(key, logits[:, -1].at[:, :SPECIALS].set(-jnp.inf))

    for end in range(T // 2 + 1, T + 1):
        batch = few_told.windows(np.arange(count), np.full(count, end), few)
        tokens[:, end] = draw(params, batch, jax.random.fold_in(key, end))
    return tokens


def as_images(tokens: np.ndarray, order: np.ndarray, S: int) -> np.ndarray:
    """Sequences back in their places: u8 [n, S, S, 3]."""
    images = np.zeros((len(tokens), S, S, 3), np.uint8)
    row, column, channel = order.T
    images[:, row, column, channel] = (tokens[:, 1:] - SPECIALS).clip(0, 255)
    return images


def draw(out: Path, pictures: dict[str, np.ndarray]) -> None:
    """Bits by order, a line for each model; below, real images and their completions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 + 1.1 * len(pictures)), layout="constrained")
    above, *below = figure.subplots(1 + len(pictures), 1, squeeze=False, height_ratios=[3] + [1] * len(pictures))[:, 0]
    lines = results(out, "images")
    for run in sorted({line["run"] for line in lines}):
        those = {line["order"]: line["bits"] for line in lines if line["run"] == run}
        above.plot(list(those), list(those.values()), "o-", label=run)
    above.set_ylabel("bits a dimension")
    above.legend(fontsize=8)
    for axes, (name, images) in zip(below, pictures.items(), strict=True):
        axes.imshow(np.concatenate(list(images), axis=1))
        axes.set_title(name, fontsize=8)
        axes.axis("off")
    figure.savefig(out / "images.png", dpi=110)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those that decide what a model is."""
    add = parser.add_argument
    add("--data", type=Path, help="folder of cifar10-train.npz and cifar10-test.npz")
    add("--places", choices=("absolute", "none"), default="absolute", help="%(default)s")
    add("--width", type=int, default=512, help="%(default)s")
    add("--layers", type=int, default=10, help="self-attend blocks (%(default)s)")
    add("--window", type=int, default=128, help="of the local blocks (%(default)s)")
    add("--keep", type=float, default=1.0, help="of the inputs before the latents, in training (%(default)s)")
    add("--images", type=int, default=1024, help="of test that are scored (%(default)s)")


def main() -> None:
    """Command line; see above."""
    parser = parser_of(__doc__, 1200)
    add_flags(parser)
    parser.add_argument("--orders", default=",".join(ORDERS), help="%(default)s")
    parser.add_argument("--runs", default=RUNS, metavar="KIND:N:M,...", help="%(default)s")
    parser.add_argument("--steps", type=int, default=4000, help="%(default)s")
    parser.add_argument("--rows", type=int, default=32, help="images a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate (%(default)s)")
    given = parser.parse_args()
    if given.toy:
        given.runs, given.steps, given.rows, given.images = "perceiver-ar:48:16", 3, 2, 2
        given.orders, given.width, given.layers, given.window = "raster,coarse", 16, 1, 4
    elif given.data is None:
        parser.error("--data says where the images are; --toy needs none")
    given.out.mkdir(parents=True, exist_ok=True)
    files = None if given.toy else [given.data / f"cifar10-{split}.npz" for split in ("train", "test")]
    real = read_images(files[0]) if files else made_up(8, 4)
    held_out = read_images(files[1], given.images) if files else made_up(2, 4)
    S, pictures = real.shape[1], dict[str, np.ndarray]()
    compile_ahead([(stack_of(given, run, S), given.rows) for run in given.runs.split(",")], given.rate)
    with StopRun(given.limit) as stop:
        for order in given.orders.split(","):
            coordinates = order_of(order, S)
            training, test = (Told(x, coordinates, given.places == "absolute") for x in (real, held_out))
            for run in given.runs.split(","):
                if not stop.should_stop():
                    params = one(given, run, order, training, test, S, stop)
                    if run == given.runs.split(",")[0] and order in ("raster", "coarse") and not stop.should_stop():
                        drawn = completed(stack_of(given, run, S), params, test, min(16, len(held_out)))
                        pictures["real"] = held_out[:16]
                        pictures[f"second half drawn, {order}"] = as_images(drawn, coordinates, S)
    if results(given.out, "images"):
        draw_where_possible(draw, given.out, pictures)


def one(given: Any, run: str, order: str, training: Told, test: Told, S: int, stop: StopRun) -> Any:
    """Train and score one model on one order; what it has learnt."""
    stack = stack_of(given, run, S)
    (_, M), T, name = stack.sizes, training.tokens.shape[1] - 1, f"{run} {order} {given.places}"
    path = given.out / f"{name.replace(':', '-').replace(' ', '-')}.npz"

    def batches(step: int) -> Batch:
        rng = np.random.default_rng(step)
        chosen = rng.integers(0, len(training.tokens), given.rows)
        return training.windows(chosen, rng.integers(M, T, given.rows, endpoint=True), stack)

    clock = {"seconds": given.seconds, "rate": given.rate, "stop": stop, "steps": given.steps}
    state, curve = train(stack, begin(stack, given.rate, path), batches, path, **clock)
    if stop.should_stop():
        print(f"{name}: stopped after step {state.step}; the same command goes on")
        return state.params
    line = {"name": name, "run": run, "order": order, "places": given.places, "steps": state.step}
    line |= {"seconds": round(state.spent, 1), "bits": round(bits_of(stack, state.params, test, given.rows), 4)}
    record(given.out, "images", {**line, "images": len(test.tokens), "curve": curve[:: max(1, len(curve) // 200)]})
    make_scores.cache_clear()
    return state.params


if __name__ == "__main__":
    main()
