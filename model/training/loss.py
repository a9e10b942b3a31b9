"""What a step of training minimises: `loss_of`, and what is done to the rows and the model on the way there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.config import BOS, PAD, ModelConfig
from musicgen.model.frames import FrameCodes
from musicgen.model.parameters import Parameters
from musicgen.model.perceiver_ar import Drop, no_drop
from musicgen.model.training.adapters import adapt
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.multi_context import MultiContext, all_contexts, all_settings, one_setting, with_gaps


def contexts_of(config: TrainConfig) -> MultiContext:
    """How a batch of this run is sliced.  Raises ValueError if the batch is not whole groups."""
    N, M = config.model.context, config.model.latents
    every = all_settings if config.model.channels == 1 else all_contexts
    slices = every(N, M) if config.all_settings else one_setting(N, M)
    slices = with_gaps(N, M) if config.gaps else slices
    contexts = MultiContext(slices, N, M, fused=not config.deterministic)
    if config.batch % contexts.rows:
        raise ValueError(f"batch must be a multiple of {contexts.rows}, not {config.batch}")
    return contexts


def loss_of(
    params: Parameters,
    tokens: jax.Array,
    key: jax.Array,
    config: TrainConfig,
    contexts: MultiContext,
    sampled_rate: jax.Array | None = None,
    factors: Mapping[str, jax.Array] = {},
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean loss over the targets of rows tokens i32 [B, N+1], or of frames [B, N+1, Q].

    A token that is given, and nothing to predict, is written as ~token.  Also nats/token of plain rows, of those at the
    full setting and of rows with gaps.  sampled_rate: of `scheduled_sampling`.  factors: of `adapters.adapt`.
    """
    dtype = jnp.dtype(config.compute)
    tiles, arrays = pad_vocabulary(config.model, {name: x.astype(dtype) for name, x in params.items()})
    model = adapt(parameters.bind(tiles, arrays), factors)
    residual_key, cross_key, token_key = jax.random.split(key, 3)
    drop = Dropout(config.dropout, residual_key)
    given, tokens = tokens < 0, jnp.where(tokens < 0, ~tokens, tokens)
    inputs, targets = tokens[:, :-1], jnp.where(given, PAD, tokens)[:, 1:]
    positions = contexts.positions(tokens.shape[0] // contexts.rows)
    if config.token_dropout:
        rate = jnp.where(jnp.tile(contexts.gaps, tokens.shape[0] // contexts.rows), 0.0, config.token_dropout)
        hidden = jax.random.bernoulli(token_key, rate.reshape(-1, *[1] * (inputs.ndim - 1)), inputs.shape)
        inputs = jnp.where(hidden, PAD, inputs)
    everywhere = jnp.arange(inputs.shape[1])[None]

    def process(inputs: jax.Array, drop: Drop) -> jax.Array:
        h = model.encode(inputs, everywhere, contexts.local_attend(config.model.local_window), dtype=dtype, drop=drop)
        x = jnp.take_along_axis(h, positions[..., None], axis=1)
        cross = contexts.cross_attend(config.cross_keep, cross_key)
        return model.process(x, positions, h, everywhere, cross, contexts.self_attend, drop)

    if sampled_rate is not None and isinstance(model, FrameCodes):
        sample = functools.partial(
            scheduled_sampling,
            functools.partial(process, drop=no_drop),
            model,
            positions=positions,
            rate=sampled_rate,
            passes=config.sampled_passes,
            key=jax.random.fold_in(token_key, 1),
        )
        inputs = jax.lax.cond(sampled_rate > 0, sample, lambda inputs: inputs, inputs)
    targets = jnp.take_along_axis(targets, positions.reshape(*positions.shape, *[1] * (targets.ndim - 2)), axis=1)
    x = process(inputs, drop)
    logits = model.decode(x, targets, drop)
    logits = logits[..., : logits.shape[-1] - (tiles.vocab_size - config.model.vocab_size)]
    log_z = jax.nn.logsumexp(logits, axis=-1)
    nats = log_z - jnp.take_along_axis(logits, config.model.logit_of(targets)[..., None], axis=-1)[..., 0]
    real = targets > BOS  # neither padding nor the beginning of a piece is anything to predict
    count = jnp.maximum(real.sum(), 1)
    loss = jnp.sum(jnp.where(real, nats + config.z_loss * jnp.square(log_z), 0.0)) / count

    def mean_of(rows: np.ndarray) -> jax.Array:
        these = real & jnp.tile(rows, tokens.shape[0] // contexts.rows).reshape(-1, *[1] * (real.ndim - 1))
        return jnp.sum(jnp.where(these, nats, 0.0)) / jnp.maximum(these.sum(), 1)

    figures = {"nats": mean_of(~contexts.gaps), "nats_full": mean_of(contexts.full)}
    return loss, {**figures, **({"nats_gaps": mean_of(contexts.gaps)} if contexts.gaps.any() else {})}


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
    process: Callable[[jax.Array], jax.Array],
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
    2015).  process(inputs): the latents [B, M, D] at positions i32 [B, M].  rate: the most of a row's frames; each row
    has its own, from 0 up.  Sampled in so many `passes`, so that there are samples that follow samples.
    """
    B, M = positions.shape
    rows, following = jnp.arange(B)[:, None], positions + 1  # beyond the end: no input, and dropped
    real = inputs.at[rows, following].get(mode="fill", fill_value=PAD)
    row_key, *pass_keys = jax.random.split(key, 1 + 2 * passes)
    row_rate = rate * jax.random.uniform(row_key, (B, 1))
    mixed = inputs
    for draw_key, place_key in zip(pass_keys[::2], pass_keys[1::2], strict=True):
        x = jax.lax.stop_gradient(process(mixed))

        def choose(q: jax.Array, logits: jax.Array, draw_key: jax.Array = draw_key) -> jax.Array:
            return jax.random.categorical(jax.random.fold_in(draw_key, q), logits).astype(jnp.int32)

        sampled = model.draw(x.reshape(B * M, -1), choose).reshape(real.shape)
        chosen = (jax.random.uniform(place_key, (B, M)) < row_rate)[..., None] & (real > BOS)
        mixed = inputs.at[rows, following].set(jnp.where(chosen, sampled, real), mode="drop")
    return mixed


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
