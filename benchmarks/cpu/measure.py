"""How fast does the CPU decode, how near is that to reading the weights once a token, and what do N and M cost?

    python benchmarks/cpu/measure.py            # all parts; or name some: speed profile start dials

speed: tokens a second of the shipped weights at their own N and M, 1 and 2 threads, batch 1 and 4, JAX beside; the
bandwidth of the memory by the same number of threads; one refill.  profile: where the time of such a step goes.
start: processes of the main job, the first of which has to compile.  dials: a token and a refill over a grid of N, M.

Everything of a part is measured in turns, round after round, each begun when nothing else runs, and the minimum counts:
other programs on the machine only ever make things slower.  Adds the parts to result.json beside this script.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.model.config import ModelConfig
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.memory import Shared, Weights
from musicgen.model.cpu.primitives import compiled, wait
from musicgen.model.cpu.products import product
from musicgen.model.cpu.threads import thread_team
from musicgen.model.engine import CARRIED, reserve

RESULT = Path(__file__).with_name("result.json")
GRID_N = (512, 1024, 2048, 4096, 8192, 16_384, 65_536)
GRID_M = (16, 64, 256, 512, 1024, 2048)
TOKENS = 8  # in one turn


def alone() -> None:
    """Wait until nothing else has used a core for a tenth of a second, half a minute at most; Linux alone tells."""
    stat = Path("/proc/stat")
    for _ in range(300 if stat.exists() else 0):
        before = busy(stat)
        time.sleep(0.1)
        if busy(stat) - before <= 1:
            return


def busy(stat: Path) -> int:
    """Hundredths of a second that all cores have worked."""
    return sum(int(number) for number in stat.read_text().split()[1:4])


def fastest(turns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least seconds of each, in turns."""
    best = dict.fromkeys(turns, np.inf)
    for _ in range(rounds):
        for name, turn in turns.items():
            alone()
            began = time.perf_counter()
            turn()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def reading(threads: int) -> tuple[int, Callable[[], None]]:
    """A pass over memory far larger than the caches, by so many threads: bytes and the pass."""
    parts = np.ones((threads, 32_000_000 // threads))

    def read() -> None:
        workers = [threading.Thread(target=part.sum) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return parts.nbytes, read


def stepping(
    engine: OnnxEngine, rows: int, N: int, M: int, inputs: int, latents: int
) -> tuple[int, Callable[[], None]]:
    """Steps at one filling of the caches: bytes of the weights and caches that a step reads, and TOKENS steps."""
    cache = engine.new_cache(np.full(rows, inputs), np.full(rows, latents), N, M)
    rng = np.random.default_rng(0)
    for values in cache.caches[:-2]:
        values[...] = rng.normal(size=values.shape[2:])
    token = np.full(rows, 60)

    def steps() -> None:
        cache.inputs[:], cache.latents[:] = inputs, latents
        for _ in range(TOKENS):
            engine.step(token, cache)

    c = engine.config
    seen = c.local_layers * min(c.local_window, inputs) + c.cross_attends * inputs + c.layers * latents
    return weight_bytes(engine) + rows * seen * 2 * c.kv_heads * c.head_size * 4, steps


def weight_bytes(engine: OnnxEngine) -> int:
    """Of the weights that a step reads."""
    return sum(x.nbytes for name, x in engine.weights.items() if name != "embedding")


def filled(config: ModelConfig) -> tuple[int, int, int]:
    """(inputs, latents) halfway between two refills of a long stream, and the tokens from one refill to the next."""
    kept = int(config.latents * CARRIED)
    room = config.latents - kept
    return config.context - room // 2, kept + room // 2, room


def speed(rounds: int) -> dict[str, Any]:
    """Tokens a second and shares of the bound."""
    released = checkpoints.load()
    config = released.config
    inputs, latents, room = filled(config)
    turns: dict[str, Callable[[], Any]] = {}
    refills: dict[str, Callable[[], Any]] = {}
    sizes: dict[str, int] = {}
    for threads in (1, 2):
        engine = OnnxEngine(config, released.weights, NoteLimits(), threads=threads)
        sizes["weights"] = weight_bytes(engine)
        sizes[f"read {threads}"], turns[f"read {threads}"] = reading(threads)
        for rows in (1, 4):
            name = f"{threads} {rows}"
            sizes[name], turns[name] = stepping(engine, rows, config.context, config.latents, inputs, latents)
        refills[f"refill {threads}"] = refilling(engine, config.context, config.latents)
    turns["jax"] = jax_steps(released)
    best = fastest(turns, rounds) | fastest(refills, max(rounds // 5, 2))
    told: dict[str, Any] = {"inputs": inputs, "latents": latents, "tokens_between_refills": room}
    for threads in (1, 2):
        bandwidth = sizes[f"read {threads}"] / best[f"read {threads}"]
        refill = best[f"refill {threads}"]
        told[f"{threads} threads"] = {
            "read_gigabytes_per_second": round(bandwidth / 1e9, 1),
            "refill_seconds": round(refill, 3),
        }
        for rows in (1, 4):
            step = best[f"{threads} {rows}"] / TOKENS
            told[f"{threads} threads"][f"batch {rows}"] = {
                "milliseconds_per_step": round(1e3 * step, 2),
                "tokens_per_second": round(rows / step, 1),
                "bytes_per_step": sizes[f"{threads} {rows}"],
                "share_of_bound": round(sizes[f"{threads} {rows}"] / bandwidth / step, 3),
                "share_of_bound_of_the_weights_alone": round(sizes["weights"] / bandwidth / step, 3),
                **({"refill_share": round(refill / (refill + room * step), 3)} if rows == 1 else {}),
            }
    told["jax float32, batch 1, all threads"] = {"milliseconds_per_step": round(1e3 * best["jax"] / TOKENS, 2)}
    return told


@compiled
def one_product(
    part: int, parts: int, barrier: np.ndarray, kernel: np.ndarray, scale: np.ndarray, x: np.ndarray, out: np.ndarray
) -> None:
    """This part of it; all parts meet at the end."""
    product(kernel, scale, x, out, part, parts)
    wait(barrier, parts)


@compiled
def all_products(part: int, parts: int, barrier: np.ndarray, x: np.ndarray, weights: Weights, shared: Shared) -> None:
    """The products of TOKENS steps and nothing between them."""
    for _ in range(TOKENS):
        for block in range(len(weights.kinds)):
            kernel, scale, HK = weights.qkv[block], weights.qkv_scale[block], shared.queries.shape[1]
            product(kernel[:HK], scale[:HK], x, shared.queries, part, parts)
            product(kernel[HK:], scale[HK:], x, shared.keys_values, part, parts)
            product(weights.out[block], weights.out_scale[block], x, shared.mixed, part, parts)
            product(weights.up[block], weights.up_scale[block], x, shared.wide, part, parts)
            product(weights.down[block], weights.down_scale[block], shared.wide, shared.mixed, part, parts)
        product(weights.output, weights.output_scale, x, shared.outputs, part, parts)
    wait(barrier, parts)


@compiled
def meetings(part: int, parts: int, barrier: np.ndarray, count: int) -> None:
    """So many barriers and nothing between them."""
    goal = 0
    for _ in range(count):
        goal = wait(barrier, goal + parts)


def profile(rounds: int) -> dict[str, Any]:
    """Milliseconds of the parts of a step at batch 1.

    Products alone; barriers alone; attention as the difference between full and empty caches; and what is left of a
    step with empty ones: norms, GELU, sums of chunks, waiting for the slower part, what Python does.
    """
    released = checkpoints.load()
    c = released.config
    inputs, latents, _ = filled(c)
    told: dict[str, Any] = {}
    for threads in (1, 2):
        engine = OnnxEngine(c, released.weights, NoteLimits(), threads=threads)
        size, steps = stepping(engine, 1, c.context, c.latents, inputs, latents)
        _, empty = stepping(engine, 1, c.context, c.latents, 0, 0)
        read_bytes, read = reading(threads)
        kernel = np.full((read_bytes // c.width, c.width), 128, np.uint8)
        arrays = (kernel, *(np.ones(shape, np.float32) for shape in (len(kernel), (1, c.width), (1, len(kernel)))))
        x, shared = np.ones((1, c.width), np.float32), engine.new_cache(np.zeros(1), np.zeros(1), 1, 1).shared
        run = thread_team(threads).run
        turns: dict[str, Callable[[], None]] = {
            "read": read,
            "one product": functools.partial(run, one_product, *arrays),
            "steps": steps,
            "empty": empty,
            "products": functools.partial(run, all_products, x, engine._steps, shared),
            "barriers": functools.partial(run, meetings, 5 * len(engine._steps.kinds) + 1),
        }
        best = fastest(turns, rounds)
        bandwidth = read_bytes / best["read"]
        weights = weight_bytes(engine)
        whole, empty_step, products = (best[name] / TOKENS for name in ("steps", "empty", "products"))
        parts = {
            "products": products,
            "attention": whole - empty_step,
            "barriers": best["barriers"],
            "the rest": empty_step - products - best["barriers"],
            "in all": whole,
            "to read weights": weights / bandwidth,
            "to read weights and caches": size / bandwidth,
        }
        told[f"{threads} threads"] = {
            "read_gigabytes_per_second": round(bandwidth / 1e9, 1),
            "one_product_of_as_many_bytes_gigabytes_per_second": round(read_bytes / best["one product"] / 1e9, 1),
            "products_gigabytes_per_second": round(weights / products / 1e9, 1),
            "attention_gigabytes_per_second": round((size - weights) / parts["attention"] / 1e9, 1),
            "milliseconds": {name: round(1e3 * spent, 3) for name, spent in parts.items()},
        }
    return told


def refilling(engine: OnnxEngine, N: int, M: int) -> Callable[[], Any]:
    """The pass of a stream whose inputs are full."""
    kept, reserved = int(M * CARRIED), reserve(N, M)
    tokens = np.random.default_rng(0).integers(3, engine.config.vocab_size, (1, N - reserved), dtype=np.int32)
    return lambda: engine.prefill(
        tokens, np.zeros(1, np.int32), latents=kept, max_latents=M, max_inputs=N, free_inputs=reserved
    )


def renewing(engine: OnnxEngine, N: int, M: int) -> Callable[[], Any]:
    """A new beginning of the latents over inputs that stay."""
    cache = engine.new_cache(np.full(1, N), np.full(1, M), N, M)

    def renew() -> None:
        cache.latents[:] = M
        engine.restart_latents(cache, latents=int(M * CARRIED))

    return renew


def jax_steps(released: checkpoints.Released) -> Callable[[], Any]:
    """TOKENS tokens of the JAX engine, sampling and all; the caches are always read whole."""
    from musicgen.app.backend import keep_compiled
    from musicgen.model.jax_engine import JaxEngine

    keep_compiled()
    engine = JaxEngine(released.config, released.params, NoteLimits())
    engine.block = TOKENS
    stream = engine.start([np.ones(1, np.int16)])
    next(stream)
    return lambda: next(stream)


def start(rounds: int) -> dict[str, Any]:
    """The main job in processes of its own: seconds until the first note and until the end, from the command on.

    The first finds nothing compiled, the others what it has kept.
    """
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": f"{folder}/compiled"}
        command = [sys.executable, "-m", "musicgen.app", "bach", "--out", f"{folder}/new.mid", "--quiet", "--json"]
        for _ in range(1 + rounds):
            alone()
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--seconds", "30", "--seed", "1"], capture_output=True, check=True, env=environment
            )
            whole = time.perf_counter() - began
            told = json.loads(done.stdout)
            # What the command cannot see: the interpreter's start and its end.
            told["first"] = told["first_note_seconds"] + whole - told["wall_seconds"]
            runs.append((whole, told))
    (first_whole, first), *later = runs
    return {
        "nothing_compiled": {
            "first_note_seconds": round(first["first"], 2),
            "whole_seconds": round(first_whole, 2),
        },
        "first_note_seconds": round(min(told["first"] for _, told in later), 2),
        "whole_seconds": round(min(whole for whole, _ in later), 2),
        "all_whole_seconds": [round(whole, 2) for whole, _ in later],
        "tokens": first["tokens"],
        "tokens_per_second": max(told["tokens_per_second"] for _, told in later),
        "backend": first["backend"],
    }


def dials(rounds: int) -> dict[str, Any]:
    """A step with full caches, a refill, and what both make a token, for each N and M; by one thread."""
    released = checkpoints.load()
    engine = OnnxEngine(released.config, released.weights, NoteLimits(), threads=1)
    cells = [(N, M) for N in GRID_N for M in GRID_M if M <= N]
    steps = {f"{N} {M}": stepping(engine, 1, N, M, N - TOKENS, M - TOKENS) for N, M in cells}
    best = fastest({name: turn for name, (_, turn) in steps.items()}, rounds)
    renewals = fastest({f"{N} {M}": renewing(engine, N, M) for N, M in cells}, max(rounds // 4, 2))
    refills: dict[str, float] = {}
    for limit, times in ((20_000, max(rounds // 6, 2)), (GRID_N[-1], 1)):
        turns = {f"{N} {M}": refilling(engine, N, M) for N, M in cells if limit >= N and f"{N} {M}" not in refills}
        refills |= fastest(turns, times)
    weights = weight_bytes(engine)
    rows = []
    for N, M in cells:
        step, refill, renewal = best[f"{N} {M}"] / TOKENS, refills[f"{N} {M}"], renewals[f"{N} {M}"]
        reserved, room = reserve(N, M), M - int(M * CARRIED)
        spent = step + (refill + (reserved // room - 1) * renewal) / reserved
        rows.append(
            {
                "context": N,
                "latents": M,
                "milliseconds_per_step": round(1e3 * step, 2),
                "refill_seconds": round(refill, 3),
                "tokens_between_refills": reserved,
                "renewal_seconds": round(renewal, 4),
                "tokens_between_renewals": room,
                "tokens_per_second": round(1 / spent, 1),
                "cache_megabytes": round((steps[f"{N} {M}"][0] - weights) / 1e6, 1),
            }
        )
    return {"threads": 1, "grid": rows}


PARTS = {"speed": speed, "profile": profile, "start": start, "dials": dials}


def machine() -> dict[str, Any]:
    """What it was measured on."""
    versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "numba", "numpy", "jax")}
    ask = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude", "*"]
    git = subprocess.run(ask, capture_output=True, text=True, cwd=RESULT.parent)
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "commit": git.stdout.strip(),
        "load_average_before": load,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=[], help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=0, help="turns of each measurement (5 cold starts, else 20)")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        told = {"machine": machine(), **PARTS[part](arguments.rounds or (5 if part == "start" else 20))}
        result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        RESULT.write_text(json.dumps({**result, part: told}, indent=2) + "\n")
        print(json.dumps({part: told}, indent=2))


if __name__ == "__main__":
    main()
