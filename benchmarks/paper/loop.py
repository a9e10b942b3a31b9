"""The one loop of these benchmarks: train a stack by the clock, go on where a run stopped, score held-out sequences.

The learning rate is constant for the first half of a run and falls to zero by its end, so that runs of unlike speed are
compared when each is done.  A run ends with its time or its steps; time that a program compiles is not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from stacks import Stack

from musicgen.model.config import PAD
from musicgen.model.parameters import Parameters
from musicgen.model.training.optimizer import OptimizerConfig, optimizer
from musicgen.model.training.stop import StopRun
from musicgen.model.training.train import GPU_OPTIONS
from musicgen.model.training.tune import read_state, write_state

SAVE_EVERY = 60.0  # seconds
CHECKED_EVERY = 10  # steps between looks at the clock and the loss
ENDLESS = 10**9


class State(NamedTuple):
    """Where a run stands: steps, seconds of training, what is learnt, and how far a curriculum has come."""

    step: int
    spent: float
    stage: int
    params: Parameters
    moments: Any


class Batch(NamedTuple):
    """inputs i32 [B, N] (Transformer-XL: [B, M]), their places [B, N, tables], targets [B, M]; PAD is not scored.

    first: whether the memory begins anew.
    """

    inputs: np.ndarray
    at: np.ndarray
    targets: np.ndarray
    first: bool = False


Batches = Callable[[int], Batch]  # of a step: the same at every run


def rule_of(compute: str, rate: float) -> optax.GradientTransformation:
    """The product's optimiser at a constant rate; `step_of` scales what it says."""
    config = OptimizerConfig(learning_rate=rate, adam_learning_rate=rate, decay=0.0, warmup_steps=100)
    return optimizer(config, ENDLESS, compute)


