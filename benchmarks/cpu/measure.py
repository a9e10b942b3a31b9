"""How fast does the CPU decode, how near is that to reading the weights once a token, and what do N and M cost?

    python benchmarks/cpu/measure.py            # all parts; or name some: speed profile start dials

speed: tokens a second of the shipped weights at their own N and M, 1 and 2 threads, batch 1 and 4, JAX beside; the
bandwidth of the memory by the same number of threads; one refill.  profile: where the time of such a step goes.
start: cold processes of the main job.  dials: a token and a refill over a grid of N and M.

Everything of a part is measured in turns, round after round, and the minimum counts: other programs on the machine
only ever make things slower.  Adds the parts to result.json beside this script.
"""

from __future__ import annotations

import argparse
import collections
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
from unittest import mock

import numpy as np
import onnxruntime

from musicgen import checkpoints
from musicgen.data_prep.releases import Releases
from musicgen.model import onnx_graph
from musicgen.model.config import ModelConfig
from musicgen.model.engine import KEPT, spared_inputs
from musicgen.model.onnx_engine import Cache, OnnxEngine, session

RESULT = Path(__file__).with_name("result.json")
GRID_N = (1024, 2048, 4096, 8192, 16_384, 65_536)
GRID_M = (16, 64, 256, 512, 1024, 2048)
TOKENS = 8  # in one turn


