"""Drawing tokens, against plain definitions of the filters in numpy."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musicgen.model.sampler import Sampling, sample

V, ROWS = 8, 2048


@jax.jit
def draw(key: jax.Array, logits: jax.Array, allowed: jax.Array, sampling: dict[str, jax.Array]) -> jax.Array:
    """With noise of JAX's own."""
    return sample(jax.random.gumbel(key, logits.shape), jnp.where(allowed, logits, -jnp.inf), sampling)


def drawn(logits: np.ndarray, allowed: np.ndarray, sampling: Sampling, seed: int = 0) -> np.ndarray:
    """Tokens i32 [B] for rows of logits [B, V]."""
    scalars = {name: jnp.asarray(value) for name, value in dataclasses.asdict(sampling).items()}
    return np.asarray(draw(jax.random.key(seed), jnp.asarray(logits, jnp.float32), jnp.asarray(allowed), scalars))


def distribution(logits: np.ndarray, allowed: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The probability of each token [V]; each filter by its definition, token by token, in float64."""
    tokens = sorted(np.flatnonzero(allowed), key=lambda token: (-logits[token], token))  # likeliest first
    if sampling.temperature == 0:
        return np.eye(V)[tokens[0]]
    weights = {token: math.exp((logits[token] - logits[tokens[0]]) / sampling.temperature) for token in tokens}
    share = {token: weight / sum(weights.values()) for token, weight in weights.items()}
    kept = set(tokens[: sampling.top_k] if sampling.top_k else tokens)
    kept &= {token for token in tokens if share[token] >= sampling.min_p * share[tokens[0]]}
    together, fewest = 0.0, set()
    for token in tokens:
        fewest.add(token)
        together += share[token]
        assume(abs(together - sampling.top_p) > 1e-5)  # which side of the limit a rounding falls is no matter
        if together >= sampling.top_p:
            break
    assume(all(abs(share[token] - sampling.min_p * share[tokens[0]]) > 1e-6 for token in tokens[1:]))
    kept &= fewest
    result = np.zeros(V)
    for token in kept:
        result[token] = share[token] / sum(share[other] for other in kept)
    return result


rows = st.lists(st.integers(-24, 24).map(lambda x: x / 8), min_size=V, max_size=V).map(np.array)  # ties happen
masks = st.lists(st.booleans(), min_size=V, max_size=V).filter(any).map(np.array)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
    top_p=st.one_of(st.just(1.5), st.floats(0.01, 0.99)).map(lambda p: min(p, 1.0)),
    top_k=st.integers(0, V + 2),
    min_p=st.one_of(st.just(0.0), st.floats(0.01, 0.99)),
)


@settings(max_examples=150)
@given(logits=rows, allowed=masks, sampling=samplings, seed=st.integers(0, 2**31 - 1))
def test_draws_follow_the_distribution(logits: np.ndarray, allowed: np.ndarray, sampling: Sampling, seed: int) -> None:
    """Thousands of draws come as often as they should, and never what a filter or the mask takes away."""
    expected = distribution(logits, allowed, sampling)
    tokens = drawn(np.tile(logits, (ROWS, 1)), np.tile(allowed, (ROWS, 1)), sampling, seed)
    counts = np.bincount(tokens, minlength=V)
    assert not counts[expected == 0].any()
    deviation = np.sqrt(ROWS * expected * (1 - expected))
    assert (np.abs(counts - ROWS * expected) <= 6.5 * deviation + 4).all()


@given(seed=st.integers(0, 2**31 - 1), temperature=st.sampled_from([0.0, 1e-30, 1e-9]))
def test_no_temperature_takes_the_likeliest(seed: int, temperature: float) -> None:
    """Whatever the seed; also at temperatures so low that nothing else could come."""
    rng = np.random.default_rng(seed)
    logits, allowed = rng.normal(0, 3, (ROWS, V)), rng.random((ROWS, V)) < 0.5
    allowed[np.arange(ROWS), rng.integers(0, V, ROWS)] = True
    tokens = drawn(logits, allowed, Sampling(temperature=temperature), seed)
    np.testing.assert_array_equal(tokens, np.where(allowed, logits.astype(np.float32), -np.inf).argmax(axis=-1))


@given(seed=st.integers(0, 2**31 - 1), sampling=samplings)
def test_every_row_has_its_own_mask(seed: int, sampling: Sampling) -> None:
    """Rows of one batch do not mix, and a masked token never comes, even if all the others are far less likely."""
    rng = np.random.default_rng(seed)
    logits, allowed = rng.normal(0, 30, (ROWS, V)), rng.random((ROWS, V)) < 0.3
    allowed[np.arange(ROWS), rng.integers(0, V, ROWS)] = True
    logits -= 1e4 * allowed
    tokens = drawn(logits, allowed, sampling, seed)
    assert allowed[np.arange(ROWS), tokens].all()


def test_turning_a_dial_compiles_nothing() -> None:
    """All settings are arguments of one compiled function."""
    logits, allowed = np.zeros((ROWS, V)), np.ones((ROWS, V), bool)
    drawn(logits, allowed, Sampling())
    before = draw._cache_size()
    for sampling in (Sampling(0.5), Sampling(0.0), Sampling(top_k=3), Sampling(top_p=0.5), Sampling(min_p=0.1)):
        drawn(logits, allowed, sampling)
    assert draw._cache_size() == before


@pytest.mark.parametrize(
    "setting, values",
    [
        ("temperature", [-0.1, math.nan, math.inf]),
        ("top_p", [0.0, -0.5, 1.01, math.nan]),
        ("top_k", [-1]),
        ("min_p", [-0.01, 1.01, math.nan]),
    ],
)
def test_settings_that_make_no_sense(setting: str, values: list[float]) -> None:
    """One line names the setting, as it is called on the command line, and the value."""
    for value in values:
        with pytest.raises(ValueError, match=f"{setting.replace('_', '-')} must .*{value}"):
            Sampling(**{setting: value})
