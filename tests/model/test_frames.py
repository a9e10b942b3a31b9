"""Perceiver AR over codes: what each latent sees, what each codebook's logits know, and that it learns."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import TOY, assert_close

from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.frames import FrameCodes
from musicgen.model.perceiver_ar import Masked
from musicgen.model.sharding import make_mesh
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import contexts_of, loss_of, scheduled_sampling
from musicgen.model.training.multi_context import MultiContext, all_contexts
from musicgen.model.training.optimizer import OptimizerConfig
from musicgen.model.training.train import TrainState, init_state, make_train_steps

pytestmark = pytest.mark.slow

Q, S = 4, 8
FRAMES = ModelConfig(
    vocab_size=S + 3,
    width=32,
    heads=4,
    kv_heads=2,
    local_layers=1,
    local_window=5,
    cross_attends=1,
    layers=2,
    widening=2,
    context=16,
    latents=4,
    channels=Q,
    code_width=8,
    depth_layers=2,
    depth_width=24,
)


def random_parameters(config: ModelConfig) -> dict[str, np.ndarray]:
    """Random where a fresh model has zeros, and small enough that no output is saturated."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, 1.5 * (shape[-2] if len(shape) > 1 else 1) ** -0.5, shape).astype(np.float32)
        for name, shape in sorted(parameters.shapes(config).items())
    }


# Of one block of each kind: what a run learns does not hang on more, and compiling its gradients takes the time.
LEARNER = dataclasses.replace(FRAMES, layers=1, depth_layers=1)


def rows(config: ModelConfig, count: int = 2, seed: int = 0) -> np.ndarray:
    """Tokens i32 [B, N+1, Q] of random codes."""
    return np.random.default_rng(seed).integers(3, S + 3, (count, config.context + 1, Q), dtype=np.int32)


@functools.partial(jax.jit, static_argnames=("config", "latents"))
def forward(
    config: ModelConfig,
    params: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    following: np.ndarray,
    latents: int,
    start: np.ndarray | None = None,
) -> jax.Array:
    """PerceiverAR.__call__, compiled once for each shape."""
    return parameters.bind(config, params)(tokens, latents=latents, start=start, following=following)


