"""Training Perceiver AR on rows of integers: one loop, read from top to bottom in `train`.

Rows [B, N+1] come from an iterator (Grain's, whose state is saved beside the parameters), several steps run in one
call, compute is bfloat16 with float32 masters, and a run that was stopped goes on bit for bit from its last
checkpoint (on a GPU if it is `deterministic`; else with the same rows and dropout, equal but for the last bits).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from musicgen.model import int4, parameters
from musicgen.model.parameters import Parameters
from musicgen.model.sharding import bring, make_mesh, of_part, of_rows, share_out
from musicgen.model.stop import AT_ONCE, Left
from musicgen.model.training.checkpointing import Checkpoints, refuse_another_run, write_settings
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import contexts_of, loss_of
from musicgen.model.training.metrics import COMPILING, Metrics, Show, print_figures
from musicgen.model.training.optimizer import optimizer
from musicgen.model.training.pace import Pace
from musicgen.model.training.saving import Saving
from musicgen.model.training.stop import StopRun

SAMPLED_WITHIN = 0.2  # share of a run over which `sampled_rate` is reached


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Parameters
    opt_state: optax.OptState


class Average(NamedTuple):
    """The weights of the last steps, averaged: how many steps there were, and the mean f32 by name."""

    steps: jax.Array
    params: Parameters


class Batches(Protocol):
    """A Grain iterator: rows, and a state that can be saved."""

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> Any: ...

    def set_state(self, state: Any) -> None: ...


# All products by cuBLAS, which applies the GELU at the end of its own: a step of the release preset takes 43.2 ms on an
# H200, and 45.5 where XLA's own kernels are tried first (benchmarks/training).
GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}


@functools.cache
def make_train_steps(config: TrainConfig) -> Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """The compiled function (state, rows [k, B, N+1]) -> (state after k steps, metrics of each step [k])."""
    contexts = contexts_of(config)
    if config.sampled_rate and not config.model.depth_layers:
        raise ValueError("only a model of frames can be trained by scheduled sampling")
    update = update_rule(config)
    mesh = make_mesh(config.model_axis)
    root = jax.random.key(config.seed, impl="rbg")  # rbg: dropout masks cost next to nothing on a GPU or TPU

    here = bring(mesh, jnp.dtype(config.compute)) if config.model_axis > 1 else dict

    def loss(params: Parameters, tokens: jax.Array, key: jax.Array, rate: jax.Array | None) -> Any:
        return loss_of(here(params), tokens, key, config, contexts, rate)

    def one_step(state: TrainState, tokens: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(root, state.step)
        ramp = jnp.clip((state.step / config.steps - config.sampled_from) / SAMPLED_WITHIN, 0.0, 1.0)
        sampled_rate = config.sampled_rate * ramp if config.sampled_rate else None
        at = state.params
        if config.four_bits_from < 1:  # straight through: the gradient at the rounded kernels is that of the kernels
            rounded, four = in_four_bits(config, state.step), int4.fake_quantize(state.params)
            at = {name: jnp.where(rounded, four[name], x) for name, x in state.params.items()}
        grads, metrics = jax.grad(loss, has_aux=True)(at, tokens.astype(jnp.int32), key, sampled_rate)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        updates, opt_state = update.update(grads, state.opt_state, state.params)
        after = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        if config.model_axis > 1:
            after = jax.lax.with_sharding_constraint(after, layout_of(after, mesh))
        return after, metrics

    options = GPU_OPTIONS if jax.default_backend() == "gpu" else None

    donated = () if jax.default_backend() == "cpu" else (0,)  # on a CPU the state of before can still be saved

    @functools.partial(jax.jit, donate_argnums=donated, compiler_options=options)
    def train_steps(state: TrainState, rows: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        return jax.lax.scan(one_step, state, rows)

    return train_steps


def in_four_bits(config: TrainConfig, step: jax.Array | int) -> jax.Array | bool:
    """Whether the run trains what four bits hold at this step."""
    return step >= int(config.four_bits_from * config.steps)


def update_rule(config: TrainConfig) -> optax.GradientTransformation:
    """The optimiser, and behind it the average of what it leads to, if there is one."""
    lay = share_out(make_mesh(config.model_axis)) if config.model_axis > 1 else None
    rule = optimizer(config.optimizer, config.steps, config.compute, lay)
    return optax.chain(rule, average(config)) if config.averaged else rule


def average(config: TrainConfig) -> optax.GradientTransformation:
    """Changes nothing; its state is the average of the weights, which begins anew where they are rounded."""
    again = int(config.four_bits_from * config.steps)

    def init(params: Parameters) -> Average:
        return Average(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Parameters, state: Average, params: Parameters | None = None) -> tuple[Parameters, Average]:
        assert params is not None
        age = state.steps - jnp.where(state.steps >= again, again, 0)
        share = jnp.maximum(1 / config.averaged, 1 / (1 + age))
        mean = {name: x + share * (params[name] + updates[name] - x) for name, x in state.params.items()}
        return updates, Average(state.steps + 1, mean)

    return optax.GradientTransformation(init, update)


def left_by(config: TrainConfig, state: TrainState, step: int) -> Parameters:
    """The weights that a run leaves after so many steps: averaged and in four bits, where it trains such."""
    params = state.opt_state[1].params if config.averaged else state.params
    return int4.fake_quantize(params) if config.four_bits_from < 1 and in_four_bits(config, step) else params


def init_state(config: TrainConfig, mesh: Mesh, start: Mapping[str, np.ndarray] | None = None) -> TrainState:
    """Step 0, laid out over the mesh.

    start: float32 parameters by name to begin with, instead of drawn ones.
    """

    def make(start: Mapping[str, jax.Array] | None) -> TrainState:
        params = parameters.initial(config.model, config.seed) if start is None else dict(start)
        return TrainState(jnp.zeros((), jnp.int32), params, update_rule(config).init(params))

    return jax.jit(make, out_shardings=layout_of(jax.eval_shape(make, start), mesh))(start)


def layout_of(state: TrainState, mesh: Mesh) -> TrainState:
    """Where each array of a state lies."""
    return jax.tree.map(lambda x: of_part(mesh, x.shape), state)


def rows_on_devices(batches: Batches, k: int, mesh: Mesh) -> jax.Array:
    """The next k batches as one array [k, B, N+1], each process bringing its own rows of B."""
    rows = np.stack([next(batches)["tokens"] for _ in range(k)])
    return jax.make_array_from_process_local_data(of_rows(mesh), rows)


def train(
    config: TrainConfig,
    batches: Batches,
    folder: Path,
    *,
    start: Mapping[str, np.ndarray] | None = None,
    at_checkpoint: Callable[[int, Parameters], dict[str, float]] = lambda step, params: {},
    at_stop: Callable[[int, Parameters], None] = lambda step, params: None,
    released: Callable[[int], bool] = lambda step: True,
    show: Show = print_figures,
    stop: StopRun | None = None,
) -> TrainState:
    """Train to config.steps, or until `stop` says so (None: SIGTERM or Ctrl-C), going on from `folder`'s newest
    checkpoint, or from parameters `start` (see `init_state`) if there is none.

    `at_checkpoint` may validate (its figures join the metrics) and write samples; `at_stop` comes in its place when
    somebody waits for the end; `released` says whether it has done all for a step that an earlier run has saved.  On a
    CPU a step may take minutes: what a signal interrupts is left undone.  Raises ValueError if the batch is not whole
    groups, the folder's checkpoints are of another model or the loss is no number any more; Left if there is a signal
    before there is anything.
    """
    train_steps = make_train_steps(config)
    refuse_another_run(folder, "model", config.model)
    mesh = make_mesh(config.model_axis)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        closing(Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)) as checkpoints,
        closing(Metrics(folder, show)) as metrics,
        StopRun() if stop is None else stop as stop,
    ):
        state, reader = stop.wait_for(lambda: checkpoints.restore(init_state(config, mesh, start)), patience=AT_ONCE)
        if reader is not None:
            batches.set_state(reader)
        if jax.process_index() == 0:
            write_settings(folder, config)
        run = Saving(checkpoints, metrics, stop, int(state.step), reader)

        def dispatch(state: TrainState, rows: jax.Array) -> tuple[TrainState, jax.Array | None, dict[str, float]]:
            """The steps of these rows: the state after them, the next rows, and figures."""
            step = run.step + rows.shape[0]
            state, figures = train_steps(state, rows)
            rows_ahead = read(step)  # while the device works
            return state, rows_ahead, {name: float(np.mean(x)) for name, x in jax.device_get(figures).items()}

        def read(step: int) -> jax.Array | None:
            count = min(config.steps_per_dispatch, config.steps - step)
            return rows_on_devices(batches, count, mesh) if count > 0 else None

        rows, leave, pace = read(run.step), False, Pace(metrics)
        if rows is None and not released(run.step):
            run.finish(at_checkpoint, left_by(config, state, run.step))
        elif rows is not None:
            show(COMPILING, {})
        while rows is not None and not leave:
            ahead, began, k = batches.get_state(), time.monotonic(), rows.shape[0]  # ahead: after exactly these rows
            try:
                state, rows, values = run.dispatch(dispatch, state, rows)
            except Left:
                break
            seconds = time.monotonic() - began
            run.advance(k, ahead, values, k / seconds)
            pace.meet(seconds)
            leave = stop.should_stop() or rows is None
            if leave or run.step // config.checkpoint_every > (run.step - k) // config.checkpoint_every:
                run.save(state)
                leave = (
                    not run.finish(at_stop if stop.signalled else at_checkpoint, left_by(config, state, run.step))
                    or leave
                )
        if run.step > run.saved:
            run.save(state)
            run.finish(at_stop, left_by(config, state, run.step))
    return state._replace(step=jnp.int32(run.step))
