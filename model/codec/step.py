"""One step of training the codec: the discriminators' and the generator's, on the same reconstruction.

What is minimised is DAC's sum of losses (Kumar et al., 2023; losses.py) and a term of the waveform; codebooks follow as
running means and are no parameters of the optimiser's (quantizer.py).

Letters: B batch, T samples, Q codebooks, S entries of a codebook.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from musicgen.model import parameters
from musicgen.model.codec import losses as codec_losses
from musicgen.model.codec import weight_norm
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.discriminators import DiscriminatorConfig, Discriminators
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.quantizer import Quantized, ema_update, perplexity, quantizer_dropout, replace_dead_codes
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.parameters import Parameters

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
    used = quantizer_dropout(dropout_key, wave.shape[0], config.codec.codebooks, config.quantizer_dropout)
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