def logits_of(config: ModelConfig, tokens: np.ndarray, params: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """f32 [B, M * codes of a position, S]: the logits in the order of the flattened sequence; of random parameters."""
    params = random_parameters(config) if params is None else params
    logits = forward(config, params, tokens[:, :-1], tokens[:, -config.latents :], config.latents)
    return np.asarray(logits).reshape(len(tokens), -1, S)


def test_causality() -> None:
    """Another code changes no logits up to its own, and the first that may know it."""
    tokens = rows(FRAMES, 1)
    before = logits_of(FRAMES, tokens)
    flat = tokens.reshape(-1)
    scored = before.shape[1]
    for back in (1, 2, Q, Q + 1, scored):  # how many codes from the end
        other = flat.copy()
        other[-back] = 3 + (other[-back] - 3 + 1) % S
        after = logits_of(FRAMES, other.reshape(tokens.shape))
        own = scored - back
        np.testing.assert_array_equal(before[:, : own + 1], after[:, : own + 1])
        if back > 1:
            assert np.abs(before[:, own + 1] - after[:, own + 1]).max() > 1e-5


def test_logits_are_of_the_right_codebook() -> None:
    """Without the output kernel of codebook q, all logits of codebook q are zero and all others as they were."""
    tokens, params = rows(FRAMES, 1), random_parameters(FRAMES)
    before = logits_of(FRAMES, tokens)
    for q in range(Q):
        changed = dict(params)
        changed["readout.kernel"] = params["readout.kernel"].copy()
        changed["readout.kernel"][q] = 0
        after = logits_of(FRAMES, tokens, changed).reshape(1, -1, Q, S)
        assert (after[:, :, q] == 0).all()
        others = [other for other in range(Q) if other != q]
        assert_close(after[:, :, others], before.reshape(1, -1, Q, S)[:, :, others])


def test_a_model_of_codes_goes_frame_by_frame() -> None:
    """Without blocks that go through a frame there is no model."""
    with pytest.raises(ValueError, match="depth_layers must be at least 1"):
        dataclasses.replace(FRAMES, depth_layers=0)


def test_a_frame_is_drawn_by_the_logits_of_read() -> None:
    """Every code is what its codebook's rule makes of the logits that the whole frame has in the end."""
    model = parameters.bind(FRAMES, random_parameters(FRAMES))
    assert isinstance(model, FrameCodes)
    x = np.random.default_rng(0).normal(size=(30, FRAMES.width)).astype(np.float32)

    def choose(q: jax.Array, logits: jax.Array) -> jax.Array:
        return jnp.argmax(logits + 3 * jnp.sin(jnp.arange(S) * (q + 1.0)), axis=-1)

    tokens = jax.jit(lambda x: model.draw(x, choose))(x)
    whole = jax.jit(model.decode)(x[:, None], tokens[:, None])[:, 0]
    for q in range(Q):
        np.testing.assert_array_equal(choose(jnp.int32(q), whole[:, q]) + 3, tokens[:, q])


def test_bos_has_a_vector_of_its_own() -> None:
    """And it is the same for every codebook; hidden inputs have none."""
    model = parameters.bind(FRAMES, random_parameters(FRAMES))
    tokens = np.full((1, *rows(FRAMES).shape[1:]), 1, np.int32)[:, :-1]
    embed = jax.jit(lambda tokens: model.embed(tokens, jnp.dtype(jnp.float32)))
    x = np.asarray(embed(tokens))
    assert_close(x[0, 1], x[0, 0])
    assert np.abs(x).max() > 0.1
    assert not np.asarray(embed(0 * tokens)).any()


def run_of(config: ModelConfig, **changes: object) -> TrainConfig:
    """A training run as small as can be."""
    usual = TrainConfig(
        config,
        OptimizerConfig(learning_rate=1e-2, adam_learning_rate=1e-2, warmup_steps=5),
        steps=120,
        batch=8,
        steps_per_dispatch=20,
        dropout=0.0,
        compute="float32",
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def test_gradients_are_finite_and_reach_everything() -> None:
    """Also with BOS and PAD among the inputs, dropout and hidden tokens."""
    run = run_of(FRAMES, dropout=0.1, token_dropout=0.1)
    tokens = rows(FRAMES, 8)
    tokens[:, 3] = 1
    tokens[0, :2] = 0
    params = {name: jnp.asarray(x) for name, x in random_parameters(FRAMES).items()}
    gradient = jax.jit(lambda p: jax.grad(loss_of, has_aux=True)(p, tokens, jax.random.key(0), run, contexts_of(run)))
    grads, figures = gradient(params)
    for name, value in grads.items():
        assert value.dtype == jnp.float32
        assert np.isfinite(value).all() and np.abs(np.asarray(value)).max() > 0, name
    assert 0 < float(figures["nats_full"]) < 20


def test_contexts_of_a_group() -> None:
    """Every context from the latents' own to N."""
    N, M = FRAMES.context, FRAMES.latents
    contexts = MultiContext(all_contexts(N, M), N, M)
    assert contexts.rows == 8 and contexts.full.sum() == 2
    assert {part.context for part in contexts.slices} == {N, N // 2, N // 4, N // 8, M}


def counting(config: ModelConfig, seed: int) -> np.ndarray:
    """Eight rows of frames whose first code counts on and whose others follow from it."""
    first = (np.random.default_rng(seed).integers(0, S, (8, 1)) + np.arange(config.context + 1)) % S
    return 3 + (first[..., None] * (1 + np.arange(Q)) + np.arange(Q)) % S


def learnt(run: TrainConfig) -> tuple[TrainState, list[float]]:
    """A run over such rows: its state after 120 steps, and the nats of each dispatch."""
    state, steps, told = init_state(run, make_mesh()), make_train_steps(run), []
    for dispatch in range(6):
        batches = np.stack([counting(run.model, 20 * dispatch + i) for i in range(20)])
        state, figures = steps(state, batches.astype(np.int16))
        told.append(float(np.asarray(figures["nats"]).mean()))
    return state, told


def test_it_learns_what_is_there() -> None:
    """Rows of which nearly nothing is left to know."""
    state, told = learnt(run_of(LEARNER))
    assert told[0] > 0.5 and told[-1] < 0.12, told
    # The same figure from scoring held-out pieces window by window, and none of them twice.
    piece = counting(LEARNER, 10_000)[0]
    piece[0] = 1
    size = {"latents": LEARNER.latents, "context": LEARNER.context, "stride": 2}
    (nats,) = nats_of_pieces(LEARNER, state.params, [piece], **size)
    assert nats.shape == piece[1:].shape and (nats[2 * Q :] > 0).all()
    assert nats[len(nats) // 2 :].mean() < 0.2


@jax.jit
def sample(inputs: np.ndarray, share: float) -> jax.Array:
    """Rows of FRAMES with samples of random parameters, by latents at inputs 9 to 14 of 16."""
    model = parameters.bind(FRAMES, random_parameters(FRAMES))
    assert isinstance(model, FrameCodes)
    masked, positions = Masked(FRAMES, 9, None), jnp.arange(9, 15)[None]
    everywhere = jnp.arange(inputs.shape[1])[None]

    def think(inputs: jax.Array) -> jax.Array:
        h = model.encode(inputs, everywhere, masked.local_attend)
        return model.process(
            h[:, 9:15], positions, h[:, :15], everywhere[:, :15], masked.cross_attend, masked.self_attend
        )

    at = jnp.tile(positions, (len(inputs), 1))
    return scheduled_sampling(think, model, jnp.asarray(inputs), at, jnp.float32(share), 2, jax.random.key(3))


def test_samples_take_the_place_of_frames_after_latents() -> None:
    """Of none if their share is zero; of frames 10 to 15 alone, never of BOS; and no sample knows what is later."""
    inputs = rows(FRAMES, 32)[:, :-1]
    inputs[:, 12] = 1
    np.testing.assert_array_equal(sample(inputs, 0.0), inputs)
    mixed = np.asarray(sample(inputs, 1.0))
    assert mixed.min() >= 1 and mixed.max() < S + 3
    other = (mixed != inputs).any(axis=-1)
    assert not other[:, :10].any() and not other[:, 12].any()
    assert (other[:, [10, 11, 13, 14, 15]].mean(axis=0) > 0.2).all() and other.mean() < 0.5  # each row its own rate
    changed = inputs.copy()
    changed[:, 13] = 3 + (changed[:, 13] - 3 + 1) % S
    again = np.asarray(sample(changed, 1.0))
    np.testing.assert_array_equal(again[:, :13], mixed[:, :13])
    assert (again[:, 14:] != mixed[:, 14:]).any()


def test_samples_are_likely_frames() -> None:
    """Where the model is sure, its samples are the recording, and a run with them learns as one without."""
    _, told = learnt(run_of(LEARNER, sampled_rate=1.0))
    assert told[0] > 0.5 and told[-1] < 0.2, told
    with pytest.raises(ValueError, match="only a model of frames"):
        make_train_steps(run_of(TOY, sampled_rate=0.5, all_settings=False))


def test_scores_are_those_of_the_forward_pass() -> None:
    """A piece as long as one window."""
    params = random_parameters(FRAMES)
    tokens = rows(FRAMES, 1)[0][: FRAMES.latents + 1]
    tokens[0] = 1
    logits = np.asarray(forward(FRAMES, params, tokens[None, :-1], tokens[None, 1:], FRAMES.latents))[0]
    at = (tokens[1:] - 3)[..., None]
    expected = jax.nn.logsumexp(logits, axis=-1) - np.take_along_axis(logits, at, axis=-1)[..., 0]
    (nats,) = nats_of_pieces(FRAMES, params, [tokens], latents=FRAMES.latents, context=FRAMES.context)
    assert_close(nats, np.asarray(expected))