def fastest(turns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least seconds of each, in turns."""
    best = dict.fromkeys(turns, np.inf)
    for _ in range(rounds):
        for name, turn in turns.items():
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
    cache = Cache(engine.config, np.full(rows, inputs), np.full(rows, latents), N, M)
    rng = np.random.default_rng(0)
    for values in cache.caches.values():
        values[...] = rng.normal(size=values.shape[2:])
    engine.bind(cache, N)
    token = np.full(rows, 60)

    def steps() -> None:
        cache.inputs[:], cache.latents[:] = inputs, latents
        for _ in range(TOKENS):
            engine.step(token, cache)

    c = engine.config
    seen = c.local_layers * c.local_window + c.cross_attends * inputs + c.layers * latents
    weights = sum(x.nbytes for name, x in engine.weights.items() if name != "embedding")
    return weights + rows * seen * 2 * c.kv_heads * c.head_size * 4, steps


def filled(config: ModelConfig) -> tuple[int, int, int]:
    """(inputs, latents) halfway between two refills of a long stream, and the tokens from one refill to the next."""
    kept = int(config.latents * KEPT)
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
        engine = OnnxEngine(config, released.weights, Releases(8.0), threads=threads)
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
                **({"refill_share": round(refill / (refill + room * step), 3)} if rows == 1 else {}),
            }
    told["jax float32, batch 1, all threads"] = {"milliseconds_per_step": round(1e3 * best["jax"] / TOKENS, 2)}
    return told


def profile(rounds: int) -> dict[str, Any]:
    """Milliseconds of a step by operator, each node's least, at batch 1; and the two bounds of the same run."""
    released = checkpoints.load()
    inputs, latents, _ = filled(released.config)
    weights = sum(x.nbytes for name, x in released.weights.items() if name != "embedding")
    told: dict[str, Any] = {}
    for threads in (1, 2):
        engine = OnnxEngine(released.config, released.weights, Releases(8.0), threads=threads)
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = f"{folder}/step"
            with mock.patch.object(onnxruntime, "SessionOptions", lambda made=options: made):
                engine._steps = session(onnx_graph.step_graph(released.config, engine._packed), threads)
            size, steps = stepping(engine, 1, released.config.context, released.config.latents, inputs, latents)
            read_bytes, read = reading(threads)
            best = fastest({"read": read, "steps": steps}, rounds)
            events = json.loads(Path(engine._steps.end_profiling()).read_text())
        least: dict[tuple[str, str], float] = {}
        for event in events:
            if event["name"].endswith("_kernel_time"):
                node = event["args"]["op_name"], event["name"]
                least[node] = min(least.get(node, np.inf), event["dur"] / 1e3)
        operators: collections.Counter[str] = collections.Counter()
        for (operator, _), spent in least.items():
            operators[operator] += spent
        bandwidth = read_bytes / best["read"]
        told[f"{threads} threads"] = {
            "read_gigabytes_per_second": round(bandwidth / 1e9, 1),
            "milliseconds": {operator: round(spent, 3) for operator, spent in operators.most_common()},
            "milliseconds_in_all": round(operators.total(), 2),
            "milliseconds_to_read_weights": round(1e3 * weights / bandwidth, 2),
            "milliseconds_to_read_weights_and_caches": round(1e3 * size / bandwidth, 2),
        }
    return told


def refilling(engine: OnnxEngine, N: int, M: int) -> Callable[[], Any]:
    """The pass of a stream whose inputs are full."""
    kept, spared = int(M * KEPT), spared_inputs(N, M)
    tokens = np.random.default_rng(0).integers(3, engine.config.vocab_size, (1, N - spared), dtype=np.int32)
    return lambda: engine.prefill(tokens, np.zeros(1, np.int32), read=kept, latents=M, context=N, ahead=spared)


def renewing(engine: OnnxEngine, N: int, M: int) -> Callable[[], Any]:
    """A new beginning of the latents over inputs that stay."""
    cache = Cache(engine.config, np.full(1, N), np.full(1, M), N, M)
    engine.bind(cache, N)

    def renew() -> None:
        cache.latents[:] = M
        engine.renew(cache, read=int(M * KEPT))

    return renew


def jax_steps(released: checkpoints.Released) -> Callable[[], Any]:
    """TOKENS tokens of the JAX engine, sampling and all; the caches are always read whole."""
    from musicgen.app.compiled import keep_compiled
    from musicgen.model.jax_engine import JaxEngine

    keep_compiled()
    engine = JaxEngine(released.config, released.params, Releases(8.0))
    engine.block = TOKENS
    stream = engine.start([np.ones(1, np.int16)])
    next(stream)
    return lambda: next(stream)


def start(rounds: int) -> dict[str, Any]:
    """The main job in processes of its own: seconds until the first note and until the end, from the command on."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "musicgen.app", "bach", "--out", f"{folder}/new.mid", "--quiet", "--json"]
        for _ in range(rounds):
            began = time.perf_counter()
            done = subprocess.run([*command, "--seconds", "30", "--seed", "1"], capture_output=True, check=True)
            whole = time.perf_counter() - began
            told = json.loads(done.stdout)
            # What the command cannot see: the interpreter's start and its end.
            told["first"] = told["first_note_seconds"] + whole - told["wall_seconds"]
            runs.append((whole, told))
    return {
        "first_note_seconds": round(min(told["first"] for _, told in runs), 2),
        "whole_seconds": round(min(whole for whole, _ in runs), 2),
        "all_whole_seconds": [round(whole, 2) for whole, _ in runs],
        "tokens": runs[0][1]["tokens"],
        "tokens_per_second": max(told["tokens_per_second"] for _, told in runs),
        "backend": runs[0][1]["backend"],
    }


def dials(rounds: int) -> dict[str, Any]:
    """A step with full caches, a refill, and what both make a token, for each N and M; by one thread."""
    released = checkpoints.load()
    engine = OnnxEngine(released.config, released.weights, Releases(8.0), threads=1)
    cells = [(N, M) for N in GRID_N for M in GRID_M if M <= N]
    steps = {f"{N} {M}": stepping(engine, 1, N, M, N - TOKENS, M - TOKENS) for N, M in cells}
    best = fastest({name: turn for name, (_, turn) in steps.items()}, rounds)
    renewals = fastest({f"{N} {M}": renewing(engine, N, M) for N, M in cells}, max(rounds // 4, 1))
    refills: dict[str, float] = {}
    for limit, times in ((20_000, max(rounds // 6, 1)), (GRID_N[-1], 1)):
        turns = {f"{N} {M}": refilling(engine, N, M) for N, M in cells if limit >= N and f"{N} {M}" not in refills}
        refills |= fastest(turns, times)
    weights = stepping(engine, 1, 2, 2, 0, 0)[0]
    rows = []
    for N, M in cells:
        step, refill, renewal = best[f"{N} {M}"] / TOKENS, refills[f"{N} {M}"], renewals[f"{N} {M}"]
        spared, room = spared_inputs(N, M), M - int(M * KEPT)
        spent = step + (refill + (spared // room - 1) * renewal) / spared
        rows.append(
            {
                "context": N,
                "latents": M,
                "milliseconds_per_step": round(1e3 * step, 2),
                "refill_seconds": round(refill, 3),
                "tokens_between_refills": spared,
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
    versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "numpy", "jax")}
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULT.parent)
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
