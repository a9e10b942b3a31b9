"""The residual vector quantiser against float64 numpy, its identities, and its straight-through gradient."""

from __future__ import annotations

import dataclasses
import functools

import codec_reference
import jax
import jax.numpy as jnp
import numpy as np
from codec_reference import TOY_CODEC, toy_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.model import parameters
from musicgen.model.codec.quantizer import (
    ResidualVectorQuantizer,
    ema_update,
    kmeans_init,
    nearest,
    perplexity,
    quantizer_dropout,
    replace_dead_codes,
)

Q, S, D = TOY_CODEC.codebooks, TOY_CODEC.codebook_size, TOY_CODEC.width


def only_quantizer() -> dict[str, jax.Array]:
    """Its parameters."""
    return {n.removeprefix("quantizer."): v for n, v in toy_parameters().items() if n.startswith("quantizer.")}


class Alone(ResidualVectorQuantizer):
    """Built like a whole codec, from (config, rngs)."""

    def __init__(self, config: object, rngs: object) -> None:
        super().__init__(rngs, config)  # type: ignore[arg-type]


def bound(params: dict[str, jax.Array] | None = None) -> ResidualVectorQuantizer:
    return parameters.bind(TOY_CODEC, only_quantizer() if params is None else params, Alone)


@functools.cache
def programs() -> tuple[jax.stages.Wrapped, ...]:
    """The codes of latents, the latents of codes, both at once with so many codebooks a row, and two codes alone."""
    return (
        jax.jit(lambda z: bound().encode(z)),
        jax.jit(lambda codes: bound().decode(codes)),
        jax.jit(lambda z, used: bound()(z, used)),
        jax.jit(lambda z: bound().encode(z, 2)),
    )


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_codes_are_those_of_the_reference() -> None:
    z = noise(1, 40, D)
    expected, margins = codec_reference.encode(toy_parameters(), z[0])
    actual = np.asarray(programs()[0](z))[0]
    clear = np.minimum.accumulate(margins, axis=1) > 1e-5  # a near tie may fall the other way, and all after it
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(actual[clear], expected[clear])
    sound = programs()[1](expected[None])
    np.testing.assert_allclose(sound[0], codec_reference.decode(toy_parameters(), expected), rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_identities(seed: int) -> None:
    z = noise(2, 3, D, seed=seed)
    encode, decode, quantise, encode_two = programs()
    codes = encode(z)
    assert codes.shape == (2, 3, Q)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < S
    everything = quantise(z, jnp.full(2, Q))
    np.testing.assert_array_equal(everything.codes, codes)
    np.testing.assert_allclose(everything.latents, decode(codes), rtol=1e-4, atol=1e-4)
    # The first codebooks say the same whether or not the others follow, and rows do not depend on each other.
    fewer = quantise(z, jnp.array([2, Q]))
    np.testing.assert_allclose(fewer.latents[0], decode(codes[..., :2])[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fewer.latents[1], everything.latents[1], rtol=1e-6)
    np.testing.assert_array_equal(encode_two(z), codes[..., :2])


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_an_entry_is_its_own_code(seed: int) -> None:
    entries = noise(S, D, seed=seed)
    np.testing.assert_array_equal(nearest(jnp.asarray(entries), jnp.asarray(entries)), np.arange(S))


def test_more_codebooks_are_nearer() -> None:
    """With codebooks that know what they quantise, each takes away a part of what is left."""
    z = noise(2000, D)
    entries = kmeans_init(jnp.asarray(z), jax.random.key(0), TOY_CODEC)
    quantizer = bound({"entries": entries})
    codes = jax.jit(quantizer.encode)(z[None])
    errors = [float(np.mean((quantizer.decode(codes[..., :q])[0] - z) ** 2)) for q in range(1, Q + 1)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * float(np.mean(z**2))


def test_fresh_codebooks_are_the_means_of_what_chose_them() -> None:
    """Few well separated clouds, so that the rounds of k-means come to rest."""
    config = dataclasses.replace(TOY_CODEC, codebooks=1, codebook_size=4)
    z = np.repeat(10 * np.eye(4, D, dtype=np.float32), 200, axis=0) + 0.01 * noise(800, D)
    entries = np.asarray(kmeans_init(jnp.asarray(z), jax.random.key(3), config))[0]
    chosen = np.argmin(((z[:, None] - entries) ** 2).sum(axis=-1), axis=1)
    assert len(set(chosen)) >= 2
    for s in set(chosen):
        np.testing.assert_allclose(entries[s], z[chosen == s].mean(axis=0), atol=1e-3)


def test_the_straight_through_gradient() -> None:
    """By finite differences of what straight-through pretends: codes held fixed, the latents follow z as it is."""
    z, direction, weights = noise(1, 2, D), noise(1, 2, D, seed=1), noise(1, 2, D, seed=2)
    fixed = np.asarray(programs()[2](z, jnp.array([Q])).latents, np.float64) - z

    def pretended(z: np.ndarray) -> float:
        return float(np.sum(weights * (z + fixed)))

    epsilon = 1e-3
    finite = (pretended(z + epsilon * direction) - pretended(z - epsilon * direction)) / (2 * epsilon)
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(weights * bound()(z, jnp.array([Q])).latents)))(z)
    np.testing.assert_allclose(np.sum(np.asarray(gradient) * direction), finite, rtol=1e-3)


def test_the_commitment_moves_what_is_quantised_alone() -> None:
    z, used = jnp.asarray(noise(2, 5, D)), jnp.array([Q, 1])
    params = only_quantizer()
    commit = jax.jit(jax.grad(lambda p, z: bound(p)(z, used).commitment, argnums=(0, 1)))(params, z)
    assert float(jnp.abs(commit[1]).max()) > 0
    assert float(jnp.abs(commit[0]["entries"]).max()) == 0
    closer = z - 0.1 * commit[1]
    quantise = programs()[2]
    assert float(quantise(closer, used).commitment) < float(quantise(z, used).commitment)


def test_entries_follow_what_chose_them() -> None:
    """A running mean with the weight of their use; rows that leave a codebook out do not count."""
    z, used, decay = jnp.asarray(noise(3, 7, D)), jnp.array([1, Q, 2]), 0.8
    quantized = programs()[2](z, used)
    entries, old_use = only_quantizer()["entries"], np.random.default_rng(1).uniform(0, 2, (Q, S))
    moved, use = ema_update(entries, jnp.asarray(old_use, jnp.float32), quantized, used, decay)
    for q in range(Q):
        rows = [b for b in range(3) if used[b] > q]
        codes = np.concatenate([np.asarray(quantized.codes)[b, :, q] for b in rows])
        seen = np.concatenate([np.asarray(quantized.residuals)[q, b] for b in rows])
        for s in range(S):
            share = (codes == s).mean() * S
            expected = decay * old_use[q, s] + (1 - decay) * share
            np.testing.assert_allclose(use[q, s], expected, rtol=1e-4)
            mean = seen[codes == s].mean(axis=0) if share else np.zeros(D)
            target = (decay * old_use[q, s] * np.asarray(entries)[q, s] + (1 - decay) * share * mean) / expected
            np.testing.assert_allclose(moved[q, s], target, rtol=1e-3, atol=1e-4)


def test_quantizer_dropout() -> None:
    used = np.asarray(quantizer_dropout(jax.random.key(0), 4000, Q, 0.5))
    assert set(used) == set(range(1, Q + 1))
    assert abs((used == Q).mean() - (0.5 + 0.5 / Q)) < 0.03
    assert (np.asarray(quantizer_dropout(jax.random.key(0), 100, Q, 0.0)) == Q).all()


def test_perplexity() -> None:
    even = np.ones((1, S))
    one = np.eye(1, S)
    half = np.repeat([[1.0, 0.0]], S // 2, axis=1).reshape(1, S)
    np.testing.assert_allclose(perplexity(jnp.asarray(np.concatenate([even, one, half]))), [S, 1, S / 2], rtol=1e-5)


def test_dead_entries_are_replaced() -> None:
    params = only_quantizer()
    residuals = jnp.asarray(noise(Q, 2, 30, D, seed=5))
    use = jnp.ones((Q, S)).at[1, 3].set(0.0).at[2, :4].set(0.01)
    entries, dead = replace_dead_codes(params["entries"], use, residuals, jax.random.key(0), 0.05)
    assert int(dead.sum()) == 5
    np.testing.assert_array_equal(entries[~dead], params["entries"][~dead])
    said = {tuple(row) for row in np.asarray(residuals[2]).reshape(-1, D).tolist()}
    assert all(tuple(row) in said for row in np.asarray(entries[2, :4]).tolist())
