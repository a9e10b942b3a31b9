"""Where the time of a training step goes on a GPU, and what share of the chip's matrix rate it reaches.

    python benchmarks/training/profile.py OUT [--preset release] [--deterministic]

Ten steps on random rows in one dispatch, after two to warm up, under JAX's profiler.  The kernels in its trace are
grouped by name; OUT/result.json keeps the groups, the largest kernels, and the rate of a large bfloat16 matrix product
on the same chip in the same run.  `profile.py --trace FILE` groups a trace that is there already.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gzip
import json
import time
from pathlib import Path
from typing import Any

STEPS = 10
GROUPS = (  # the first whose beginning or part is in the kernel's name
    ("attention", ("cudnn", "fmha")),
    ("matrix products in float32 (Muon)", ("f32f32_tf32",)),
    ("matrix products", ("nvjet", "gemm", "cutlass", "xmma")),
    ("reductions and what is fused with them", ("input_",)),
    ("elementwise", ("loop_", "wrapped_")),
)


def group_of(kernel: str) -> str:
    """Which of GROUPS a kernel belongs to, or "other"."""
    return next((group for group, parts in GROUPS if any(part in kernel for part in parts)), "other")


def kernels(trace: Path) -> dict[str, float]:
    """Milliseconds by kernel name, of everything in a trace that ran on a GPU."""
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    total: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X" and "GPU" in names.get(event["pid"], ""):
            total[event["name"]] += event["dur"] / 1000
    return dict(total)


def grouped(trace: Path) -> dict[str, Any]:
    """Milliseconds a step by group, and of the largest kernels."""
    found = kernels(trace)
    groups: collections.Counter[str] = collections.Counter()
    for name, spent in found.items():
        groups[group_of(name)] += spent / STEPS
    largest = sorted(found.items(), key=lambda item: -item[1])[:15]
    return {
        "ms_per_step": {name: round(spent, 2) for name, spent in groups.most_common()},
        "kernels": {name[:80]: round(spent / STEPS, 2) for name, spent in largest},
    }


def matrix_rate() -> float:
    """TFLOP/s of an 8,192 x 8,192 x 8,192 product of random bfloat16 numbers, twenty in a row."""
    import jax
    import jax.numpy as jnp

    x = jax.random.normal(jax.random.key(0), (8192, 8192), jnp.bfloat16)
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    began = time.perf_counter()
    for _ in range(20):
        y = product(x)
    y.block_until_ready()
    return 20 * 2 * 8192**3 / (time.perf_counter() - began) / 1e12


def measure(preset: str, deterministic: bool, out: Path) -> dict[str, Any]:
    """Run, trace, group."""
    import jax
    import numpy as np

    from musicgen.app.recipes import RECIPES
    from musicgen.model.sharding import make_mesh
    from musicgen.model.training import loss, train
    from musicgen.model.training.flops import forward_flops

    config = dataclasses.replace(RECIPES[preset].train, deterministic=deterministic)
    rng = np.random.default_rng(0)
    rows = rng.integers(3, config.model.vocab_size, (STEPS, config.batch, config.model.context + 1), np.int16)
    steps, state = train.make_train_steps(config), train.init_state(config, make_mesh())
    for _ in range(2):
        state, _figures = jax.block_until_ready(steps(state, rows))
    began = time.perf_counter()
    state, _figures = jax.block_until_ready(steps(state, rows))
    seconds = (time.perf_counter() - began) / STEPS
    with jax.profiler.trace(str(out), create_perfetto_trace=False):
        jax.block_until_ready(steps(state, rows))
    trace = max(out.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    contexts = loss.contexts_of(config)
    flops = 3 * forward_flops(config.model, contexts, config.batch, config.cross_keep)
    rate = matrix_rate()
    return {
        "preset": preset,
        "deterministic": deterministic,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "rows": config.batch,
        "milliseconds": round(1000 * seconds, 2),
        "tflops": round(flops / seconds / 1e12, 1),
        "matrix_tflops": round(rate, 1),
        "share": round(flops / seconds / 1e12 / rate, 3),
        **grouped(trace),
    }


def main() -> None:
    """Measure, or group a trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("profile"))
    parser.add_argument("--preset", default="release")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--trace", type=Path)
    arguments = parser.parse_args()
    if arguments.trace:
        print(json.dumps(grouped(arguments.trace), indent=2))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = measure(arguments.preset, arguments.deterministic, arguments.out)
    (arguments.out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
