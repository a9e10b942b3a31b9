"""Training Perceiver AR on rows of integers: one loop, read from top to bottom in `train`.

Rows [B, N+1] come from an iterator (Grain's, whose state is saved beside the parameters), several steps run in one
call, compute is bfloat16 with float32 masters, and a run that was stopped goes on bit for bit from its last
checkpoint (on a GPU if it is `deterministic`; else with the same rows and dropout, equal but for the last bits).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from musicgen.model import parameters
from musicgen.model.config import BOS, PAD, ModelConfig
from musicgen.model.frames import FrameCodes
from musicgen.model.parameters import Parameters
from musicgen.model.perceiver_ar import Drop, no_drop
from musicgen.model.sharding import Rules, make_mesh
from musicgen.model.training.checkpointing import Checkpoints
from musicgen.model.training.metrics import Metrics
from musicgen.model.training.multi_context import MultiContext, all_contexts, all_settings, one_setting
from musicgen.model.training.optimizer import OptimizerConfig, optimizer

SAMPLED_WITHIN = 0.2  # share of a run over which `sampled_rate` is reached


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole training run.  `batch` counts rows over all devices."""

    model: ModelConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = 7_000
    batch: int = 16
    steps_per_dispatch: int = 10
    dropout: float = 0.15  # of what each block adds to the residual stream
    cross_keep: float = 0.5  # share of the inputs before the latents that cross-attend dropout leaves
    token_dropout: float = 0.0  # share of the inputs whose embedding is hidden
    sampled_rate: float = 0.0  # most of a row's frames that the model samples itself (`scheduled_sampling`; of codes)
    sampled_from: float = 0.4  # share of the run before which there are none: a beginner's samples teach nothing
    sampled_passes: int = 2  # times that a step samples
    z_loss: float = 1e-4
    seed: int = 0
    all_settings: bool = True  # train every dial setting (multi_context.py), or only N and M of the config
    compute: str = "bfloat16"
    deterministic: bool = False  # on a GPU, too, the same bits at every run; slower (model/attention.py)
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    model_axis: int = 1  # devices to one copy of the parameters


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Parameters
    opt_state: optax.OptState


class Batches(Protocol):
    """A Grain iterator: rows, and a state that can be saved."""

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> Any: ...

    def set_state(self, state: Any) -> None: ...


def contexts_of(config: TrainConfig) -> MultiContext:
    """How a batch of this run is sliced.  Raises ValueError if the batch is not whole groups."""
    N, M = config.model.context, config.model.latents
    every = all_settings if config.model.channels == 1 else all_contexts
    slices = every(N, M) if config.all_settings else one_setting(N, M)
    contexts = MultiContext(slices, N, M, fused=not config.deterministic)
    if config.batch % contexts.rows:
        raise ValueError(f"batch must be a multiple of {contexts.rows}, not {config.batch}")
    return contexts


def pad_vocabulary(config: ModelConfig, params: Mapping[str, jax.Array]) -> tuple[ModelConfig, Mapping[str, jax.Array]]:
    """The model with tokens that never come, up to a multiple of 64.

    A GPU's matrix products want sides of whole tiles: with a vocabulary of 391 the two tables took 2 % of a step more.
    """
    extra = -config.vocab_size % 64
    if config.channels > 1:  # made of rounder tables
        return config, params
    tables = {
        "embedding": jnp.pad(params["embedding"], [(0, extra), (0, 0)]),
        "logits.kernel": jnp.pad(params["logits.kernel"], [(0, 0), (0, extra)]),
    }
    return dataclasses.replace(config, vocab_size=config.vocab_size + extra), {**params, **tables}


def scheduled_sampling(
    think: Callable[[jax.Array], jax.Array],
    model: FrameCodes,
    inputs: jax.Array,
    positions: jax.Array,
    rate: jax.Array,
    passes: int,
    key: jax.Array,
) -> jax.Array:
    """Frames inputs i32 [B, N, Q], some of those that follow latents replaced by what the model samples there.

    A model that has only heard recordings takes its own samples for something else, and what it writes runs away from
    music within seconds (benchmarks/codes); here it meets them, and has to go on as the recording does (Bengio et al.,
    2015).  think(inputs): the latents [B, M, D] at positions i32 [B, M].  rate: the most of a row's frames; each row
    has its own, from 0 up.  Sampled in so many `passes`, so that there are samples that follow samples.
    """
    B, M = positions.shape
    rows, following = jnp.arange(B)[:, None], positions + 1  # beyond the end: no input, and dropped
    real = inputs.at[rows, following].get(mode="fill", fill_value=PAD)
    row_key, *pass_keys = jax.random.split(key, 1 + 2 * passes)
    row_rate = rate * jax.random.uniform(row_key, (B, 1))
    mixed = inputs
    for draw_key, place_key in zip(pass_keys[::2], pass_keys[1::2], strict=True):
        x = jax.lax.stop_gradient(think(mixed))

        def choose(q: jax.Array, logits: jax.Array, draw_key: jax.Array = draw_key) -> jax.Array:
            return jax.random.categorical(jax.random.fold_in(draw_key, q), logits).astype(jnp.int32)

        sampled = model.draw(x.reshape(B * M, -1), choose).reshape(real.shape)
        chosen = (jax.random.uniform(place_key, (B, M)) < row_rate)[..., None] & (real > BOS)
        mixed = inputs.at[rows, following].set(jnp.where(chosen, sampled, real), mode="drop")
    return mixed


