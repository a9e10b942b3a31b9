"""Teaching a released model some music: a short run that trains adapters (adapters.py) and keeps the best of them.

The base stays as it is, in float32.  Rows come from a function of the step's number, so that a run that was stopped
goes on from its file of state as if nothing had happened, and the same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen.model.attention import attend, attend_in_chunks
from musicgen.model.config import ModelConfig
from musicgen.model.low_rank import STYLE
from musicgen.model.parameters import Parameters
from musicgen.model.stop import AT_ONCE, Left
from musicgen.model.training.adapters import shrink
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import loss_of
from musicgen.model.training.multi_context import MultiContext, one_setting
from musicgen.model.training.stop import StopRun

SAVE_EVERY = 30.0  # seconds
PATIENCE = 2  # checks in a row without a better one, after which a run ends
SHARES = (0.5, 0.6, 0.75)  # of what was learnt: what a run keeps if that is about as good as all of it
ABOUT, ABOUT_SHARE = 0.005, 0.05  # nats a token, or this share of what it gained if that is more


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """A run in numbers.

    model: of the base, with the context and latents of the rows.  learning_rate: of Adam.  warmup: share of the steps.
    checks: of the held-out rows, spread evenly over the run.  style_token: what a new style is told by, whose embedding
    alone is then trained; None: adapters are, of this rank.
    """

    model: ModelConfig
    steps: int
    rank: int
    learning_rate: float
    warmup: float = 0.1
    checks: int = 8
    style_token: int | None = None

    @property
    def checked_at(self) -> list[int]:
        """The steps after which the held-out rows are scored, the last one among them."""
        return sorted({round(self.steps * i / self.checks) for i in range(1, self.checks + 1)} - {0})


class State(NamedTuple):
    """Where a run stands: steps done; what is trained, and Adam's moments of it; the best so far, the nats a token of
    the held-out rows by then (inf before the first check), and how many checks there were since."""

    step: int
    trained: Parameters
    moments: Any
    best: Parameters
    best_nats: float
    since: int

    @property
    def over(self) -> bool:
        """Whether the held-out rows no longer get better."""
        return self.since >= PATIENCE


def tune(
    config: TuneConfig,
    base: Mapping[str, np.ndarray],
    trained: Mapping[str, np.ndarray],
    rows: Callable[[int], np.ndarray],
    held_out: np.ndarray,
    path: Path,
    *,
    on_step: Callable[[int, float], None] = lambda step, nats: None,
    on_check: Callable[[int, float], None] = lambda step, nats: None,
    stop: StopRun,
) -> State:
    """Train until the steps are done, the held-out rows no longer get better or `stop` says so.

    Args:
        base: float32 parameters by name.  trained: as it begins, from adapters.py.
        rows: the rows of a step, i16 [1, N + 1], a token that is given as ~token (see `loss_of`).
        held_out: i16 [R, N + 1]; without any, R = 0, the last step is the best.
        path: where the state is saved, and taken up again.
        on_step, on_check: told the steps done and the nats a token, of the step's rows and of the held-out ones.

    Raises ValueError if the file is of another run, or the loss is no number; Left for a signal before the first step.
    """
    weights = {name: jnp.asarray(x) for name, x in base.items()}
    del base
    step_of, nats_of = make_functions(config)
    begin = {name: jnp.asarray(x) for name, x in trained.items()}
    fresh = State(0, begin, update_rule(config).init(begin), begin, float("inf"), 0)
    state = read_state(path, fresh)
    if state.step == 0 and len(held_out):  # nothing counts as learnt that is worse than the base
        state, nats = stop.wait_for(check, state, nats_of, weights, held_out, patience=AT_ONCE)
        on_check(0, nats)
    saved = time.monotonic()
    patience = AT_ONCE  # with the first step, which is compiled
    while state.step < config.steps and not state.over:
        if stop.should_stop():
            break
        given = jnp.asarray(rows(state.step), jnp.int32)
        try:
            new, moments, nats = stop.wait_for(
                lambda given=given, state=state: jax.block_until_ready(
                    step_of(state.trained, state.moments, weights, given)
                ),
                patience=patience,
            )
        except Left:
            break
        patience = 5.0
        if not np.isfinite(nats):
            raise ValueError(f"the run has diverged: its loss is no number after step {state.step + 1}")
        state = state._replace(step=state.step + 1, trained=new, moments=moments)
        on_step(state.step, float(nats))
        if state.step in config.checked_at:
            try:
                state, nats = stop.wait_for(check, state, nats_of, weights, held_out)
            except Left:  # it is made again by the run that goes on
                return state
            on_check(state.step, nats)
        if time.monotonic() - saved > SAVE_EVERY or state.step in config.checked_at:
            write_state(path, state)
            saved = time.monotonic()
    write_state(path, state)
    if config.style_token is None and not stop:
        with contextlib.suppress(Left):
            state = stop.wait_for(keep, state, nats_of, weights, held_out)
    return state


def keep(state: State, nats_of: Callable[..., jax.Array], weights: Parameters, held_out: np.ndarray) -> State:
    """The state whose best is brought as near to the base as costs its held-out rows next to nothing.

    What was there before comes back sooner than what was learnt goes (benchmarks/tuning).
    """
    if not len(held_out):
        return state._replace(best=shrink(state.best, SHARES[-1]))
    before = score(shrink(state.best, 0.0), nats_of, weights, held_out)
    enough = state.best_nats + max(ABOUT, ABOUT_SHARE * (before - state.best_nats))
    for share in SHARES:
        nearer = shrink(state.best, share)
        if score(nearer, nats_of, weights, held_out) < enough:
            return state._replace(best=nearer)
    return state


def check(
    state: State, nats_of: Callable[..., jax.Array], weights: Parameters, held_out: np.ndarray
) -> tuple[State, float]:
    """The state after scoring the held-out rows one by one, and their nats a token; nan without any."""
    if not len(held_out):
        return state._replace(best=state.trained), float("nan")
    nats = score(state.trained, nats_of, weights, held_out)
    if nats < state.best_nats:
        return state._replace(best=state.trained, best_nats=nats, since=0), nats
    return state._replace(since=state.since + 1), nats


def score(trained: Parameters, nats_of: Callable[..., jax.Array], weights: Parameters, rows: np.ndarray) -> float:
    """Nats a token of rows, one by one."""
    return float(np.mean([float(nats_of(trained, weights, jnp.asarray(row[None], jnp.int32))) for row in rows]))


def rate_of(config: TuneConfig) -> optax.Schedule:
    """The rate at each step: it rises linearly, stays, and falls to zero over the second half."""
    peak, rise, fall = config.learning_rate, max(1, round(config.warmup * config.steps)), max(1, config.steps // 2)
    up, down = optax.linear_schedule(peak / rise, peak, rise), optax.linear_schedule(peak, 0.05 * peak, fall)
    return optax.join_schedules([up, down], [max(rise, config.steps - fall)])


def update_rule(config: TuneConfig) -> optax.GradientTransformation:
    """Adam, with that rate."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate_of(config), b2=0.99))


