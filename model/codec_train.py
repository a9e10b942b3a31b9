"""Training the codec: generator and discriminators in turn, one loop, read from top to bottom in `train_codec`.

Waves [B, T] come from an iterator whose state is saved beside the parameters; several steps run in one call, compute is
bfloat16 with float32 masters, and a run that was stopped goes on bit for bit from its last checkpoint.  For the first
`adversarial_from` steps there are no discriminators: spectra alone teach the codec most of what it will know, at a
third of the cost.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from musicgen.model import codec_losses, codec_parameters
from musicgen.model.checkpointing import Checkpoints
from musicgen.model.codec_config import CodecConfig
from musicgen.model.codec_losses import LossConfig
from musicgen.model.codec_parameters import Parameters
from musicgen.model.discriminators import DiscriminatorConfig, Discriminators
from musicgen.model.metrics import Metrics
from musicgen.model.quantizer import Quantized, code_counts, codebooks_used, perplexity, revive
from musicgen.model.soundstream import SoundStream
from musicgen.model.train import Batches, Stop

ENTRIES = "quantizer.entries"


@dataclasses.dataclass(frozen=True)
class CodecTrainConfig:
    """A whole training run.  `batch` counts rows over all devices, `samples` is T, a multiple of the hop."""

    codec: CodecConfig
    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    losses: LossConfig = LossConfig()
    steps: int = 100_000
    adversarial_from: int = 0  # a multiple of steps_per_dispatch
    batch: int = 64
    samples: int = 9_600
    steps_per_dispatch: int = 10
    learning_rate: float = 3e-4
    discriminator_learning_rate: float = 3e-4
    warmup_steps: int = 500
    decay: float = 0.5  # share of all steps over which the learning rate goes to zero
    clip: float = 10.0
    quantizer_dropout: float = 0.5  # share of the rows that use a random number of codebooks
    use_decay: float = 0.99  # of the running use of each entry
    revive_below: float = 0.05  # of even use
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
    judges: Parameters  # of the discriminators
    judges_optimizer: optax.OptState
    use: jax.Array  # f32 [Q, S], running share of each entry in its codebook's choices, times S


def optimizer(config: CodecTrainConfig, peak: float, steps: int) -> optax.GradientTransformation:
    """AdamW with DAC's betas; linear warm-up, flat, linear to zero."""
    decay_steps = max(1, int(steps * config.decay))
    warmup = min(config.warmup_steps, steps - decay_steps)
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, max(warmup, 1)),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, decay_steps),
        ],
        [warmup, steps - decay_steps],
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adamw(rate, b1=0.8, b2=0.99, weight_decay=1e-2))


def generator_optimizer(config: CodecTrainConfig) -> optax.GradientTransformation:
    """The codec's."""
    return optimizer(config, config.learning_rate, config.steps)


def judges_optimizer(config: CodecTrainConfig) -> optax.GradientTransformation:
    """The discriminators', over the steps in which there are any."""
    return optimizer(config, config.discriminator_learning_rate, max(2, config.steps - config.adversarial_from))


def reconstruct(
    params: Parameters, wave: jax.Array, used: jax.Array, config: CodecTrainConfig
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Quantized]:
    """wave f32 [B, T] -> ((what the codec makes of it f32 [B, T], commitment, codebook loss), its quantisation)."""
    dtype = jnp.dtype(config.compute)
    kernels = codec_parameters.fold(params)
    cast = {name: x if name.startswith("quantizer.") else x.astype(dtype) for name, x in kernels.items()}
    model = codec_parameters.bind(SoundStream, config.codec, cast)
    latents, _ = model.latents(wave.astype(dtype))
    quantized = model.quantizer(latents, used)
    fake, _ = model.wave(quantized.latents.astype(dtype))
    return (fake.astype(jnp.float32), quantized.commitment, quantized.codebook), quantized


def judge(judges: Parameters, wave: jax.Array, config: CodecTrainConfig) -> list[list[jax.Array]]:
    """What the discriminators see in wave f32 [B, T]; float32 features."""
    dtype = jnp.dtype(config.compute)
    cast = {name: x.astype(dtype) for name, x in codec_parameters.fold(judges).items()}
    features = codec_parameters.bind(Discriminators, config.discriminators, cast)(wave.astype(dtype))
    return jax.tree.map(lambda x: x.astype(jnp.float32), features)


