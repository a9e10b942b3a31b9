"""A batch part in many ways trains exactly the settings it says."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference
from toys import TOY, assert_close, random_parameters, random_tokens

from musicgen.model import parameters
from musicgen.model.config import PRESETS
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import loss_of
from musicgen.model.training.multi_context import MultiContext, Slice, all_settings, drop_prefix, one_setting, with_gaps

N, M, GROUPS = 24, 8, 2
SLICES = (
    Slice(2, 24, 8, 8),  # the full setting
    Slice(1, 24, 8, 2),  # few latents, a long context
    Slice(1, 12, 4, 4),  # half of everything, at two places
    Slice(1, 6, 2, 1),  # a quarter, and segments within it
    Slice(1, 8, 8, 8),  # no inputs but the latents' own
    Slice(1, 5, 4, 2),  # chunks that leave the row's beginning unused
)
CONTEXTS = MultiContext(SLICES, N, M)
CONFIG = TrainConfig(TOY, batch=GROUPS * CONTEXTS.rows, dropout=0.0, cross_keep=1.0, z_loss=0.01, compute="float32")


def segments(part: Slice) -> list[tuple[int, int]]:
    """(first input seen, end) of each segment of a row, in order; its latents are the `segment` inputs before end."""
    chunks = M // part.latents
    found = []
    for chunk in range(chunks):
        end = N - (chunks - 1 - chunk) * part.context
        for last in range(end - part.latents + part.segment, end + 1, part.segment):
            found.append((end - part.context, last))
    return found


def group_of_slices() -> list[Slice]:
    """The part of each row of the batch."""
    return [part for _ in range(GROUPS) for part in SLICES for _ in range(part.rows)]


def logits_of(params: dict[str, np.ndarray], tokens: np.ndarray, keep: float, seed: int = 0) -> np.ndarray:
    """Logits [B, M, V] as loss_of computes them, before they meet their targets."""
    return np.asarray(compiled(params, tokens, jax.random.key(seed), keep))


def _logits(params: dict[str, jax.Array], tokens: jax.Array, key: jax.Array, keep: float) -> jax.Array:
    model, everywhere = parameters.bind(TOY, params), jnp.arange(N)[None]
    h = model.encode(tokens, everywhere, CONTEXTS.local_attend(TOY.local_window))
    positions = CONTEXTS.positions(GROUPS)
    x = jnp.take_along_axis(h, positions[..., None], axis=1)
    x = model.process(x, positions, h, everywhere, CONTEXTS.cross_attend(keep, key), CONTEXTS.self_attend)
    return model.decode(x)


compiled = jax.jit(_logits, static_argnames="keep")


def expected_logits(tokens: np.ndarray) -> np.ndarray:
    """The plain model on each segment of each row alone: its inputs are its chunk's, up to the segment's end."""
    reference = Reference(TOY, random_parameters(TOY))
    rows = []
    for row, part in zip(tokens, group_of_slices(), strict=True):
        rows.append([reference(row[:end], part.segment, first) for first, end in segments(part)])
    return np.stack([np.concatenate(row) for row in rows])


def test_every_cut_is_the_plain_model_on_its_chunks() -> None:
    """Also with local blocks, through which a chunk's first inputs know the few before them."""
    tokens = random_tokens(CONFIG.batch, N)
    assert_close(logits_of(random_parameters(TOY), tokens, 1.0), expected_logits(tokens))


def test_positions_are_those_of_the_latents() -> None:
    """Row by row: the inputs just before each segment's end."""
    positions = np.asarray(CONTEXTS.positions(GROUPS))
    for row, part in zip(positions, group_of_slices(), strict=True):
        assert row.tolist() == [at for _, end in segments(part) for at in range(end - part.segment, end)]


