"""The residual vector quantiser against float64 numpy, its identities, and its straight-through gradient."""

from __future__ import annotations

import functools

import codec_reference
import jax
import jax.numpy as jnp
import numpy as np
from codec_reference import TOY_CODEC, toy_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.model import codec_parameters
from musicgen.model.quantizer import ResidualVectorQuantizer, code_counts, codebooks_used, perplexity, revive

Q, S, D = TOY_CODEC.codebooks, TOY_CODEC.codebook_size, TOY_CODEC.width


def only_quantizer() -> dict[str, jax.Array]:
    """Its parameters, with biases that are not zero."""
    return {n.removeprefix("quantizer."): v for n, v in toy_parameters().items() if n.startswith("quantizer.")}


class Alone(ResidualVectorQuantizer):
    """Built like a whole codec, from (config, rngs)."""

    def __init__(self, config: object, rngs: object) -> None:
        super().__init__(rngs, config)  # type: ignore[arg-type]


def bound(params: dict[str, jax.Array] | None = None) -> ResidualVectorQuantizer:
    return codec_parameters.bind(Alone, TOY_CODEC, only_quantizer() if params is None else params)


@functools.cache
def programs() -> tuple[jax.stages.Wrapped, jax.stages.Wrapped, jax.stages.Wrapped]:
    return (
        jax.jit(lambda z: bound().encode(z)),
        jax.jit(lambda codes: bound().decode(codes)),
        jax.jit(lambda z, used: bound()(z, used)),
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
    encode, decode, quantise = programs()
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
    np.testing.assert_array_equal(bound().encode(z, 2), codes[..., :2])


def test_an_entry_is_its_own_code() -> None:
    """With an orthonormal way up and back down, what a codebook says is understood as what was said."""
    params = only_quantizer()
    basis = np.linalg.qr(noise(D, D))[0][: TOY_CODEC.code_width].astype(np.float32)
    params |= {
        "up": jnp.broadcast_to(jnp.asarray(basis), params["up"].shape),
        "down": jnp.broadcast_to(jnp.asarray(basis.T), params["down"].shape),
        "up_bias": jnp.zeros_like(params["up_bias"]),
    }
    codes = jnp.arange(S, dtype=jnp.int32)[None, :, None]
    quantizer = bound(params)
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(codes), 1), codes)


def test_the_straight_through_gradient() -> None:
    """By finite differences: codes held fixed, the latents follow each codebook's input through down and up."""
    z, direction, weights = noise(1, 2, D), noise(1, 2, D, seed=1), noise(1, 2, D, seed=2)
    params = {name: np.asarray(value, np.float64) for name, value in only_quantizer().items()}

    def surrogate(z: np.ndarray) -> float:
        """What straight-through pretends: with residuals that are z less constants, entries that move with them."""
        return float(np.sum(weights * sum(z @ params["down"][q] @ params["up"][q] for q in range(Q))))

    epsilon = 1e-3
    finite = (surrogate(z + epsilon * direction) - surrogate(z - epsilon * direction)) / (2 * epsilon)
    gradient = jax.grad(lambda z: jnp.sum(weights * bound()(z, jnp.array([Q])).latents))(jnp.asarray(z))
    np.testing.assert_allclose(np.sum(np.asarray(gradient) * direction), finite, rtol=1e-3)


def test_losses_move_what_they_should() -> None:
    z, used = jnp.asarray(noise(2, 5, D)), jnp.array([Q, 1])
    params = only_quantizer()
    commit = jax.grad(lambda p, z: bound(p)(z, used).commitment, argnums=(0, 1))(params, z)
    book = jax.grad(lambda p, z: bound(p)(z, used).codebook, argnums=(0, 1))(params, z)
    assert float(jnp.abs(commit[1]).max()) > 0
    assert float(jnp.abs(commit[0]["entries"]).max()) == 0
    assert float(jnp.abs(book[1]).max()) == 0
    assert float(jnp.abs(book[0]["entries"]).max()) > 0


def test_quantizer_dropout() -> None:
    used = np.asarray(codebooks_used(jax.random.key(0), 4000, Q, 0.5))
    assert set(used) == set(range(1, Q + 1))
    assert abs((used == Q).mean() - (0.5 + 0.5 / Q)) < 0.03
    assert (np.asarray(codebooks_used(jax.random.key(0), 100, Q, 0.0)) == Q).all()


def test_statistics_of_use() -> None:
    codes = np.random.default_rng(0).integers(0, S, (3, 7, Q))
    used = np.array([1, Q, 2])
    counts = np.zeros((Q, S))
    for b in range(3):
        for q in range(used[b]):
            np.add.at(counts[q], codes[b, :, q], 1)
    np.testing.assert_array_equal(code_counts(jnp.asarray(codes), jnp.asarray(used), S), counts)
    even = np.ones((1, S))
    one = np.eye(1, S)
    half = np.repeat([[1.0, 0.0]], S // 2, axis=1).reshape(1, S)
    np.testing.assert_allclose(perplexity(jnp.asarray(np.concatenate([even, one, half]))), [S, 1, S / 2], rtol=1e-5)


def test_dead_entries_revive() -> None:
    params = only_quantizer()
    projected = jnp.asarray(noise(Q, 2, 30, TOY_CODEC.code_width, seed=5))
    use = jnp.ones((Q, S)).at[1, 3].set(0.0).at[2, :4].set(0.01)
    entries, dead = revive(params["entries"], use, projected, jax.random.key(0), 0.05)
    assert int(dead.sum()) == 5
    np.testing.assert_array_equal(entries[~dead], params["entries"][~dead])
    said = {tuple(row) for row in np.asarray(projected[2]).reshape(-1, TOY_CODEC.code_width).tolist()}
    assert all(tuple(row) in said for row in np.asarray(entries[2, :4]).tolist())
