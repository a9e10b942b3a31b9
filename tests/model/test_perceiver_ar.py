"""The forward pass: what it computes, what it sees, and what padding may not do."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference
from toys import TOY, assert_close, forward, random_parameters, random_tokens

from musicgen.model import parameters
from musicgen.model.attention import attend, local_attend
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.perceiver_ar import matmul_min_rows

pytestmark = pytest.mark.slow

N, M = 12, 5  # a context and latents at which most tests below look, so that one compilation serves them

SHAPES = {
    "one cross; window of 3": dataclasses.replace(TOY, cross_attends=1, layers=3, local_layers=1, local_window=3),
    "nothing local; one key head; nothing rotated; two crosses in four layers": dataclasses.replace(
        TOY, local_layers=0, kv_heads=1, rotary_fraction=0.0, layers=4
    ),
    "window of 1; each head its own keys; all rotated; two crosses in five layers": dataclasses.replace(
        TOY, local_layers=1, local_window=1, kv_heads=4, rotary_fraction=1.0, layers=5
    ),
}


@pytest.mark.parametrize("n, m", [(12, 5), (12, 12), (12, 1), (1, 1), (23, 8)])
def test_agrees_with_the_reference(n: int, m: int) -> None:
    """Numpy in float64, at lengths below, at and past the local window of 5, M = N and M = 1 among them."""
    params, tokens = random_parameters(TOY), random_tokens(2, n, seed=n)
    logits = np.asarray(forward(TOY)(params, tokens, latents=m))
    reference = Reference(TOY, params)
    assert_close(logits, np.stack([reference(row, m) for row in tokens]))


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_agrees_with_the_reference(name: str) -> None:
    """Numbers of layers, crosses and heads, rotated shares and windows."""
    config = SHAPES[name]
    params, tokens = random_parameters(config), random_tokens(1, N, config=config)
    logits = np.asarray(forward(config)(params, tokens, latents=M))
    assert_close(logits[0], Reference(config, params)(tokens[0], M))


def test_the_reference_can_tell() -> None:
    """A tenth of noise on any parameter is seen, so the agreement above says something about each of them."""
    params, tokens = random_parameters(TOY), random_tokens(N)
    before = Reference(TOY, params)(tokens, M)
    noise = np.random.default_rng(1)  # not 0, the seed of the parameters: it would only scale them
    for name, values in params.items():
        changed = values + noise.normal(0, 0.1 * values.std(), values.shape)
        with pytest.raises(AssertionError, match="off by"):
            assert_close(Reference(TOY, {**params, name: changed})(tokens, M), before, 1e-4)


@pytest.mark.parametrize("t", range(N))
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), m=st.sampled_from([M, N]))
def test_causality(t: int, seed: int, m: int) -> None:
    """Another token at t leaves every logit before t as it was, to the bit, and changes the first that may know it."""
    params, tokens = random_parameters(TOY), random_tokens(1, N, seed=seed)
    other = tokens.copy()
    other[0, t] = 3 + (tokens[0, t] - 3 + 1 + seed % 7) % 8
    before, after = (np.asarray(forward(TOY)(params, x, latents=m))[0] for x in (tokens, other))
    earlier = max(0, t - (N - m))
    np.testing.assert_array_equal(before[:earlier], after[:earlier])
    assert np.abs(before[earlier] - after[earlier]).max() > 1e-4


@given(seed=st.integers(0, 2**32 - 1), start=st.integers(0, N - 1), m=st.sampled_from([M, N]))
def test_what_padding_contains_does_not_matter(seed: int, start: int, m: int) -> None:
    """Whatever lies before a row's start, also where latents lie there, its logits are the same to the bit."""
    params, tokens = random_parameters(TOY), random_tokens(2, N, seed=seed)
    tokens[1, start:] = tokens[0, start:]
    starts = np.full(2, start, np.int32)
    one, other = np.asarray(forward(TOY)(params, tokens, starts, latents=m))
    real = max(0, start - (N - m))
    np.testing.assert_array_equal(one[real:], other[real:])
    assert np.isfinite(one).all() and np.isfinite(other).all()


@pytest.mark.parametrize("m", [M, N])
def test_a_padded_row_is_the_row_alone(m: int) -> None:
    """Rows of every length in one batch, padded on the left, are what each is without padding."""
    params, tokens = random_parameters(TOY), random_tokens(N, N)
    starts = np.arange(N, dtype=np.int32)
    logits = np.asarray(forward(TOY)(params, tokens, starts, latents=m))
    reference = Reference(TOY, params)
    for row, start in zip(range(N), starts, strict=True):
        real = min(m, N - start)
        assert_close(logits[row, m - real :], reference(tokens[row, start:], real))