@functools.cache
def make_functions(config: TuneConfig) -> tuple[Callable[..., Any], Callable[..., jax.Array]]:
    """Compiled: (trained, moments, base, rows) -> (trained, moments, nats), (trained, base, rows) -> nats."""
    run = TrainConfig(config.model, batch=1, dropout=0.0, cross_keep=1.0, all_settings=False, compute="float32")
    N, M, on_cpu = config.model.context, config.model.latents, jax.default_backend() == "cpu"
    contexts = MultiContext(one_setting(N, M), N, M, attend=attend_in_chunks if on_cpu else attend)
    rule, nothing_drawn = update_rule(config), jax.random.key(0, impl="rbg")

    def loss(trained: Parameters, base: Parameters, rows: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        params, factors = apart(base, trained, config.style_token)
        return loss_of(params, rows, nothing_drawn, run, contexts, factors=factors)

    @jax.jit
    def step_of(
        trained: Parameters, moments: Any, base: Parameters, rows: jax.Array
    ) -> tuple[Parameters, Any, jax.Array]:
        gradients, figures = jax.grad(loss, has_aux=True)(trained, base, rows)
        updates, moments = rule.update(gradients, moments, trained)
        return optax.apply_updates(trained, updates), moments, figures["nats"]

    @jax.jit
    def nats_of(trained: Parameters, base: Parameters, rows: jax.Array) -> jax.Array:
        return loss(trained, base, rows)[1]["nats"]

    return step_of, nats_of


def apart(
    base: Mapping[str, jax.Array], trained: Mapping[str, jax.Array], style_token: int | None
) -> tuple[Parameters, Parameters]:
    """The parameters of the model, with a new style's row among them, and the factors that add to them."""
    if style_token is None:
        return dict(base), dict(trained)
    rows = {name.removesuffix(STYLE): x for name, x in trained.items()}
    return {**base, **{name: base[name].at[style_token].set(x) for name, x in rows.items()}}, {}


def write_state(path: Path, state: State) -> None:
    """Save a run, whole or not at all."""
    leaves = jax.tree.leaves(jax.device_get(state))
    buffer = io.BytesIO()
    np.savez(buffer, *[np.asarray(leaf) for leaf in leaves])
    beside = path.with_name(f"{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_state(path: Path, fresh: State) -> State:
    """The state in a file, laid out like a fresh one, which comes back if there is none that is whole."""
    leaves, layout = jax.tree.flatten(fresh)
    try:
        with np.load(path) as arrays:
            found = [arrays[f"arr_{i}"] for i in range(len(leaves))]
    except Exception:  # whatever NumPy says of a file that is missing, torn or of something else
        return fresh
    if any(np.shape(a) != np.shape(b) for a, b in zip(found, leaves, strict=True)):
        return fresh
    return jax.tree.unflatten(layout, [as_leaf(x, leaf) for x, leaf in zip(found, leaves, strict=True)])


def as_leaf(x: np.ndarray, like: Any) -> Any:
    """A saved array as the number or the array of JAX that it was."""
    return type(like)(x) if isinstance(like, int | float) else jnp.asarray(x)