@functools.cache
def make_step(stack: Stack, rate: float, rows: int) -> jax.stages.Compiled:
    """Compiled: (params, moments, memory, batch, share, step) -> (params, moments, memory, figures)."""
    rule, root = rule_of(stack.compute, rate), jax.random.key(0, impl="rbg")

    def loss_of(params: Parameters, memory: jax.Array, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        logits, memory = stack.logits(params, batch.inputs, batch.at, memory, key)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        nats = log_z - jnp.take_along_axis(logits, batch.targets[..., None], axis=-1)[..., 0]
        real = batch.targets != PAD
        count = jnp.maximum(real.sum(), 1)
        right = jnp.where(real, logits.argmax(axis=-1) == batch.targets, False).sum() / count
        told = {"nats": jnp.where(real, nats, 0.0).sum() / count, "right": right}
        return told["nats"] + jnp.where(real, 1e-4 * log_z**2, 0.0).sum() / count, (told, memory)

    donated = () if jax.default_backend() == "cpu" else (0, 1, 2)
    options = GPU_OPTIONS if jax.default_backend() == "gpu" else None

    @functools.partial(jax.jit, donate_argnums=donated, compiler_options=options)
    def step_of(
        params: Parameters, moments: Any, memory: jax.Array, batch: Batch, share: jax.Array, step: jax.Array
    ) -> tuple[Parameters, Any, jax.Array, dict[str, jax.Array]]:
        gradient = jax.grad(loss_of, has_aux=True)
        grads, (told, memory) = gradient(params, memory, batch, jax.random.fold_in(root, step))
        updates, moments = rule.update(grads, moments, params)
        return optax.apply_updates(params, jax.tree.map(lambda x: x * share, updates)), moments, memory, told

    params = jax.eval_shape(lambda: stack.initial(0))
    (N, M), tables = stack.sizes, len(stack.places)
    inputs = M if stack.kind == "transformer-xl" else N
    shapes = [(rows, inputs), (rows, inputs, tables), (rows, M)]
    return step_of.lower(
        params,
        jax.eval_shape(rule.init, params),
        jax.eval_shape(lambda: stack.memory(rows)),
        Batch(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes)),
        jax.ShapeDtypeStruct((), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
    ).compile()


def compile_ahead(programs: Iterable[tuple[Stack, int]], rate: float) -> None:
    """Compile steps for stacks with so many rows, all at a time: a compiler uses one core, and a GPU waits for it."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda program: make_step(program[0], rate, program[1]), programs))


def gigabytes(stack: Stack, rows: int, rate: float = 1e-3) -> float:
    """Memory of a compiled step of training, without running it."""
    needed = make_step(stack, rate, rows).memory_analysis()
    return (needed.temp_size_in_bytes + needed.argument_size_in_bytes) / 1e9


def share_of(done: float) -> float:
    """Of the learning rate after such a share of the run."""
    return float(np.clip(2 - 2 * done, 0.0, 1.0))


def begin(stack: Stack, rate: float, path: Path) -> State:
    """The state in a file, or a fresh one if there is none."""

    @jax.jit
    def fresh() -> tuple[Parameters, Any]:
        params = stack.initial(0)
        return params, rule_of(stack.compute, rate).init(params)

    return read_state(path, State(0, 0.0, 0, *fresh()))


def train(
    stack: Stack,
    state: State,
    batches: Batches,
    path: Path,
    *,
    seconds: float,
    rate: float,
    stop: StopRun,
    until: Callable[[dict[str, float]], bool] = lambda told: False,
    steps: int = ENDLESS,
) -> tuple[State, list[dict[str, float]]]:
    """Go on until the run has had its seconds, `until` is content, so many steps are done, or `stop` asks.

    Returns the state, which the file has, too, and a curve: step, seconds, nats and the share of right guesses.
    """
    curve = list[dict[str, float]]()
    params, moments, step, spent = state.params, state.moments, state.step, state.spent
    began = saved = time.monotonic()
    compiled = False
    while spent < seconds and step < steps and not stop.should_stop():
        batch = batches(step)
        if batch.first or not compiled:
            memory, step_of = stack.memory(len(batch.inputs)), make_step(stack, rate, len(batch.inputs))
        share = jnp.float32(share_of(max(spent / seconds, step / steps)))
        batch = batch._replace(first=False)
        params, moments, memory, told = step_of(params, moments, memory, batch, share, jnp.int32(step))
        step += 1
        if compiled and step % CHECKED_EVERY and step < steps:
            continue
        figures = {name: float(x) for name, x in told.items()}
        if not np.isfinite(figures["nats"]):
            raise SystemExit(f"the run has diverged at step {step}")
        now = time.monotonic()
        spent, began, compiled = spent + (now - began if compiled else 0.0), now, True
        curve.append({"step": step, "seconds": round(spent, 2), **figures})
        if until(figures):
            break
        if now - saved > SAVE_EVERY:
            write_state(path, State(step, spent, state.stage, params, moments))
            saved = began = time.monotonic()
    state = State(step, spent, state.stage, params, moments)
    write_state(path, state)
    return state, curve


@functools.cache
def make_scores(stack: Stack) -> Callable[..., Any]:
    """Compiled: (params, inputs, at, targets, memory) -> nats [B, M], right [B, M], memory."""

    @jax.jit
    def scores(params: Mapping[str, jax.Array], batch: Batch, memory: jax.Array) -> tuple[jax.Array, ...]:
        logits, memory = stack.logits(params, batch.inputs, batch.at, memory)
        of_target = jnp.take_along_axis(logits, batch.targets[..., None], axis=-1)[..., 0]
        nats = jax.nn.logsumexp(logits, axis=-1) - of_target
        return nats, logits.argmax(axis=-1) == batch.targets, memory

    return scores


def score(
    stack: Stack, params: Parameters, batches: Iterable[Batch], stop: StopRun | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each batch what is a target, bool [B, M], its nats and whether the likeliest was right; in order."""
    scores, memory = make_scores(stack), jnp.zeros(0)
    for number, batch in enumerate(batches):
        if stop is not None and stop.should_stop():
            return
        if number == 0 or batch.first:
            memory = stack.memory(len(batch.inputs))
        nats, right, memory = scores(params, batch._replace(first=False), memory)
        yield batch.targets != PAD, np.asarray(nats), np.asarray(right)


def windows_at(tokens: np.ndarray, ends: np.ndarray, stack: Stack, scored: int | None = None) -> Batch:
    """Windows that end before tokens[row, ends[row]], of tokens i32 [B, T]: what comes before a sequence is PAD.

    scored: how many of the last targets count; all unless given.  Places are left to the caller: `at` is each input's
    index in its sequence, -1 before it, [B, N, 1].
    """
    N, M = stack.sizes
    at = ends[:, None] - N + np.arange(N + 1)
    rows = np.where(at >= 0, np.take_along_axis(tokens, at.clip(0), axis=1), PAD)
    targets = rows[:, N + 1 - M :].copy()
    if scored is not None:
        targets[:, : M - scored] = PAD
    first = N - M if stack.kind == "transformer-xl" else 0
    return Batch(rows[:, first:N].astype(np.int32), at[:, first:N, None], targets.astype(np.int32))


def parser_of(doc: str | None, seconds: float) -> argparse.ArgumentParser:
    """The flags that all of these programs have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder: result.json, a picture, and the states of runs")
    parser.add_argument("--seconds", type=float, default=seconds, help="of training, each run (%(default)s)")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which the program leaves")
    parser.add_argument("--toy", action="store_true", help="everything once, at a size for a CPU")
    return parser


def draw_where_possible(draw: Callable[..., None], *given: Any) -> None:
    """A result needs no picture, and a GPU's machine may have no matplotlib."""
    try:
        draw(*given)
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed here")


def record(out: Path, program: str, line: dict[str, Any]) -> None:
    """Add a result, with what it was measured on, to the folder's result.jsonl, which the programs may share."""
    line = {"program": program, **line, "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    with (out / "result.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({name: x for name, x in line.items() if not isinstance(x, list)}), flush=True)


def results(out: Path, program: str) -> list[dict[str, Any]]:
    """All of a program in a folder, the last of each name."""
    path = out / "result.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({line["name"]: line for line in lines if line["program"] == program}.values())


def compute() -> str:
    """The type to multiply in."""
    return "bfloat16" if jax.default_backend() == "gpu" else "float32"


def resized(stack: Stack, N: int, M: int, **changes: Any) -> Stack:
    """The same parameters over other lengths, and as another kind."""
    return dataclasses.replace(stack.resized(N, M), **changes)