def generator_loss(
    fake: jax.Array,
    commitment: jax.Array,
    codebook: jax.Array,
    wave: jax.Array,
    judges: Parameters | None,
    config: CodecTrainConfig,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum and its parts; without judges no adversarial ones."""
    weights = config.losses
    parts = {
        "mel": codec_losses.mel_distance(fake, wave, config.codec.sample_rate, weights.windows, weights.mels),
        "wave": jnp.mean(jnp.abs(fake - wave)),
        "commitment": commitment,
        "codebook": codebook,
    }
    if judges is not None:
        of_fake, of_real = judge(judges, fake, config), judge(judges, wave, config)
        parts["adversarial"] = codec_losses.adversarial_loss(of_fake)
        parts["features"] = codec_losses.feature_loss(of_fake, of_real)
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), start=jnp.zeros(()))
    return loss, {**parts, "si_sdr": jnp.mean(codec_losses.si_sdr(fake, wave))}


def codec_step(
    state: CodecState, wave: jax.Array, key: jax.Array, config: CodecTrainConfig, adversarial: bool
) -> tuple[CodecState, dict[str, jax.Array]]:
    """One step of the discriminators and one of the codec on the same reconstruction of wave f32 [B, T]."""
    dropout_key, revive_key = jax.random.split(key)
    used = codebooks_used(dropout_key, wave.shape[0], config.codec.codebooks, config.quantizer_dropout)
    forward = functools.partial(reconstruct, wave=wave, used=used, config=config)
    (fake, commitment, codebook), backward, quantized = jax.vjp(forward, state.params, has_aux=True)

    judges, judges_opt, metrics = state.judges, state.judges_optimizer, {}
    if adversarial:

        def judges_loss(judges: Parameters) -> jax.Array:
            of_fake, of_real = judge(judges, jax.lax.stop_gradient(fake), config), judge(judges, wave, config)
            return codec_losses.discriminator_loss(of_fake, of_real)

        metrics["discriminator"], grads = jax.value_and_grad(judges_loss)(judges)
        updates, judges_opt = judges_optimizer(config).update(grads, judges_opt, judges)
        judges = optax.apply_updates(judges, updates)

    gradient = jax.grad(generator_loss, argnums=(0, 1, 2), has_aux=True)
    towards, parts = gradient(fake, commitment, codebook, wave, judges if adversarial else None, config)
    (grads,) = backward(towards)
    updates, opt = generator_optimizer(config).update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)

    counts = code_counts(quantized.codes, used, config.codec.codebook_size)
    share = counts / jnp.maximum(counts.sum(axis=-1, keepdims=True), 1.0) * config.codec.codebook_size
    use = config.use_decay * state.use + (1 - config.use_decay) * share
    projected = quantized.projected
    params[ENTRIES], dead = revive(params[ENTRIES], use, projected, revive_key, config.revive_below)
    use = jnp.where(dead, 1.0, use)

    decay = jnp.minimum(config.average_decay, (1 + state.step) / (10 + state.step))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, params)
    metrics |= parts | {"revived": dead.sum().astype(jnp.float32), "gradient_norm": optax.tree.norm(grads)}
    metrics |= {"perplexity_mean": perplexity(use).mean(), "perplexity_least": perplexity(use).min()}
    return CodecState(state.step + 1, params, average, opt, judges, judges_opt, use), metrics


@functools.cache
def make_codec_steps(
    config: CodecTrainConfig, adversarial: bool
) -> Callable[[CodecState, jax.Array], tuple[CodecState, dict[str, jax.Array]]]:
    """The compiled function (state, waves [k, B, T]) -> (state after k steps, metrics of each step [k])."""
    root = jax.random.key(config.seed)

    def one_step(state: CodecState, wave: jax.Array) -> tuple[CodecState, dict[str, jax.Array]]:
        key = jax.random.fold_in(root, state.step)
        return codec_step(state, wave.astype(jnp.float32), key, config, adversarial)

    @functools.partial(jax.jit, donate_argnums=0)
    def codec_steps(state: CodecState, waves: jax.Array) -> tuple[CodecState, dict[str, jax.Array]]:
        return jax.lax.scan(one_step, state, waves)

    return codec_steps


def fresh_codec_state(config: CodecTrainConfig) -> CodecState:
    """Step 0."""
    params = codec_parameters.unfold(codec_parameters.initial(SoundStream, config.codec, config.seed))
    judges = codec_parameters.unfold(codec_parameters.initial(Discriminators, config.discriminators, config.seed + 1))
    return CodecState(
        jnp.zeros((), jnp.int32),
        params,
        jax.tree.map(jnp.copy, params),
        generator_optimizer(config).init(params),
        judges,
        judges_optimizer(config).init(judges),
        jnp.ones((config.codec.codebooks, config.codec.codebook_size)),
    )


def refuse_another_codec(folder: Path, codec: CodecConfig) -> None:
    """Raise ValueError if the checkpoints in a run's folder are of a codec of another shape."""
    settings = folder / "config.json"
    if not settings.is_file() or next((folder / "checkpoints").glob("[0-9]*"), None) is None:
        return
    theirs = json.loads(settings.read_text()).get("codec")
    if theirs != codec.to_dict():
        raise ValueError(f"{folder} holds a run of another codec: choose another folder")


def train_codec(
    config: CodecTrainConfig,
    batches: Batches,
    folder: Path,
    *,
    at_checkpoint: Callable[[int, Parameters], dict[str, float]] = lambda step, params: {},
    stop_after: float = float("inf"),
) -> CodecState:
    """Train to config.steps, or until SIGTERM or `stop_after` seconds, going on from `folder`'s newest checkpoint.

    `batches` gives {"wave": f32 [B, T]}; `at_checkpoint` gets the averaged parameters as plain kernels, and its figures
    join the metrics.  Raises ValueError if T is not whole frames or the folder's checkpoints are of another codec.
    """
    if config.samples % config.codec.hop or config.adversarial_from % config.steps_per_dispatch:
        raise ValueError("samples must be a multiple of the hop, adversarial_from one of steps_per_dispatch")
    refuse_another_codec(folder, config.codec)
    folder.mkdir(parents=True, exist_ok=True)
    mesh = jax.make_mesh((jax.device_count(),), ("B",), axis_types=(AxisType.Auto,))
    programs = {adversarial: make_codec_steps(config, adversarial) for adversarial in (False, True)}
    with (
        closing(Checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)) as checkpoints,
        closing(Metrics(folder)) as metrics,
        Stop(stop_after) as stop,
    ):
        everywhere = NamedSharding(mesh, PartitionSpec())
        state, reader = checkpoints.restore(jax.jit(lambda: fresh_codec_state(config), out_shardings=everywhere)())
        if reader is not None:
            batches.set_state(reader)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        step, leave = int(state.step), False
        waves = waves_on_devices(batches, config, step, mesh)
        while waves is not None and not leave:
            reader = batches.get_state()  # after exactly the waves of the steps up to the end of this dispatch
            dispatched = time.monotonic()
            state, figures = programs[step >= config.adversarial_from](state, waves)
            k, step = waves.shape[0], step + waves.shape[0]
            waves = waves_on_devices(batches, config, step, mesh)  # while the device works
            values = {name: float(np.mean(value)) for name, value in jax.device_get(figures).items()}
            metrics.write(step, **values, steps_per_second=k / (time.monotonic() - dispatched))
            leave = stop.asked() or waves is None
            if leave or step // config.checkpoint_every > (step - k) // config.checkpoint_every:
                checkpoints.save(step, state, reader)  # first: who sent SIGTERM may not wait for long
                metrics.write(step, **at_checkpoint(step, codec_parameters.fold(state.average)))
    return state


def waves_on_devices(batches: Any, config: CodecTrainConfig, step: int, mesh: Mesh) -> jax.Array | None:
    """The waves f32 [k, B, T] of the next dispatch; None after the last step."""
    k = min(config.steps_per_dispatch - step % config.steps_per_dispatch, config.steps - step)
    if k <= 0:
        return None
    waves = np.stack([next(batches)["wave"] for _ in range(k)])
    return jax.device_put(waves, NamedSharding(mesh, PartitionSpec(None, "B")))