def test_the_loss_meets_the_right_targets() -> None:
    """Each latent predicts the token after its own; PAD is no target; the full setting is also counted alone.

    The loss is the nats and `z_loss` times the squared log of the normaliser.
    """
    rows = random_tokens(CONFIG.batch, N + 1, seed=1)
    rows[[0, 3, 9], -3:] = 0
    loss, metrics = jax.jit(loss_of, static_argnames=("config", "contexts"))(
        random_parameters(TOY), rows, jax.random.key(0), CONFIG, CONTEXTS
    )
    logits = expected_logits(rows[:, :-1])
    log_z = np.log(np.exp(logits).sum(axis=-1))
    nats = log_z.copy()
    targets = np.zeros((CONFIG.batch, M), int)
    for i, part in enumerate(group_of_slices()):
        at = [position for _, end in segments(part) for position in range(end - part.segment, end)]
        for j, position in enumerate(at):
            targets[i, j] = rows[i, position + 1]
            nats[i, j] -= logits[i, j, targets[i, j]]
    real = targets != 0
    full = real & np.array([part is SLICES[0] for part in group_of_slices()])[:, None]
    assert not real.all()
    np.testing.assert_allclose(float(metrics["nats"]), nats[real].mean(), rtol=1e-4)
    np.testing.assert_allclose(float(metrics["nats_full"]), nats[full].mean(), rtol=1e-4)
    np.testing.assert_allclose(float(loss), (nats + CONFIG.z_loss * log_z**2)[real].mean(), rtol=1e-4)


def test_cross_attend_dropout_leaves_the_latents_own_inputs() -> None:
    """With nothing kept, every latent sees the inputs from its chunk's first latent on, and those exactly."""
    tokens = random_tokens(CONFIG.batch, N)
    reference = Reference(TOY, random_parameters(TOY))
    logits = logits_of(random_parameters(TOY), tokens, 0.0)
    for i, part in enumerate(group_of_slices()):
        parts = [
            reference(tokens[i, :end], part.segment, first + part.context - part.latents)
            for first, end in segments(part)
        ]
        assert_close(logits[i], np.concatenate(parts))


def test_cross_attend_dropout_is_random_and_causal() -> None:
    """A new key drops other inputs; whatever is dropped, a latent knows nothing of what comes after it."""
    params, tokens = random_parameters(TOY), random_tokens(CONFIG.batch, N)
    before = logits_of(params, tokens, 0.5, seed=1)
    np.testing.assert_array_equal(before, logits_of(params, tokens, 0.5, seed=1))
    changed = np.abs(before - logits_of(params, tokens, 0.5, seed=2)).max(axis=(1, 2)) > 1e-4
    assert changed.tolist() == [part.context > part.latents + 1 for part in group_of_slices()]
    positions = np.asarray(CONTEXTS.positions(GROUPS))
    for t in (N - 1, N - 3, N - 8):
        other = tokens.copy()
        other[:, t] = 3 + (other[:, t] - 3 + 1) % 8
        after = logits_of(params, other, 0.5, seed=1)
        np.testing.assert_array_equal(before[positions < t], after[positions < t])
        assert (np.abs(before - after).max(axis=-1) > 1e-4)[positions == t].all()


