"""Training steps a second of Perceiver AR, of a plain decoder and of Transformer-XL, by context and depth.

    python benchmarks/figure/figure.py figure.jsonl          # measures, on a GPU; then the table and the picture
    python benchmarks/figure/figure.py figure.jsonl --report # these alone

All three are stacks of the same blocks (model/perceiver_ar.py: same width, kernels and number of parameters) under
lax.scan, trained with Adam in bfloat16 on the same rows [B, N + 1]; no dropout, nothing recomputed.

    plain            every block is causal over all N inputs; N targets a row
    transformer-xl   Dai et al. (2019): the last M inputs are the segment; every block also sees the N - M hidden states
                     before it that an earlier step left, without gradient; M targets a row
    perceiver-ar     two blocks of windowed attention over N, one cross-attend from M latents, the rest over M latents;
                     M targets

One JSON line a cell.  A cell whose program needs more memory than JAX may take is written as out of memory.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from musicgen.model.attention import attend, local_attend
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.perceiver_ar import Block, no_drop, rms_norm

KINDS = ("perceiver-ar", "plain", "transformer-xl")
DTYPE = jnp.bfloat16
ADAM = optax.adam(1e-4)
Params = dict[str, Any]


class State(NamedTuple):
    """What a step changes; memory [L, B, N - M, D] is Transformer-XL's."""

    params: Params
    adam: Any
    memory: jax.Array


def fresh(config: ModelConfig, kind: str, depth: int, rows: int, N: int, M: int) -> State:
    """Random blocks, one stack; `kind` does not change how many parameters there are."""
    _, one = nnx.split(Block(nnx.Rngs(0), config))
    flat = nnx.to_flat_state(one)
    keys = jax.random.split(jax.random.key(0), len(flat) + 2)
    D, V = config.width, config.vocab_size
    blocks = {
        ".".join(map(str, path)): jnp.ones((depth, *value.shape))
        if len(value.shape) == 1
        else jax.random.normal(key, (depth, *value.shape)) * value.shape[0] ** -0.5 / depth**0.5
        for key, (path, value) in zip(keys, flat, strict=False)
    }
    params = {
        "embedding": jax.random.normal(keys[-1], (V, D)),
        "logits": jax.random.normal(keys[-2], (D, V)) * D**-0.5,
        "blocks": blocks,
    }
    memory = jnp.zeros((depth, rows, N - M, D) if kind == "transformer-xl" else (0,), DTYPE)
    return State(params, ADAM.init(params), memory)


def stacked(config: ModelConfig) -> Callable[[Params], Block]:
    """The block with these parameters by name."""
    graph, one = nnx.split(nnx.eval_shape(lambda: Block(nnx.Rngs(0), config)))
    flat = {".".join(map(str, path)): (path, value) for path, value in nnx.to_flat_state(one)}

    def block(params: Params) -> Block:
        state = nnx.from_flat_state({flat[n][0]: flat[n][1].replace(x.astype(DTYPE)) for n, x in params.items()})
        return nnx.merge(graph, state)

    return block


def hidden(
    config: ModelConfig, kind: str, blocks: Params, x: jax.Array, memory: jax.Array, M: int
) -> tuple[jax.Array, jax.Array]:
    """Embedded inputs [B, N, D] -> what is read at the end [B, N or M, D], and Transformer-XL's next memory."""
    N, block = x.shape[1], stacked(config)
    positions = jnp.arange(N)[None]

    def some(first: int, last: int | None) -> Params:
        return {name: value[first:last] for name, value in blocks.items()}

    def over(x: jax.Array, params: Params, at: jax.Array, attends: Callable[..., jax.Array]) -> jax.Array:
        def one(x: jax.Array, params: Params) -> tuple[jax.Array, None]:
            return block(params)(x, at, attends, no_drop), None

        return jax.lax.scan(one, x, params)[0]

    if kind == "plain":
        return over(x, blocks, positions, attend), memory
    own = positions[:, N - M :]
    if kind == "perceiver-ar":
        h = over(x, some(0, 2), positions, functools.partial(local_attend, window=config.local_window))
        cross = block({name: value[2] for name, value in blocks.items()})
        x = cross(h[:, N - M :], own, attend, no_drop, cross.keys_values(h, positions))
        return over(x, some(3, None), own, attend), memory

    def segment(x: jax.Array, given: tuple[Params, jax.Array]) -> tuple[jax.Array, jax.Array]:
        params, before = given
        one = block(params)
        seen = jnp.concatenate([jax.lax.stop_gradient(before), x], axis=1)
        after = jax.lax.stop_gradient(seen[:, seen.shape[1] - before.shape[1] :])
        return one(x, own, attend, no_drop, one.keys_values(seen, positions)), after

    return jax.lax.scan(segment, x[:, N - M :], (blocks, memory))


