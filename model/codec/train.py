"""Training the codec: generator and discriminators in turn, one loop, read from top to bottom in `train_codec`.

Waves [B, T] come from an iterator whose state is saved beside the parameters; several steps run in one call, compute is
bfloat16 with float32 masters, and a run that was stopped goes on bit for bit from its last checkpoint.  For the first
part of a run, `adversarial_from` of it, there are no discriminators: spectra alone teach the codec most of what it will
know, at a fraction of the cost.  How much of a run is over, its `progress`, decides on the learning rates too.  A run
has so many steps, or so many seconds of a machine that is lent; in the second case the clock says how far it is.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from musicgen.model import parameters
from musicgen.model.codec import losses as codec_losses
from musicgen.model.codec import weight_norm
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.discriminators import DiscriminatorConfig, Discriminators
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.quantizer import (
    Quantized,
    codebooks_used,
    ema_update,
    kmeans_init,
    perplexity,
    replace_dead_codes,
)
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.parameters import Parameters
from musicgen.model.training.checkpointing import Checkpoints
from musicgen.model.training.metrics import Metrics
from musicgen.model.training.train import Batches, Stop

CODEBOOKS = "quantizer.entries"  # the name in released weights


@dataclasses.dataclass(frozen=True)
class CodecTrainConfig:
    """A whole training run.  `batch` counts rows over all devices, `samples` is T, a multiple of the hop."""

    codec: CodecConfig
    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    losses: LossConfig = LossConfig()
    steps: int = 100_000
    seconds: float = 0.0  # the run, compiling apart, lasts this long, however many steps that are; 0: `steps` decide
    adversarial_from: float = 0.0  # share of the run after which there are discriminators
    batch: int = 24
    samples: int = 38_400  # longer than what a frame sees of the past: kernels that see only silence learn nothing
    discriminator_samples: int = 19_200  # of them, the last so many samples, the discriminators get
    steps_per_dispatch: int = 20
    learning_rate: float = 4e-4
    discriminator_learning_rate: float = 3e-4
    warmup_steps: int = 500
    decay: float = 0.6  # share of the run over which the learning rates go to zero
    clip: float = 1_000.0  # DAC's
    discriminator_clip: float = 10.0
    quantizer_dropout: float = 0.7  # share of the rows that use a random number of codebooks
    use_decay: float = 0.99  # of the running use of each entry
    dead_below: float = 0.05  # of even use; what is used less is replaced
    average_decay: float = 0.999  # of the running average of the parameters, which is what is released
    seed: int = 0
    compute: str = "bfloat16"
    checkpoint_every: int = 2_000
    keep_checkpoints: int = 2


class CodecState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Parameters  # of the codec, kernels as directions and gains
    average: Parameters
    optimizer: optax.OptState
    discriminators: Parameters
    discriminators_optimizer: optax.OptState
    use: jax.Array  # f32 [Q, S], running share of each entry in its codebook's choices, times S


def optimizer(clip: float) -> optax.GradientTransformation:
    """AdamW with DAC's betas, at a learning rate of -1: `apply_updates` knows the real one."""
    adam = optax.scale_by_adam(b1=0.8, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(clip), adam, optax.add_decayed_weights(1e-2))


def apply_updates(params: Parameters, updates: Parameters, rate: jax.Array) -> Parameters:
    """The parameters after a step of this learning rate."""
    return {name: value - rate * updates[name] for name, value in params.items()}


def learning_rate(config: CodecTrainConfig, peak: float, step: jax.Array, progress: jax.Array) -> jax.Array:
    """Linear warm-up over steps, flat, linear to zero over the last part of the run."""
    warm = jnp.minimum(1.0, (step + 1) / max(config.warmup_steps, 1))
    return peak * warm * jnp.clip((1 - progress) / max(config.decay, 1e-6), 0.0, 1.0)