@pytest.mark.parametrize("attention", [attend, functools.partial(local_attend, window=3)])
def test_a_query_in_the_padding_sees_its_own_key_alone(attention: Callable[..., jax.Array]) -> None:
    """With every key masked softmax would be uniform over the future, or not a number."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 6, heads, 8)).astype(np.float32) for heads in (4, 2, 2))
    out = np.asarray(attention(q, k, v, start=np.array([4, 6], np.int32)))
    own = np.repeat(v, 2, axis=2)  # two heads share each value
    np.testing.assert_allclose(out[0, :4], own[0, :4], rtol=1e-6)
    np.testing.assert_allclose(out[1], own[1], rtol=1e-6)


def test_no_padding_is_start_zero() -> None:
    """The masked and the plain path are one model."""
    params, tokens = random_parameters(TOY), random_tokens(2, N)
    for m in (M, N):
        plain = np.asarray(forward(TOY)(params, tokens, latents=m))
        assert_close(np.asarray(forward(TOY)(params, tokens, np.zeros(2, np.int32), latents=m)), plain, 1e-5)


@pytest.mark.parametrize("rows", [(1, 1), (1,), (3,), (2, 4), (9,)])
def test_few_rows_are_padded_for_the_product(rows: tuple[int, ...]) -> None:
    """What a GPU computes for one piece: no row is lost, none is added, and eight rows are multiplied, not one."""
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((*rows, 16), (16, 24)))
    np.testing.assert_allclose(jax.jit(matmul_min_rows)(x, kernel), x @ kernel, rtol=1e-5, atol=1e-5)
    (product,) = (eq for eq in jax.make_jaxpr(matmul_min_rows)(x, kernel).eqns if eq.primitive.name == "dot_general")
    assert np.prod(product.outvars[0].aval.shape[:-1]) == max(8, np.prod(rows))


def test_bfloat16_is_near() -> None:
    """What a GPU computes with; logits come out in float32."""
    params, tokens = random_parameters(TOY), random_tokens(2, N)
    model = parameters.bind(TOY, {name: jnp.asarray(x, jnp.bfloat16) for name, x in params.items()})
    logits = jax.jit(lambda tokens: model(tokens, latents=M, dtype=jnp.bfloat16))(tokens)
    assert logits.dtype == jnp.float32
    assert_close(np.asarray(logits), np.asarray(forward(TOY)(params, tokens, latents=M)), 0.1)


@pytest.mark.parametrize("m", [0, N + 1, -1])
def test_impossible_latents(m: int) -> None:
    """More latents than inputs, or none."""
    with pytest.raises(ValueError, match="latents must be between 1 and the context"):
        forward(TOY)(random_parameters(TOY), random_tokens(1, N), latents=m)


def test_a_fresh_model_knows_nothing() -> None:
    """Outputs start at zero: every block passes its input on and every token is equally likely."""
    logits = forward(TOY)(parameters.initial(TOY, 0), random_tokens(1, N), latents=M)
    np.testing.assert_array_equal(np.asarray(logits), 0)


def test_parameters_by_name() -> None:
    """Fresh ones depend on the seed alone; those that do not fit are refused by name."""
    one, same, other = (parameters.initial(TOY, seed) for seed in (1, 1, 2))
    assert {name: x.shape for name, x in one.items()} == parameters.shapes(TOY)
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.array_equal(one["embedding"], other["embedding"])
    with pytest.raises(ValueError, match="embedding"):
        parameters.bind(TOY, {name: x for name, x in one.items() if name != "embedding"})
    with pytest.raises(ValueError, match="logits.kernel"):
        parameters.bind(TOY, {**one, "logits.kernel": one["logits.kernel"].T})
    with pytest.raises(ValueError, match="surplus"):
        parameters.bind(TOY, {**one, "surplus": one["embedding"]})


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    """Each survives JSON, and its logits have the shape they should; nothing is computed."""
    config = PRESETS[name]
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config
    params = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameters.shapes(config).items()}
    tokens = jax.ShapeDtypeStruct((1, config.context), jnp.int32)
    out = jax.eval_shape(lambda p, t: parameters.bind(config, p)(t, latents=config.latents), params, tokens)
    assert (out.shape, out.dtype) == ((1, config.latents, config.vocab_size), jnp.float32)


def test_the_release_fits_into_the_repository() -> None:
    """Matrices of one byte a number, tables of two: at most 45 MiB."""
    sizes = {name: int(np.prod(shape)) for name, shape in parameters.shapes(PRESETS["release"]).items()}
    tables = sizes["embedding"] + sizes["logits.kernel"]
    assert sum(sizes.values()) + tables < 45 * 2**20


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": 5}, "do not divide"),
        ({"kv_heads": 3}, "do not divide"),
        ({"cross_attends": 3}, "cross_attends must be between 1 and layers"),
        ({"cross_attends": 0}, "cross_attends must be a whole number from 1 to"),
        ({"latents": 25}, "latents"),
        ({"latents": 0}, "latents"),
    ],
)
def test_shapes_that_cannot_be_built(change: dict[str, int], message: str) -> None:
    """One line says which."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TOY, **change)


def test_an_unknown_field_is_refused() -> None:
    """It would silently change the model."""
    with pytest.raises(ValueError, match="unknown fields: colour"):
        ModelConfig.from_dict({**TOY.to_dict(), "colour": 3})
