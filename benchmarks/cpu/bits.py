"""What four bits take beside eight, of the same weights: seconds a token, seconds of a prime, bytes, memory.

    python benchmarks/cpu/bits.py --rounds 200
    python benchmarks/cpu/bits.py --rounds 200 --weights runs/piano-4 --weights runs/piano-8

The default weights in eight and in four bits, or the folders of --weights.  One step at a time, in turns, caches filled
to halfway between two refills.  One thread's time is that in which the processor was its own, so that other programs on
the machine matter less; two threads wait for each other, and there the least time by the clock counts.  Writes
bits.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import numpy as np

from musicgen import checkpoints
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.graph import shapes

RESULT = Path(__file__).with_name("bits.json")
PRIME, CARRIED = 2048, 512  # inputs and latents of a prime
MORE = 20  # turns of two threads a round: they seldom have both cores for a whole step


def made(folder: Path) -> list[str]:
    """The weights that are compared."""
    trained = checkpoints.load()
    folders = {bits: folder / f"{trained.name} {bits}" for bits in (8, 4)}
    for bits, out in folders.items():
        checkpoints.release(out, trained.config, trained.params, {}, {}, "# Rounded\n", bits)
    return [str(out) for out in folders.values()]


def one_step(engine: OnnxEngine, rows: int) -> Callable[[], None]:
    """A step at half-filled caches."""
    c = engine.config
    inputs, latents, _ = measure.filled(c)
    cache = engine.new_cache(np.full(rows, inputs), np.full(rows, latents), c.context, c.latents)
    rng = np.random.default_rng(0)
    for values in cache.caches[:-2]:
        values[...] = rng.normal(size=values.shape[2:])
    token = np.full(rows, 60)

    def step() -> None:
        cache.inputs[:], cache.latents[:] = inputs, latents
        engine.step(token, cache)

    return step


def prime(engine: OnnxEngine) -> Callable[[], Any]:
    """A pass over a prime."""
    tokens = np.random.default_rng(0).integers(3, engine.config.vocab_size, (1, PRIME), dtype=np.int32)
    sizes = {"latents": CARRIED, "max_latents": PRIME, "max_inputs": 2 * PRIME, "free_inputs": PRIME}
    return lambda: engine.prefill(tokens, np.zeros(1, np.int32), **sizes)


def spent(turn: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Seconds by that clock."""
    began = clock()
    turn()
    return clock() - began


def compare(weights: list[str], rounds: int) -> dict[str, Any]:
    """The figures of each."""
    told: dict[str, Any] = {}
    turns: dict[tuple[str, str], tuple[Callable[[], Any], Callable[[], float]]] = {}
    for source in weights:
        released, name = checkpoints.load(source), Path(source).name
        began = time.process_time()
        engine = OnnxEngine(released.config, released.weights, threads=1)
        prime(engine)()
        told[name] = {
            "bits": released.bits,
            "parameters": int(sum(np.prod(shape) for shape in shapes(released.config).values())),
            "mebibytes_of_files": round(sum(x.nbytes for x in released.weights.values()) / 2**20, 1),
            "processor_seconds_until_the_first_pass_is_done": round(time.process_time() - began, 2),
        }
        two = OnnxEngine(released.config, released.weights, threads=2)
        turns[name, "1 thread"] = one_step(engine, 1), time.thread_time
        turns[name, "1 thread, 4 rows"] = one_step(engine, 4), time.thread_time
        turns[name, "1 thread by the clock"] = turns[name, "1 thread"][0], time.perf_counter
        turns[name, "2 threads by the clock"] = one_step(two, 1), time.perf_counter
        turns[name, "prime"] = prime(engine), time.thread_time
    times: dict[tuple[str, str], list[float]] = {key: [] for key in turns}
    for number in range(rounds):
        for key, (turn, clock) in turns.items():
            count = MORE if key[1].startswith("2 threads") else int(key[1] != "prime" or number % 20 == 0)
            times[key] += [spent(turn, clock) for _ in range(count)]
    for (name, what), seconds in times.items():
        figures = {"milliseconds": 1e3 * min(seconds), "median_milliseconds": 1e3 * float(np.median(seconds))}
        if what != "prime":
            figures["tokens_per_second"] = (4 if "4 rows" in what else 1) / min(seconds)
        told[name][what] = {key: round(value, 2) for key, value in figures.items()}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--weights", action="append", help="folders to compare in place of those named above")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        machine = measure.machine()
        told = compare(options.weights or made(Path(folder)), options.rounds)
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    RESULT.write_text(json.dumps({"command": command, "machine": machine, "weights": told}, indent=2) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
