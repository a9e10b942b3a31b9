"""How fast does a GPU decode, how near is that to reading weights and caches once a token, and what do N and M cost?

    python benchmarks/decoding/decode.py speed.jsonl --batches 1,8,64,256       # at the model's own N and M
    python benchmarks/decoding/decode.py curves.jsonl --contexts 1024,65536 --latents 16,2048

Streams of the engine that `musicgen generate` uses, with grammar and sampler, over random weights of the preset's shape
(speed does not depend on them) and primes that fill the context.  All programs are compiled first, beside one another;
then every cell is timed alone: blocks of tokens, passes that read the inputs anew, new beginnings of the latents.  One
JSON line a cell.  The bound is reading the weights and the used part of the caches once a step at the bandwidth of a
large copy in this run.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.model import parameters
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.engine import CARRIED, Stream, reserve
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.sampler import Sampling

SAMPLING = Sampling(temperature=0.95, top_p=0.98)


def random_weights(config: ModelConfig) -> dict[str, jax.Array]:
    """Parameters of about the size of trained ones, bfloat16 on a GPU."""
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    rng = np.random.default_rng(0)
    scale = config.width**-0.5
    return {
        name: jnp.asarray(1.0 if name.endswith("_scale") else scale * rng.standard_normal(shape, np.float32), dtype)
        * jnp.ones(shape, dtype)
        for name, shape in parameters.shapes(config).items()
    }


def bytes_a_step(config: ModelConfig, batch: int, N: int, M: int, itemsize: int) -> int:
    """Weights, and the keys and values in use halfway between two refills."""
    inputs, latents = N - reserve(N, M) // 2, M - (M - int(M * CARRIED)) // 2
    weights = sum(int(np.prod(shape)) for shape in parameters.shapes(config).values())
    seen = config.local_layers * config.local_window + config.cross_attends * inputs + config.layers * latents
    return itemsize * (weights + batch * seen * 2 * config.kv_heads * config.head_size)


def copy_bandwidth() -> float:
    """Bytes a second of a large copy, read and written."""
    size = 2**30 if jax.default_backend() == "gpu" else 2**22
    x = jax.random.bits(jax.random.key(0), (size // 4,), jnp.uint32)  # bytes one by one took 2.6 times as long
    copy = jax.jit(lambda x: x ^ 1)
    copy(x).block_until_ready()
    began = time.perf_counter()
    for _ in range(10):
        y = copy(x)
    y.block_until_ready()
    return 10 * 2 * size / (time.perf_counter() - began)


class Cell:
    """One batch size, N and M: a stream, ready to go on."""

    def __init__(self, config: ModelConfig, params: dict[str, jax.Array], batch: int, N: int, M: int, block: int):
        self.config, self.batch, self.N, self.M = config, batch, N, M
        self.engine = JaxEngine(config, params, NoteLimits())
        self.engine.block = block
        began = time.perf_counter()
        prime = np.random.default_rng(1).integers(3, 300, N, np.int16)
        self.stream: Stream = self.engine.start([prime] * batch, latents=M, context=N, sampling=SAMPLING)
        next(self.stream)
        self.compiling = time.perf_counter() - began

    def _timed(self, function: Callable[[], Any]) -> float:
        began = time.perf_counter()
        function()
        jax.block_until_ready((self.stream.state.outputs, self.stream.state.cache))
        return time.perf_counter() - began

    def read_again(self) -> None:
        """The pass over the last inputs, whether there is room or not."""
        self.stream.free_inputs = 0
        self.stream.make_room()

    def refill(self) -> tuple[str, float]:
        """Make room as the stream would: what that was, and its seconds."""
        what = "renewal" if self.stream.free_inputs else "reading"
        return what, self._timed(self.stream.make_room)

    def measure(self, seconds: float) -> dict[str, Any]:
        """Blocks, and between them readings of the inputs and renewals of the latents, for about so many seconds."""
        spared, room = reserve(self.N, self.M), self.M - int(self.M * CARRIED)
        found: dict[str, list[float]] = {"reading": [self._timed(self.read_again)], "renewal": [], "step": []}
        if spared > room:
            self.stream.make_room()  # compiled now
        next(self.stream)
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline or len(found["reading"]) < 3:
            if self.stream.free_latents == 0:
                what, spent = self.refill()
                found[what].append(spent)
            count = min(self.engine.block, self.stream.free_latents)
            found["step"].append(self._timed(lambda: next(self.stream)) / count)
            if time.perf_counter() > deadline + seconds:
                break
        step, reading = float(np.median(found["step"])), float(np.median(found["reading"]))
        renewal = float(np.median(found["renewal"])) if found["renewal"] else 0.0
        refills = (reading + (spared // room - 1) * renewal) / spared
        return {
            "batch": self.batch,
            "context": self.N,
            "latents": self.M,
            "block": self.engine.block,
            "ms_per_step": round(1e3 * step, 4),
            "tokens_per_second": round(self.batch / step, 1),
            "reading_ms": round(1e3 * reading, 2),
            "tokens_between_readings": spared,
            "renewal_ms": round(1e3 * renewal, 2),
            "tokens_between_renewals": room,
            "refill_share": round(refills / (refills + step), 4),
            "tokens_per_second_with_refills": round(self.batch / (step + refills), 1),
            "programs": [
                program._cache_size()
                for program in (
                    self.engine.compiled_prefill,
                    self.engine.compiled_restart,
                    self.engine.compiled_block,
                    self.engine.compiled_draw,
                )
            ],
            "first_block_seconds": round(self.compiling, 1),
            "cache_megabytes": round(sum(x.nbytes for x in jax.tree.leaves(self.stream.state.cache)) / 1e6, 2),
        }

    def kernels(self) -> dict[str, Any]:
        """What ran on the GPU in one block: kernels and their milliseconds a step, and the largest."""
        if self.stream.free_latents < self.engine.block:
            self.read_again()
        steps = min(self.engine.block, self.stream.free_latents)
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                next(self.stream)
            trace = max(Path(folder).rglob("*.trace.json.gz"), default=None)
            events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"] if trace else []
        names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
        spent: collections.Counter[str] = collections.Counter()
        count: collections.Counter[str] = collections.Counter()
        for event in events:
            if event.get("ph") == "X" and "GPU" in names.get(event["pid"], ""):
                spent[event["name"]] += event["dur"]
                count[event["name"]] += 1
        top = {n[:70]: [round(us / steps, 2), round(count[n] / steps, 2)] for n, us in spent.most_common(40)}
        return {
            "kernels_per_step": round(count.total() / steps, 1),
            "kernel_ms_per_step": round(spent.total() / steps / 1e3, 4),
            "us_and_number_per_step": top,
        }


def numbers(text: str) -> list[int]:
    """1,8 -> [1, 8]."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("out", type=Path)
    add("--preset", default="release", choices=PRESETS)
    add("--batches", type=numbers, default=[1], metavar="B,B")
    add("--contexts", type=numbers, metavar="N,N", help="the preset's")
    add("--latents", type=numbers, metavar="M,M", help="the preset's; cells with M > N are left out")
    add("--block", type=int, default=256, help="tokens a dispatch (%(default)s)")
    add("--seconds", type=float, default=1.5, help="of timing, a cell (%(default)s)")
    add("--threads", type=int, default=12, help="programs compiled at once (%(default)s)")
    add("--label", default="", help="written into every line")
    add("--kernels", action="store_true", help="also what runs on the GPU in a step")
    arguments = parser.parse_args()
    config = PRESETS[arguments.preset]
    params = random_weights(config)
    bandwidth = copy_bandwidth()
    cells = [
        (batch, N, M)
        for N in arguments.contexts or [config.context]
        for M in arguments.latents or [config.latents]
        for batch in arguments.batches
        if N >= M
    ]
    about = {
        "label": arguments.label,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "flags": os.environ.get("XLA_FLAGS", ""),
        "copy_gigabytes_per_second": round(bandwidth / 1e9, 1),
    }
    with concurrent.futures.ThreadPoolExecutor(arguments.threads) as pool:
        made = [pool.submit(Cell, config, params, *cell, arguments.block) for cell in cells]
        concurrent.futures.wait(made)
    with arguments.out.open("a") as file:
        for (batch, N, M), ready in zip(cells, made, strict=True):
            try:
                # What cannot start beside others (another thread spoils the recording of a CUDA graph) begins anew.
                cell = Cell(config, params, batch, N, M, arguments.block) if ready.exception() else ready.result()
                told = about | cell.measure(arguments.seconds)
                size = bytes_a_step(config, batch, N, M, cell.engine.dtype.itemsize)
                told["bytes_per_step"] = size
                told["bound_tokens_per_second"] = round(batch * bandwidth / size)
                told["share_of_bound"] = round(told["tokens_per_second"] / told["bound_tokens_per_second"], 4)
                if arguments.kernels:
                    file.write(json.dumps(told) + "\n")
                    file.flush()
                    told |= cell.kernels()
            except Exception as error:  # the next cell may do, and this line says what happened
                told = about | {"batch": batch, "context": N, "latents": M, "failed": f"{error!r}"[:500]}
            file.write(json.dumps(told) + "\n")
            file.flush()
            print(json.dumps({k: v for k, v in told.items() if k != "us_and_number_per_step"}), flush=True)


if __name__ == "__main__":
    main()
