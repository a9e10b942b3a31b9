"""Training the codec: generator and discriminators in turn, one loop, read from top to bottom in `train_codec`.

Waves [B, T] come from an iterator whose state is saved beside the parameters; several steps run in one call, compute is
bfloat16 with float32 masters, and a run that was stopped goes on bit for bit from its last checkpoint.  For the first
part of a run, `adversarial_from` of it, there are no discriminators: spectra alone teach the codec most of what it will
know, at a fraction of the cost.  How much of a run is over, its `progress`, decides on the learning rates too.  A run
has so many steps, or so many seconds of a machine that is lent; in the second case the clock says how far it is.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from musicgen.model import parameters
from musicgen.model.codec import weight_norm
from musicgen.model.codec.discriminators import Discriminators
from musicgen.model.codec.quantizer import kmeans_init
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.step import CODEBOOKS, CodecState, CodecTrainConfig, bind_codec, codec_step, optimizer
from musicgen.model.parameters import Parameters
from musicgen.model.stop import AT_ONCE, COMPUTING, Left
from musicgen.model.training.checkpointing import Checkpoints, refuse_another_run, write_settings
from musicgen.model.training.metrics import COMPILING, Metrics, Show, print_figures
from musicgen.model.training.saving import Saving
from musicgen.model.training.stop import StopRun
from musicgen.model.training.train import Batches

CodecSteps = Callable[[CodecState, jax.Array, jax.Array], tuple[CodecState, dict[str, jax.Array]]]


@functools.cache
def make_codec_steps(config: CodecTrainConfig, adversarial: bool) -> jax.stages.Wrapped:
    """The function (state, waves [k, B, T], progress 0..1) -> (state after k steps, metrics of each step [k])."""
    root = jax.random.key(config.seed)

    donated = () if jax.default_backend() == "cpu" else (0,)  # on a CPU the state of before can still be saved

    @functools.partial(jax.jit, donate_argnums=donated)
    def codec_steps(
        state: CodecState, waves: jax.Array, progress: jax.Array
    ) -> tuple[CodecState, dict[str, jax.Array]]:
        def one_step(state: CodecState, wave: jax.Array) -> tuple[CodecState, dict[str, jax.Array]]:
            key = jax.random.fold_in(root, state.step)
            return codec_step(state, wave.astype(jnp.float32), progress, key, config, adversarial)

        return jax.lax.scan(one_step, state, waves)

    return codec_steps


@functools.cache
def compile_codec_steps(config: CodecTrainConfig, adversarial: bool) -> CodecSteps:
    """The same for whole dispatches on all devices, compiled: minutes on a GPU, seconds from a persistent cache."""
    mesh = devices()
    everywhere = NamedSharding(mesh, PartitionSpec())

    def laid_out(x: jax.ShapeDtypeStruct, sharding: NamedSharding = everywhere) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    state = jax.tree.map(laid_out, jax.eval_shape(lambda: init_codec_state(config)))
    waves = jax.ShapeDtypeStruct((config.steps_per_dispatch, config.batch, config.samples), jnp.float32)
    rows = NamedSharding(mesh, PartitionSpec(None, "B"))
    progress = laid_out(jax.ShapeDtypeStruct((), jnp.float32))
    return make_codec_steps(config, adversarial).lower(state, laid_out(waves, rows), progress).compile()


def devices() -> Mesh:
    """All of them, each with a part of the rows."""
    return jax.make_mesh((jax.device_count(),), ("B",), axis_types=(AxisType.Auto,))


def init_codec_state(config: CodecTrainConfig) -> CodecState:
    """Step 0."""
    params = weight_norm.unfold(parameters.initial(config.codec, config.seed, SoundStream))
    discriminators = weight_norm.unfold(parameters.initial(config.discriminators, config.seed + 1, Discriminators))
    return CodecState(
        jnp.zeros((), jnp.int32),
        params,
        jax.tree.map(jnp.copy, params),
        optimizer(config.clip).init(params),
        discriminators,
        optimizer(config.discriminator_clip).init(discriminators),
        jnp.ones((config.codec.codebooks, config.codec.codebook_size)),  # as if all had been used alike
    )


@functools.partial(jax.jit, static_argnames="config", donate_argnums=0)
def init_codebooks(state: CodecState, waves: jax.Array, config: CodecTrainConfig) -> CodecState:
    """A fresh state whose codebooks begin where the latents of waves [k, B, T] are."""
    latents = jax.lax.map(lambda wave: bind_codec(state.params, config).latents(wave)[0], waves)
    flat = latents.astype(jnp.float32).reshape(-1, config.codec.width)
    codebooks = kmeans_init(flat, jax.random.key(config.seed), config.codec)
    return state._replace(
        params=state.params | {CODEBOOKS: codebooks}, average=state.average | {CODEBOOKS: codebooks + 0.0}
    )


class Programs:
    """The compiled steps; those with discriminators are compiled beside the training, if it begins without."""

    def __init__(self, config: CodecTrainConfig, adversarial: bool):
        self.config, self.later = config, None
        compile_codec_steps(config, adversarial)
        if not adversarial and config.adversarial_from < 1:
            background = ThreadPoolExecutor(1, COMPUTING)
            self.later = background.submit(compile_codec_steps, config, True)
            background.shutdown(wait=False)

    def of(self, adversarial: bool, steps: int) -> CodecSteps:
        """Those with or without discriminators, for a dispatch of so many steps: the last may have fewer."""
        if steps != self.config.steps_per_dispatch:
            return make_codec_steps(self.config, adversarial)
        if adversarial and self.later is not None:
            return self.later.result()
        return compile_codec_steps(self.config, adversarial)


class Pace:
    """How much of a run is over: by the steps made, or by the clock since the first step."""

    def __init__(self, config: CodecTrainConfig, over: float):
        self.config, self.over, self.began = config, over, time.monotonic()

    def progress(self, step: int) -> float:
        """0..1 before this step."""
        if not self.config.seconds:
            return step / self.config.steps
        return min(1.0, self.over + (time.monotonic() - self.began) / self.config.seconds)


def train_codec(
    config: CodecTrainConfig,
    batches: Batches,
    folder: Path,
    *,
    at_checkpoint: Callable[[int, Parameters, bool], dict[str, float]] = lambda step, params, adversarial: {},
    at_stop: Callable[[int, Parameters, bool], None] = lambda step, params, adversarial: None,
    released: Callable[[int], bool] = lambda step: True,
    show: Show = print_figures,
    stop: StopRun | None = None,
) -> CodecState:
    """Train to the end, or until `stop` says so (None: SIGTERM or Ctrl-C), going on from `folder`'s newest checkpoint.

    `batches` gives {"wave": f32 [B, T]}; `at_checkpoint` gets the averaged parameters as plain kernels and whether
    discriminators had a part in them; it, `at_stop` and `released` are as those of model/training/train.py.  There is
    always a checkpoint before the first step with discriminators.  Raises ValueError if T is not whole frames, the
    checkpoints are of another codec or the loss is no number any more; Left if there is a signal before there is
    anything.
    """
    if config.samples % config.codec.hop:
        raise ValueError("samples must be a multiple of the hop")
    refuse_another_run(folder, "codec", config.codec)
    folder.mkdir(parents=True, exist_ok=True)
    mesh = devices()
    with (
        closing(Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)) as checkpoints,
        closing(Metrics(folder, show)) as metrics,
        StopRun() if stop is None else stop as stop,
    ):
        everywhere = NamedSharding(mesh, PartitionSpec())
        fresh = jax.jit(lambda: init_codec_state(config), out_shardings=everywhere)
        state, saved = stop.wait_for(lambda: checkpoints.restore(fresh()), patience=AT_ONCE)
        adversarial = saved is not None and saved["adversarial"]
        if saved is not None:
            batches.set_state(saved["reader"])
        write_settings(folder, config)
        run = Saving(checkpoints, metrics, stop, int(state.step), None)
        waves, leave = waves_on_devices(batches, config, run.step, mesh), False
        if waves is None and not released(run.step):
            run.finish(at_checkpoint, weight_norm.fold(state.average), adversarial)
        elif waves is not None:
            show(COMPILING, {})
        programs = stop.wait_for(Programs, config, adversarial or config.adversarial_from <= 0, patience=AT_ONCE)
        if saved is None and waves is not None:
            begun = functools.partial(init_codebooks, state, waves, config)
            state = stop.wait_for(lambda: jax.block_until_ready(jax.device_put(begun(), everywhere)), patience=AT_ONCE)
        pace = Pace(config, 0.0 if saved is None else saved["progress"])

        def dispatch(
            state: CodecState, waves: jax.Array, progress: float
        ) -> tuple[CodecState, jax.Array | None, dict[str, float]]:
            """The steps of these waves: the state after them, the next waves, and figures."""
            k = waves.shape[0]
            state, figures = programs.of(adversarial, k)(state, waves, jax.device_put(np.float32(progress), everywhere))
            ahead = waves_on_devices(batches, config, run.step + k, mesh)  # while the device works
            return state, ahead, {name: float(np.mean(x)) for name, x in jax.device_get(figures).items()}

        def save(state: CodecState, finish: Callable[..., dict[str, float] | None]) -> bool:
            about = {"reader": run.reader, "progress": pace.progress(run.step), "adversarial": adversarial}
            run.save(state, about)
            return run.finish(finish, weight_norm.fold(state.average), adversarial)

        while waves is not None and not leave:
            ahead, began, k, progress = batches.get_state(), time.monotonic(), waves.shape[0], pace.progress(run.step)
            if progress >= config.adversarial_from and not adversarial:
                if run.step and not run.finish(at_checkpoint, weight_norm.fold(state.average), False):
                    break  # else that is what spectra alone have taught
                adversarial = True
            try:
                state, waves, values = run.dispatch(dispatch, state, waves, progress)
            except Left:
                break
            run.advance(k, ahead, values | {"progress": progress}, k / (time.monotonic() - began))
            leave = stop.should_stop() or waves is None or pace.progress(run.step) >= 1
            if leave or run.step // config.checkpoint_every > (run.step - k) // config.checkpoint_every:
                leave = not save(state, at_stop if stop else at_checkpoint) or leave
        if run.step > run.saved:
            save(state, at_stop)
    return state._replace(step=jnp.int32(run.step))


def waves_on_devices(batches: Any, config: CodecTrainConfig, step: int, mesh: Mesh) -> jax.Array | None:
    """The waves f32 [k, B, T] of the next dispatch; None after the last step."""
    k = config.steps_per_dispatch
    if not config.seconds:
        k = min(k - step % k, config.steps - step)
    if k <= 0:
        return None
    waves = np.stack([next(batches)["wave"] for _ in range(k)])
    return jax.device_put(waves, NamedSharding(mesh, PartitionSpec(None, "B")))