def bind_codec(params: Parameters, config: CodecTrainConfig) -> SoundStream:
    """The codec, computing as it is trained; the quantiser stays float32."""
    dtype, kernels = jnp.dtype(config.compute), weight_norm.fold(params)
    cast = {name: x if name == CODEBOOKS else x.astype(dtype) for name, x in kernels.items()}
    return parameters.bind(config.codec, cast, SoundStream)


def reconstruct(
    params: Parameters, wave: jax.Array, used: jax.Array, config: CodecTrainConfig
) -> tuple[tuple[jax.Array, jax.Array], Quantized]:
    """wave f32 [B, T] -> ((what the codec makes of it f32 [B, T - delay], commitment), its quantisation)."""
    model = bind_codec(params, config)
    latents, _ = model.latents(wave)
    quantized = model.quantizer(latents, used)
    fake, _ = model.wave(quantized.latents)
    return (fake[:, config.codec.delay :].astype(jnp.float32), quantized.commitment), quantized


def discriminate(discriminators: Parameters, wave: jax.Array, config: CodecTrainConfig) -> list[list[jax.Array]]:
    """What the discriminators see in wave f32 [B, T]; float32 features."""
    dtype = jnp.dtype(config.compute)
    cast = {name: x.astype(dtype) for name, x in weight_norm.fold(discriminators).items()}
    features = parameters.bind(config.discriminators, cast, Discriminators)(wave.astype(dtype))
    return jax.tree.map(lambda x: x.astype(jnp.float32), features)


def crop(wave: jax.Array, config: CodecTrainConfig) -> jax.Array:
    """The last samples of f32 [B, T], which have a past: what discriminators get."""
    return wave[:, -config.discriminator_samples :]


