"""A batch cut in many ways trains exactly the settings it says."""

from __future__ import annotations

import dataclasses

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
from musicgen.model.training.cuts import Cut, Dials, all_settings, drop_prefix, one_setting
from musicgen.model.training.train import TrainConfig, loss_of

N, M, DECKS = 24, 8, 2
CUTS = (
    Cut(2, 24, 8, 8),  # the full setting
    Cut(1, 24, 8, 2),  # few latents, a long context
    Cut(1, 12, 4, 4),  # half of everything, at two places
    Cut(1, 6, 2, 1),  # a quarter, and segments within it
    Cut(1, 8, 8, 8),  # no inputs but the latents' own
    Cut(1, 5, 4, 2),  # chunks that leave the row's beginning unused
)
DIALS = Dials(CUTS, N, M)
CONFIG = TrainConfig(TOY, batch=DECKS * DIALS.rows, dropout=0.0, cross_keep=1.0, z_loss=0.01, compute="float32")


def segments(cut: Cut) -> list[tuple[int, int]]:
    """(first input seen, end) of each segment of a row, in order; its latents are the `segment` inputs before end."""
    chunks = M // cut.latents
    found = []
    for chunk in range(chunks):
        end = N - (chunks - 1 - chunk) * cut.context
        for last in range(end - cut.latents + cut.segment, end + 1, cut.segment):
            found.append((end - cut.context, last))
    return found


def deck_of_cuts() -> list[Cut]:
    """The cut of each row of the batch."""
    return [cut for _ in range(DECKS) for cut in CUTS for _ in range(cut.rows)]


def logits_of(params: dict[str, np.ndarray], tokens: np.ndarray, keep: float, seed: int = 0) -> np.ndarray:
    """Logits [B, M, V] as loss_of computes them, before they meet their targets."""
    return np.asarray(compiled(params, tokens, jax.random.key(seed), keep))


def _logits(params: dict[str, jax.Array], tokens: jax.Array, key: jax.Array, keep: float) -> jax.Array:
    model, everywhere = parameters.bind(TOY, params), jnp.arange(N)[None]
    h = model.encode(tokens, everywhere, DIALS.local_attend(TOY.local_window))
    positions = DIALS.positions(DECKS)
    x = jnp.take_along_axis(h, positions[..., None], axis=1)
    x = model.process(x, positions, h, everywhere, DIALS.cross_attend(keep, key), DIALS.self_attend)
    return model.decode(x)


compiled = jax.jit(_logits, static_argnames="keep")


def expected_logits(tokens: np.ndarray) -> np.ndarray:
    """The plain model on each segment of each row alone: its inputs are its chunk's, up to the segment's end."""
    reference = Reference(TOY, random_parameters(TOY))
    rows = []
    for row, cut in zip(tokens, deck_of_cuts(), strict=True):
        rows.append([reference(row[:end], cut.segment, first) for first, end in segments(cut)])
    return np.stack([np.concatenate(row) for row in rows])


def test_every_cut_is_the_plain_model_on_its_chunks() -> None:
    """Also with local blocks, through which a chunk's first inputs know the few before them."""
    tokens = random_tokens(CONFIG.batch, N)
    assert_close(logits_of(random_parameters(TOY), tokens, 1.0), expected_logits(tokens))


def test_positions_are_those_of_the_latents() -> None:
    """Row by row: the inputs just before each segment's end."""
    positions = np.asarray(DIALS.positions(DECKS))
    for row, cut in zip(positions, deck_of_cuts(), strict=True):
        assert row.tolist() == [at for _, end in segments(cut) for at in range(end - cut.segment, end)]