def loss_of(
    params: Parameters,
    tokens: jax.Array,
    key: jax.Array,
    config: TrainConfig,
    contexts: MultiContext,
    sampled_rate: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean loss over the targets of rows tokens i32 [B, N+1], or of frames [B, N+1, Q].

    Also nats/token of all and of those at the full setting.  sampled_rate: of `scheduled_sampling`.
    """
    dtype = jnp.dtype(config.compute)
    tiles, arrays = pad_vocabulary(config.model, {name: x.astype(dtype) for name, x in params.items()})
    model = parameters.bind(tiles, arrays)
    residual_key, cross_key, token_key = jax.random.split(key, 3)
    drop = Dropout(config.dropout, residual_key)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    positions = contexts.positions(tokens.shape[0] // contexts.rows)
    if config.token_dropout:
        hidden = jax.random.bernoulli(token_key, config.token_dropout, inputs.shape)
        inputs = jnp.where(hidden, PAD, inputs)
    everywhere = jnp.arange(inputs.shape[1])[None]

    def think(inputs: jax.Array, drop: Drop) -> jax.Array:
        h = model.encode(inputs, everywhere, contexts.local_attend(config.model.local_window), dtype=dtype, drop=drop)
        x = jnp.take_along_axis(h, positions[..., None], axis=1)
        cross = contexts.cross_attend(config.cross_keep, cross_key)
        return model.process(x, positions, h, everywhere, cross, contexts.self_attend, drop)

    if sampled_rate is not None and isinstance(model, FrameCodes):
        sample = functools.partial(
            scheduled_sampling,
            functools.partial(think, drop=no_drop),
            model,
            positions=positions,
            rate=sampled_rate,
            passes=config.sampled_passes,
            key=jax.random.fold_in(token_key, 1),
        )
        inputs = jax.lax.cond(sampled_rate > 0, sample, lambda inputs: inputs, inputs)
    targets = jnp.take_along_axis(targets, positions.reshape(*positions.shape, *[1] * (targets.ndim - 2)), axis=1)
    x = think(inputs, drop)
    logits = model.decode(x, targets, drop)
    logits = logits[..., : logits.shape[-1] - (tiles.vocab_size - config.model.vocab_size)]
    log_z = jax.nn.logsumexp(logits, axis=-1)
    nats = log_z - jnp.take_along_axis(logits, config.model.logit_of(targets)[..., None], axis=-1)[..., 0]
    real = targets > BOS  # neither padding nor the beginning of a piece is anything to predict
    count = jnp.maximum(real.sum(), 1)
    loss = jnp.sum(jnp.where(real, nats + config.z_loss * jnp.square(log_z), 0.0)) / count
    full = real & jnp.tile(contexts.full, tokens.shape[0] // contexts.rows).reshape(-1, *[1] * (real.ndim - 1))
    return loss, {
        "nats": jnp.sum(jnp.where(real, nats, 0.0)) / count,
        "nats_full": jnp.sum(jnp.where(full, nats, 0.0)) / jnp.maximum(full.sum(), 1),
    }


class Dropout:
    """Zero a random `rate` of the values, in 256ths, with a new key at every call.

    A byte of randomness each: with 32 bits, drawing and moving them took 4 % of a training step.
    """

    def __init__(self, rate: float, key: jax.Array):
        self.rate, self.key, self.calls = rate, key, 0

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.rate == 0:
            return x
        self.calls += 1
        words = (*x.shape[:-1], -(-x.shape[-1] // 4))
        bits = jax.random.bits(jax.random.fold_in(self.key, self.calls), words, jnp.uint32)
        drawn = jax.lax.bitcast_convert_type(bits, jnp.uint8).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]
        kept = round(256 * (1 - self.rate))
        return jnp.where(drawn < kept, x * (256 / kept), 0).astype(x.dtype)


# All products by cuBLAS, which applies the GELU at the end of its own: a step of the release preset takes 43.2 ms on an
# H200, and 45.5 where XLA's own kernels are tried first (benchmarks/training).
GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}


def make_train_steps(config: TrainConfig) -> Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """The compiled function (state, rows [k, B, N+1]) -> (state after k steps, metrics of each step [k])."""
    contexts = contexts_of(config)
    if config.sampled_rate and not config.model.depth_layers:
        raise ValueError("only a model of frames can be trained by scheduled sampling")
    update = optimizer(config.optimizer, config.steps, config.compute)
    root = jax.random.key(config.seed, impl="rbg")  # rbg: dropout masks cost next to nothing on a GPU or TPU

    def one_step(state: TrainState, tokens: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(root, state.step)
        gradient = jax.grad(loss_of, has_aux=True)
        ramp = jnp.clip((state.step / config.steps - config.sampled_from) / SAMPLED_WITHIN, 0.0, 1.0)
        sampled_rate = config.sampled_rate * ramp if config.sampled_rate else None
        grads, metrics = gradient(state.params, tokens.astype(jnp.int32), key, config, contexts, sampled_rate)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        updates, opt_state = update.update(grads, state.opt_state, state.params)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state), metrics

    options = GPU_OPTIONS if jax.default_backend() == "gpu" else None

    @functools.partial(jax.jit, donate_argnums=0, compiler_options=options)
    def train_steps(state: TrainState, rows: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        return jax.lax.scan(one_step, state, rows)

    return train_steps


def fresh_state(
    config: TrainConfig, mesh: Mesh, rules: Rules, start: Mapping[str, np.ndarray] | None = None
) -> TrainState:
    """Step 0, laid out over the mesh: parameters by the rules, the rest on every device.

    start: float32 parameters by name to begin with, instead of drawn ones.
    """

    def make(start: Mapping[str, jax.Array] | None) -> TrainState:
        params = parameters.initial(config.model, config.seed) if start is None else dict(start)
        return TrainState(
            jnp.zeros((), jnp.int32), params, optimizer(config.optimizer, config.steps, config.compute).init(params)
        )

    everywhere = NamedSharding(mesh, PartitionSpec())
    layout = jax.tree.map(lambda _: everywhere, jax.eval_shape(make, start))
    layout = layout._replace(params=parameters.shardings(config.model, mesh, rules))
    return jax.jit(make, out_shardings=layout)(start)


def rows_on_devices(batches: Batches, k: int, mesh: Mesh, rules: Rules) -> jax.Array:
    """The next k batches as one array [k, B, N+1], each process bringing its own rows of B."""
    rows = np.stack([next(batches)["tokens"] for _ in range(k)])
    return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec(None, rules.B)), rows)


def refuse_another_model(folder: Path, model: ModelConfig) -> None:
    """Raise ValueError if the checkpoints in a run's folder are of a model of another shape."""
    settings = folder / "config.json"
    if not settings.is_file() or next((folder / "checkpoints").glob("[0-9]*"), None) is None:
        return
    theirs, ours = ModelConfig.from_dict(json.loads(settings.read_text())["model"]).to_dict(), model.to_dict()
    differ = [f"{name} {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if differ:
        raise ValueError(f"{folder} holds a run of another model ({', '.join(differ)}): choose another folder")


class Stop:
    """Whether to save and leave: after SIGTERM, Ctrl-C or so many seconds.  All processes of a run leave together.

    A context: at its end the signals mean again what they meant before.
    """

    def __init__(self, after: float) -> None:
        self.deadline, self.signalled = time.monotonic() + after, False

    def __enter__(self) -> Stop:
        self.before = {name: signal.signal(name, self._note) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)

    def _note(self, *_: object) -> None:
        self.signalled = True

    def asked(self) -> bool:
        """True on every process as soon as the first process has a reason."""
        here = self.signalled or time.monotonic() > self.deadline
        return bool(broadcast_one_to_all(np.int32(here))) if jax.process_count() > 1 else here


def train(
    config: TrainConfig,
    batches: Batches,
    folder: Path,
    *,
    rules: Rules = Rules(),
    start: Mapping[str, np.ndarray] | None = None,
    at_checkpoint: Callable[[int, Parameters], dict[str, float]] = lambda step, params: {},
    stop_after: float = float("inf"),
) -> TrainState:
    """Train to config.steps, or until SIGTERM or `stop_after` seconds, going on from `folder`'s newest checkpoint, or
    from parameters `start` (see `fresh_state`) if there is none.

    `at_checkpoint` may validate (its figures join the metrics) and write samples.  Raises ValueError if the batch is
    not whole groups or the folder's checkpoints are of another model.
    """
    train_steps = make_train_steps(config)
    refuse_another_model(folder, config.model)
    mesh = make_mesh(config.model_axis)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        closing(Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)) as checkpoints,
        closing(Metrics(folder)) as metrics,
        Stop(stop_after) as stop,
    ):
        state, reader = checkpoints.restore(fresh_state(config, mesh, rules, start))
        if reader is not None:
            batches.set_state(reader)
        if jax.process_index() == 0:
            (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        step, leave = int(state.step), False

        def read() -> jax.Array:
            return rows_on_devices(batches, min(config.steps_per_dispatch, config.steps - step), mesh, rules)

        rows = read() if step < config.steps else None
        while rows is not None and not leave:
            reader = batches.get_state()  # after exactly the rows of the steps up to the end of this dispatch
            dispatched = time.monotonic()
            state, figures = train_steps(state, rows)
            k, step = rows.shape[0], step + rows.shape[0]
            rows = read() if step < config.steps else None  # while the device works
            values = {name: float(np.mean(value)) for name, value in jax.device_get(figures).items()}
            metrics.write(step, **values, steps_per_second=k / (time.monotonic() - dispatched))
            leave = stop.asked() or rows is None
            if leave or step // config.checkpoint_every > (step - k) // config.checkpoint_every:
                checkpoints.save(step, state, reader)  # first: who sent SIGTERM may not wait for long
                metrics.write(step, **at_checkpoint(step, state.params))
    return state