def generator_loss(
    fake: jax.Array,
    commitment: jax.Array,
    wave: jax.Array,
    discriminators: Parameters | None,
    config: CodecTrainConfig,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum and its parts; without discriminators no adversarial ones."""
    weights, rate, loud = config.losses, config.codec.sample_rate, codec_losses.gain(wave)
    parts = {
        "mel": codec_losses.mel_distance(loud * fake, loud * wave, rate, weights.windows, weights.mels),
        "wave": codec_losses.relative_error(fake, wave),
        "commitment": commitment,
    }
    if discriminators is not None:
        of_fake, of_real = (discriminate(discriminators, crop(sound, config), config) for sound in (fake, wave))
        parts["adversarial"] = codec_losses.adversarial_loss(of_fake)
        parts["features"] = codec_losses.feature_loss(of_fake, of_real)
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), start=jnp.zeros(()))
    return loss, {**parts, "si_sdr": jnp.mean(codec_losses.si_sdr(fake, wave))}


def codec_step(
    state: CodecState,
    wave: jax.Array,
    progress: jax.Array,
    key: jax.Array,
    config: CodecTrainConfig,
    adversarial: bool,
) -> tuple[CodecState, dict[str, jax.Array]]:
    """One step of the discriminators and one of the codec on the same reconstruction of wave f32 [B, T]."""
    dropout_key, replace_key = jax.random.split(key)
    used = codebooks_used(dropout_key, wave.shape[0], config.codec.codebooks, config.quantizer_dropout)
    forward = functools.partial(reconstruct, wave=wave, used=used, config=config)
    (fake, commitment), backward, quantized = jax.vjp(forward, state.params, has_aux=True)
    wave = wave[:, : fake.shape[1]]

    discriminators, discriminators_opt, metrics = state.discriminators, state.discriminators_optimizer, {}
    if adversarial:
        stop = jax.lax.stop_gradient

        def loss(discriminators: Parameters) -> jax.Array:
            of_fake, of_real = (
                discriminate(discriminators, crop(sound, config), config) for sound in (stop(fake), wave)
            )
            return codec_losses.discriminator_loss(of_fake, of_real)

        metrics["discriminator"], grads = jax.value_and_grad(loss)(discriminators)
        updates, discriminators_opt = optimizer(config.discriminator_clip).update(
            grads, discriminators_opt, discriminators
        )
        rate = learning_rate(config, config.discriminator_learning_rate, state.step, progress)
        discriminators = apply_updates(discriminators, updates, rate)

    gradient = jax.grad(generator_loss, argnums=(0, 1), has_aux=True)
    towards, parts = gradient(fake, commitment, wave, discriminators if adversarial else None, config)
    (grads,) = backward(towards)
    updates, opt = optimizer(config.clip).update(grads, state.optimizer, state.params)
    params = apply_updates(state.params, updates, learning_rate(config, config.learning_rate, state.step, progress))

    codebooks, use = ema_update(state.params[CODEBOOKS], state.use, quantized, used, config.use_decay)
    params[CODEBOOKS], dead = replace_dead_codes(codebooks, use, quantized.residuals, replace_key, config.dead_below)
    use = jnp.where(dead, 1.0, use)

    decay = jnp.minimum(config.average_decay, (1 + state.step) / (10 + state.step))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, params)
    # Halfway between where an entry was and where it is now, there is nothing.
    average[CODEBOOKS] = jnp.where(dead[..., None], params[CODEBOOKS], average[CODEBOOKS])
    metrics |= parts | {"codes_replaced": dead.sum().astype(jnp.float32), "gradient_norm": optax.tree.norm(grads)}
    metrics |= {"perplexity_mean": perplexity(use).mean(), "perplexity_least": perplexity(use).min()}
    return CodecState(state.step + 1, params, average, opt, discriminators, discriminators_opt, use), metrics


CodecSteps = Callable[[CodecState, jax.Array, jax.Array], tuple[CodecState, dict[str, jax.Array]]]


@functools.cache
def make_codec_steps(config: CodecTrainConfig, adversarial: bool) -> jax.stages.Wrapped:
    """The function (state, waves [k, B, T], progress 0..1) -> (state after k steps, metrics of each step [k])."""
    root = jax.random.key(config.seed)

    @functools.partial(jax.jit, donate_argnums=0)
    def codec_steps(
        state: CodecState, waves: jax.Array, progress: jax.Array
    ) -> tuple[CodecState, dict[str, jax.Array]]:
        def one_step(state: CodecState, wave: jax.Array) -> tuple[CodecState, dict[str, jax.Array]]:
            key = jax.random.fold_in(root, state.step)
            return codec_step(state, wave.astype(jnp.float32), progress, key, config, adversarial)

        return jax.lax.scan(one_step, state, waves)

    return codec_steps


@functools.cache
def compiled_codec_steps(config: CodecTrainConfig, adversarial: bool) -> CodecSteps:
    """The same for whole dispatches on all devices, compiled: minutes on a GPU, seconds from a persistent cache."""
    mesh = devices()
    everywhere = NamedSharding(mesh, PartitionSpec())

    def laid_out(x: jax.ShapeDtypeStruct, sharding: NamedSharding = everywhere) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    state = jax.tree.map(laid_out, jax.eval_shape(lambda: fresh_codec_state(config)))
    waves = jax.ShapeDtypeStruct((config.steps_per_dispatch, config.batch, config.samples), jnp.float32)
    rows = NamedSharding(mesh, PartitionSpec(None, "B"))
    progress = laid_out(jax.ShapeDtypeStruct((), jnp.float32))
    return make_codec_steps(config, adversarial).lower(state, laid_out(waves, rows), progress).compile()


def devices() -> Mesh:
    """All of them, each with a part of the rows."""
    return jax.make_mesh((jax.device_count(),), ("B",), axis_types=(AxisType.Auto,))


def fresh_codec_state(config: CodecTrainConfig) -> CodecState:
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


def refuse_another_codec(folder: Path, codec: CodecConfig) -> None:
    """Raise ValueError if the checkpoints in a run's folder are of a codec of another shape."""
    settings = folder / "config.json"
    if not settings.is_file() or next((folder / "checkpoints").glob("[0-9]*"), None) is None:
        return
    theirs = json.loads(settings.read_text()).get("codec")
    if theirs != codec.to_dict():
        raise ValueError(f"{folder} holds a run of another codec: choose another folder")


class Programs:
    """The compiled steps; those with discriminators are compiled beside the training, if it begins without."""

    def __init__(self, config: CodecTrainConfig, adversarial: bool):
        self.config, self.later = config, None
        compiled_codec_steps(config, adversarial)
        if not adversarial and config.adversarial_from < 1:
            background = ThreadPoolExecutor(1)
            self.later = background.submit(compiled_codec_steps, config, True)
            background.shutdown(wait=False)

    def of(self, adversarial: bool) -> CodecSteps:
        """Those with or without discriminators."""
        if adversarial and self.later is not None:
            return self.later.result()
        return compiled_codec_steps(self.config, adversarial)


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
    stop_after: float = float("inf"),
) -> CodecState:
    """Train to the end, or until SIGTERM or `stop_after` seconds, going on from `folder`'s newest checkpoint.

    `batches` gives {"wave": f32 [B, T]}; `at_checkpoint` gets the averaged parameters as plain kernels and whether
    discriminators had a part in them, and its figures join the metrics.  There is always a checkpoint before the first
    step with discriminators.  Raises ValueError if T is not whole frames or the checkpoints are of another codec.
    """
    if config.samples % config.codec.hop:
        raise ValueError("samples must be a multiple of the hop")
    refuse_another_codec(folder, config.codec)
    folder.mkdir(parents=True, exist_ok=True)
    mesh = devices()
    with (
        closing(Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)) as checkpoints,
        closing(Metrics(folder)) as metrics,
        Stop(stop_after) as stop,
    ):
        everywhere = NamedSharding(mesh, PartitionSpec())
        state, saved = checkpoints.restore(jax.jit(lambda: fresh_codec_state(config), out_shardings=everywhere)())
        if saved is not None:
            batches.set_state(saved["reader"])
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        step, leave, adversarial = int(state.step), False, saved is not None and saved["adversarial"]
        programs = Programs(config, adversarial or config.adversarial_from <= 0)
        waves = waves_on_devices(batches, config, step, mesh)
        if saved is None and waves is not None:
            state = jax.block_until_ready(jax.device_put(init_codebooks(state, waves, config), everywhere))
        pace = Pace(config, 0.0 if saved is None else saved["progress"])
        while waves is not None and not leave:
            reader = batches.get_state()  # after exactly the waves of the steps up to the end of this dispatch
            dispatched, progress = time.monotonic(), pace.progress(step)
            if progress >= config.adversarial_from and not adversarial:
                if step:  # what spectra alone have taught
                    metrics.write(step, **at_checkpoint(step, weight_norm.fold(state.average), False))
                adversarial = True
            k = waves.shape[0]
            program = (
                programs.of(adversarial) if k == config.steps_per_dispatch else make_codec_steps(config, adversarial)
            )
            state, figures = program(state, waves, jax.device_put(np.float32(progress), everywhere))
            step += k
            waves = waves_on_devices(batches, config, step, mesh)  # while the device works
            values = {name: float(np.mean(value)) for name, value in jax.device_get(figures).items()}
            metrics.write(step, **values, progress=progress, steps_per_second=k / (time.monotonic() - dispatched))
            leave = stop.asked() or waves is None or pace.progress(step) >= 1
            if leave or step // config.checkpoint_every > (step - k) // config.checkpoint_every:
                # first: who sent SIGTERM may not wait for long
                checkpoints.save(
                    step, state, {"reader": reader, "progress": pace.progress(step), "adversarial": adversarial}
                )
                metrics.write(step, **at_checkpoint(step, weight_norm.fold(state.average), adversarial))
    return state


def waves_on_devices(batches: Any, config: CodecTrainConfig, step: int, mesh: Mesh) -> jax.Array | None:
    """The waves f32 [k, B, T] of the next dispatch; None after the last step."""
    k = config.steps_per_dispatch
    if not config.seconds:
        k = min(k - step % k, config.steps - step)
    if k <= 0:
        return None
    waves = np.stack([next(batches)["wave"] for _ in range(k)])
    return jax.device_put(waves, NamedSharding(mesh, PartitionSpec(None, "B")))