def make_step(config: ModelConfig, kind: str, M: int) -> Callable[[State, jax.Array], tuple[State, jax.Array]]:
    """(state, rows i32 [B, N + 1]) -> the state after a step, and its loss."""

    def loss_of(params: Params, memory: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs, targets = rows[:, :-1], rows[:, 1:]
        one_hot = jax.nn.one_hot(inputs, config.vocab_size, dtype=DTYPE)
        x = rms_norm(one_hot @ params["embedding"].astype(DTYPE))
        x, memory = hidden(config, kind, params["blocks"], x, memory, M)
        logits = jnp.matmul(rms_norm(x), params["logits"].astype(DTYPE), preferred_element_type=jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets[:, -x.shape[1] :])
        return losses.mean(), memory

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: State, rows: jax.Array) -> tuple[State, jax.Array]:
        (loss, memory), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params, state.memory, rows)
        updates, adam = ADAM.update(grads, state.adam)
        return State(optax.apply_updates(state.params, updates), adam, memory), loss

    return step


def timed(compiled: Any, state: State, rows: jax.Array, seconds: float) -> tuple[float, float]:
    """Seconds a step, the median of at least two; and the last loss."""
    state, loss = jax.block_until_ready(compiled(state, rows))
    spent: list[float] = []
    while len(spent) < 2 or (sum(spent) < seconds and len(spent) < 20):
        began = time.perf_counter()
        state, loss = jax.block_until_ready(compiled(state, rows))
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)), float(loss)


def measure(arguments: argparse.Namespace) -> None:
    """All cells: compiled beside one another, then timed alone, the cheapest first."""
    config = PRESETS[arguments.preset]
    rows_of = np.random.default_rng(0).integers(3, config.vocab_size, (arguments.rows, max(arguments.contexts) + 1))
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 64e9)
    cells = [(kind, N, depth) for N in arguments.contexts for depth in arguments.depths for kind in KINDS]
    cells.sort(key=lambda cell: cell[1] * cell[2])

    def compiled(kind: str, N: int, depth: int) -> Any:
        make = functools.partial(fresh, config, kind, depth, arguments.rows, N, arguments.latents)
        rows = jax.ShapeDtypeStruct((arguments.rows, N + 1), jnp.int32)
        return make_step(config, kind, arguments.latents).lower(jax.eval_shape(make), rows).compile(), make

    deadline = time.perf_counter() + arguments.patience
    pool = concurrent.futures.ThreadPoolExecutor(arguments.threads)
    made = {cell: pool.submit(compiled, *cell) for cell in cells}
    concurrent.futures.wait(made.values(), timeout=arguments.patience * 0.7)
    for (kind, N, depth), future in made.items():
        told: dict[str, Any] = {"kind": kind, "context": N, "depth": depth, "rows": arguments.rows}
        told |= {"latents": arguments.latents, "device": jax.devices()[0].device_kind, "jax": jax.__version__}
        try:
            program, make = future.result(timeout=max(0.0, deadline - time.perf_counter()))
            memory = program.memory_analysis()
            needed = memory.temp_size_in_bytes + memory.argument_size_in_bytes
            told["gigabytes"] = float(f"{needed / 1e9:.4g}")
            if needed > limit:
                told["out_of_memory"] = True
            elif time.perf_counter() < deadline:
                state = jax.jit(make)()
                told["parameters"] = sum(x.size for x in jax.tree.leaves(state.params))
                seconds, loss = timed(program, state, jnp.asarray(rows_of[:, : N + 1], jnp.int32), arguments.seconds)
                told |= {"steps_per_second": round(1 / seconds, 3), "loss": round(loss, 3)}
                told["targets_per_second"] = round(
                    arguments.rows * (N if kind == "plain" else arguments.latents) / seconds
                )
            else:
                told["no_time"] = True
        except Exception as error:
            what = f"{error!r}"
            told["out_of_memory" if "RESOURCE_EXHAUSTED" in what or "Out of memory" in what else "failed"] = what[:300]
        with arguments.out.open("a") as file:
            file.write(json.dumps(told) + "\n")
        print(json.dumps(told), flush=True)
    pool.shutdown(wait=False, cancel_futures=True)