@settings(max_examples=40)
@given(
    prefix=st.sampled_from([0, 1, 6]),
    own=st.sampled_from([1, 4]),
    keep=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_drop_prefix(prefix: int, own: int, keep: float, seed: int) -> None:
    """The asked share of the prefix, each at most once, then all the rest in order; keys and values alike."""
    at = np.broadcast_to(np.arange(prefix + own, dtype=np.float32)[None, :, None, None], (3, prefix + own, 2, 1))
    keys, values = drop_prefix([jnp.asarray(at), jnp.asarray(at + 100)], prefix, keep, jax.random.key(seed))
    keys = np.asarray(keys)
    np.testing.assert_array_equal(keys + 100, values)
    kept = int(prefix * keep)
    assert keys.shape == (3, kept + own, 2, 1)
    np.testing.assert_array_equal(keys[:, kept:], at[:, prefix:])
    for row in keys[:, :kept, 0, 0]:
        assert len(set(row)) == kept and set(row) <= set(range(prefix))


def test_every_input_is_dropped_alike() -> None:
    """Over many draws each of the prefix is kept as often as another."""
    at = jnp.broadcast_to(jnp.arange(10.0)[None, :, None, None], (4000, 10, 1, 1))
    (kept,) = drop_prefix([at], 8, 0.5, jax.random.key(0))
    counts = np.bincount(np.asarray(kept).astype(int).ravel(), minlength=10)
    assert (counts[8:] == 4000).all()
    assert (np.abs(counts[:8] - 2000) < 200).all()  # six standard deviations


@pytest.mark.parametrize("name", PRESETS)
def test_the_groups_of_the_presets(name: str) -> None:
    """All settings fit every preset: half of the rows at the full one, and from nothing to an eighth of the context."""
    config = PRESETS[name]
    contexts = MultiContext(all_settings(config.context, config.latents), config.context, config.latents)
    (whole,) = one_setting(config.context, config.latents)
    assert contexts.rows == 16 and contexts.slices.count(dataclasses.replace(whole, rows=8)) == 1
    assert contexts.full.sum() == 8 and contexts.positions(1)[contexts.full].min() == config.context - config.latents
    positions = np.asarray(contexts.positions(1))
    assert positions.min() >= 0 and positions.max() == config.context - 1
    assert all(len(set(row)) == config.latents for row in positions)


@pytest.mark.parametrize(
    "part",
    [
        Slice(1, 24, 3, 3),
        Slice(1, 24, 8, 3),
        Slice(1, 24, 4, 4),
        Slice(1, 25, 8, 8),
        Slice(1, 0, 8, 8),
        Slice(1, 24, 8, 0),
    ],
)
def test_slices_that_do_not_fit(part: Slice) -> None:
    """A row must hold whole chunks, a chunk whole segments and its own latents."""
    with pytest.raises(ValueError, match="does not fit rows of 24 inputs and 8 latents"):
        MultiContext((part,), N, M)


def test_too_few_latents_for_all_settings() -> None:
    """The finest part is a 64th of the latents."""
    with pytest.raises(ValueError, match="does not fit rows of 256 inputs and 32 latents"):
        MultiContext(all_settings(256, 32), 256, 32)


GAP_SLICES = (Slice(1, 24, 8, 8), Slice(2, 24, 8, 8, keep=1.0, gaps=True))


@functools.partial(jax.jit, static_argnames="keep")
def gap_logits(keep: float) -> jax.Array:
    """Logits of a group whose last two rows hold gaps."""
    contexts, tokens = MultiContext(GAP_SLICES, N, M), random_tokens(3, N)
    model, everywhere = parameters.bind(TOY, random_parameters(TOY)), jnp.arange(N)[None]
    h = model.encode(tokens, everywhere, contexts.local_attend(TOY.local_window))
    positions = contexts.positions(1)
    x = jnp.take_along_axis(h, positions[..., None], axis=1)
    x = model.process(x, positions, h, everywhere, contexts.cross_attend(keep, jax.random.key(0)), contexts.self_attend)
    return model.decode(x)


def test_nothing_is_dropped_of_what_a_fill_is_conditioned_on() -> None:
    """A slice's own share is kept, whatever the run's."""
    whole, dropped = np.asarray(gap_logits(1.0)), np.asarray(gap_logits(0.3))
    assert_close(dropped[1:], whole[1:])
    assert np.abs(dropped[0] - whole[0]).max() > 1e-2


def test_groups_with_gaps_train_all_settings() -> None:
    """Thirteen plain rows and eleven with gaps, of which none loses an input, nor do two of the plain ones."""
    contexts = MultiContext(with_gaps(4096, 2048), 4096, 2048)
    assert contexts.rows == 24 and contexts.gaps.sum() == 11 and contexts.full.sum() == 5
    assert all(
        part.keep == 1.0 and part.context == 4096 and part.latents == 2048 for part in contexts.slices if part.gaps
    )
    settings = {(part.context, part.latents, part.segment) for part in contexts.slices if not part.gaps}
    assert settings == {(part.context, part.latents, part.segment) for part in all_settings(4096, 2048)}


def test_given_tokens_are_inputs_and_no_targets() -> None:
    """~token is the same input; what is left of the targets counts as it did, rows with gaps by themselves."""
    contexts = MultiContext(GAP_SLICES, N, M)
    rows = random_tokens(3, N + 1, seed=3)
    config = dataclasses.replace(CONFIG, batch=3)
    loss = jax.jit(loss_of, static_argnames=("config", "contexts"))

    def figures(given: np.ndarray) -> tuple[float, float, float, int]:
        marked = np.where(given, ~rows, rows)
        value, found = loss(random_parameters(TOY), marked, jax.random.key(0), config, contexts)
        return float(value), float(found["nats"]), float(found["nats_gaps"]), int((~given[:, -M:]).sum())

    none = np.zeros(rows.shape, bool)
    some = np.random.default_rng(0).random(rows.shape) < 0.4
    (whole, *_, n), (part, *_, m), (rest, *_, k) = figures(none), figures(some), figures(~some)
    assert m + k == n == 3 * M
    np.testing.assert_allclose(whole * n, part * m + rest * k, rtol=1e-4)
    plain = np.concatenate([some[:1], none[1:]])  # what is given in a plain row is nothing to the others
    assert figures(plain)[2] == pytest.approx(figures(none)[2], rel=1e-5)
    assert figures(plain)[1] == pytest.approx(figures(some)[1], rel=1e-5)