def test_the_loss_meets_the_right_targets() -> None:
    """Each latent predicts the token after its own; PAD is no target; the full setting is also counted alone.

    The loss is the nats and `z_loss` times the squared log of the normaliser.
    """
    rows = random_tokens(CONFIG.batch, N + 1, seed=1)
    rows[[0, 3, 9], -3:] = 0
    loss, metrics = jax.jit(loss_of, static_argnames=("config", "dials"))(
        random_parameters(TOY), rows, jax.random.key(0), CONFIG, DIALS
    )
    logits = expected_logits(rows[:, :-1])
    log_z = np.log(np.exp(logits).sum(axis=-1))
    nats = log_z.copy()
    targets = np.zeros((CONFIG.batch, M), int)
    for i, cut in enumerate(deck_of_cuts()):
        at = [position for _, end in segments(cut) for position in range(end - cut.segment, end)]
        for j, position in enumerate(at):
            targets[i, j] = rows[i, position + 1]
            nats[i, j] -= logits[i, j, targets[i, j]]
    real = targets != 0
    full = real & np.array([cut is CUTS[0] for cut in deck_of_cuts()])[:, None]
    assert not real.all()
    np.testing.assert_allclose(float(metrics["nats"]), nats[real].mean(), rtol=1e-4)
    np.testing.assert_allclose(float(metrics["nats_full"]), nats[full].mean(), rtol=1e-4)
    np.testing.assert_allclose(float(loss), (nats + CONFIG.z_loss * log_z**2)[real].mean(), rtol=1e-4)


def test_cross_attend_dropout_leaves_the_latents_own_inputs() -> None:
    """With nothing kept, every latent sees the inputs from its chunk's first latent on, and those exactly."""
    tokens = random_tokens(CONFIG.batch, N)
    reference = Reference(TOY, random_parameters(TOY))
    logits = logits_of(random_parameters(TOY), tokens, 0.0)
    for i, cut in enumerate(deck_of_cuts()):
        parts = [
            reference(tokens[i, :end], cut.segment, first + cut.context - cut.latents) for first, end in segments(cut)
        ]
        assert_close(logits[i], np.concatenate(parts))


def test_cross_attend_dropout_is_random_and_causal() -> None:
    """A new key drops other inputs; whatever is dropped, a latent knows nothing of what comes after it."""
    params, tokens = random_parameters(TOY), random_tokens(CONFIG.batch, N)
    before = logits_of(params, tokens, 0.5, seed=1)
    np.testing.assert_array_equal(before, logits_of(params, tokens, 0.5, seed=1))
    changed = np.abs(before - logits_of(params, tokens, 0.5, seed=2)).max(axis=(1, 2)) > 1e-4
    assert changed.tolist() == [cut.context > cut.latents + 1 for cut in deck_of_cuts()]
    positions = np.asarray(DIALS.positions(DECKS))
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
def test_the_decks_of_the_presets(name: str) -> None:
    """All settings fit every preset: half of the rows at the full one, and from nothing to an eighth of the context."""
    config = PRESETS[name]
    dials = Dials(all_settings(config.context, config.latents), config.context, config.latents)
    (whole,) = one_setting(config.context, config.latents)
    assert dials.rows == 16 and dials.cuts.count(dataclasses.replace(whole, rows=8)) == 1
    assert dials.full.sum() == 8 and dials.positions(1)[dials.full].min() == config.context - config.latents
    positions = np.asarray(dials.positions(1))
    assert positions.min() >= 0 and positions.max() == config.context - 1
    assert all(len(set(row)) == config.latents for row in positions)


@pytest.mark.parametrize(
    "cut", [Cut(1, 24, 3, 3), Cut(1, 24, 8, 3), Cut(1, 24, 4, 4), Cut(1, 25, 8, 8), Cut(1, 0, 8, 8), Cut(1, 24, 8, 0)]
)
def test_cuts_that_do_not_fit(cut: Cut) -> None:
    """A row must hold whole chunks, a chunk whole segments and its own latents."""
    with pytest.raises(ValueError, match="does not fit rows of 24 inputs and 8 latents"):
        Dials((cut,), N, M)


def test_too_few_latents_for_all_settings() -> None:
    """The finest cut is a 64th of the latents."""
    with pytest.raises(ValueError, match="does not fit rows of 256 inputs and 32 latents"):
        Dials(all_settings(256, 32), 256, 32)