def report(cells: list[dict[str, Any]], picture: Path) -> str:
    """The cells as a table in Markdown, and as a picture where there is matplotlib."""
    at = {(cell["context"], cell["depth"], cell["kind"]): cell for cell in cells}
    contexts, depths = (sorted({cell[name] for cell in cells}) for name in ("context", "depth"))

    def told(cell: dict[str, Any] | None) -> str:
        if cell is None or "gigabytes" not in cell:
            return ""
        speed = f"{cell['steps_per_second']:.3g}" if "steps_per_second" in cell else "not timed"
        return f"{'out of memory' if 'out_of_memory' in cell else speed} ({cell['gigabytes']:.3g} GB)"

    lines = [f"| context | blocks | {' | '.join(KINDS)} |", "| ---" * (2 + len(KINDS)) + " |"]
    for N in contexts:
        for depth in depths:
            lines.append(f"| {N:,} | {depth} | {' | '.join(told(at.get((N, depth, kind))) for kind in KINDS)} |")
    try:
        draw(at, contexts, depths, picture)
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed here")
    return "\n".join(lines) + "\n"


def draw(at: dict[tuple[int, int, str], dict[str, Any]], contexts: list[int], depths: list[int], picture: Path) -> None:
    """Steps a second above, memory below, by context, a column for each depth; a cross: out of memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * len(depths), 5.4), layout="constrained")
    panels = figure.subplots(2, len(depths), sharex=True, sharey="row", squeeze=False)
    rows = {"steps_per_second": "training steps a second", "gigabytes": "memory of a step, GB"}
    for row, (name, title) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(title)
        for axes, depth in zip(row, depths, strict=True):
            for kind in KINDS:
                line = [at.get((N, depth, kind), {}) for N in contexts]
                values = [cell.get(name, np.nan) for cell in line]
                (drawn,) = axes.plot(contexts, values, "o-", markersize=4, label=kind)
                if name == "gigabytes":
                    beyond = [
                        value if "out_of_memory" in cell else np.nan for cell, value in zip(line, values, strict=True)
                    ]
                    axes.plot(contexts, beyond, "x", markersize=11, color=drawn.get_color())
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(contexts, [f"{N // 1024}k" for N in contexts])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.grid(alpha=0.3)
    for axes, depth in zip(panels[0], depths, strict=True):
        axes.set_title(f"{depth} blocks")
    for axes in panels[1]:
        axes.set_xlabel("context N")
    panels[0][0].legend(fontsize=8)
    figure.savefig(picture, dpi=110)


def numbers(text: str) -> list[int]:
    """1,8 -> [1, 8]."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("out", type=Path)
    add("--report", action="store_true")
    add("--preset", default="release", choices=PRESETS, help="whose width, heads and window (%(default)s)")
    add("--contexts", type=numbers, default=[2048, 8192, 32_768, 65_536], metavar="N,N", help="%(default)s")
    add("--depths", type=numbers, default=[6, 24, 60], metavar="L,L", help="%(default)s blocks")
    add("--latents", type=int, default=1024, metavar="M", help="%(default)s")
    add("--rows", type=int, default=4, metavar="B", help="%(default)s")
    add("--seconds", type=float, default=0.6, help="of timing, a cell (%(default)s)")
    add("--threads", type=int, default=12, help="programs compiled at once (%(default)s)")
    add("--patience", type=float, default=150, help="seconds after which no cell is begun (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.report:
        measure(arguments)
    cells = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    print(report(cells, arguments.out.with_suffix(".png")))


if __name__ == "__main__":
    main()
