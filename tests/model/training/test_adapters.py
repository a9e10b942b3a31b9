"""What is trained is what is decoded: adapters beside the model, and the same in its weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model import int4, low_rank, parameters, storage
from musicgen.model.config import ModelConfig
from musicgen.model.training import adapters, tune

TOY = ModelConfig(
    vocab_size=64, width=32, heads=2, kv_heads=1, local_layers=1, cross_attends=1, layers=1, context=16, latents=16
)


def toy() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A base as four bits hold it, and something trained on it."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in parameters.shapes(TOY).items()}
    stored = storage.quantize(drawn, int4.is_matrix, -2, 4)
    trained = adapters.initial(TOY, 4, seed=1)
    return stored, {name: x + rng.normal(0, 0.05, x.shape).astype(np.float32) for name, x in trained.items()}


def test_merged_or_beside() -> None:
    """The same logits but for the last bits; in eight bits nearly, in four far from it."""
    stored, trained = toy()
    base = {name: jnp.asarray(x) for name, x in storage.dequantize(stored).items()}
    params, factors = tune.apart(base, {name: jnp.asarray(x) for name, x in trained.items()}, None)
    tokens = jnp.asarray(np.random.default_rng(2).integers(1, 64, (1, 16)))
    beside = adapters.adapt(parameters.bind(TOY, params), factors)(tokens, latents=16)
    merged = {**storage.dequantize(stored), **low_rank.changes(stored, trained)}

    def logits_in(bits: int | None) -> np.ndarray:
        held = merged if bits is None else storage.dequantize(storage.quantize(merged, int4.is_matrix, -2, bits))
        return np.asarray(parameters.bind(TOY, {name: jnp.asarray(x) for name, x in held.items()})(tokens, latents=16))

    np.testing.assert_allclose(logits_in(None), beside, atol=1e-4)
    eight, four = (float(np.abs(logits_in(bits) - beside).mean()) for bits in (8, 4))
    assert eight < four / 4


def test_gradients_of_a_product() -> None:
    """Those that JAX finds by itself."""
    rng = np.random.default_rng(3)
    x, left, right, above = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, 5, 8), (8, 3), (3, 6), (2, 5, 6)))

    def plainly(x: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        return x @ left @ right

    value, back = jax.vjp(adapters.product, x, left, right)
    wanted, plain_back = jax.vjp(plainly, x, left, right)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    for found, expected in zip(back(above), plain_back(above), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_untrained_changes_nothing() -> None:
    """As they begin, factors add nothing, and a new kind stands between the old ones."""
    stored, _ = toy()
    base = storage.dequantize(stored)
    begun = adapters.initial(TOY, 4, seed=1)
    for name, now in low_rank.changes(stored, begun).items():
        np.testing.assert_array_equal(now, base[name])
    style = adapters.initial_style(base, slice(3, 6))
    changed = low_rank.changes(stored, style, style_token=7)
    assert list(changed) == ["embedding"]
    np.testing.assert_allclose(changed["embedding"][7], base["embedding"][3:6].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(np.delete(changed["embedding"], 7, 0), np.delete(base["embedding"], 7, 0))


def test_a_share_of_what_was_learnt() -> None:
    """All of it, none, or so far from the base to it."""
    stored, trained = toy()
    base, whole = storage.dequantize(stored), low_rank.changes(stored, trained)
    for share in (1.0, 0.75, 0.0):
        now = low_rank.changes(stored, {name: np.asarray(x) for name, x in adapters.shrink(trained, share).items()})
        for name, x in whole.items():
            np.testing.assert_allclose(now[name], base[name] + share * (x - base[name]), atol=1e-5)


@pytest.mark.parametrize(
    ("best", "kept"),
    [
        ({1.0: 1.0, 0.75: 1.1, 0.6: 1.15, 0.5: 1.2, 0.0: 1.05}, 1.0),
        ({1.0: 1.0, 0.75: 1.004, 0.6: 1.1, 0.5: 1.1, 0.0: 1.05}, 0.75),
        ({1.0: 1.0, 0.75: 0.9, 0.6: 0.91, 0.5: 0.95, 0.0: 1.05}, 0.5),
        ({1.0: 1.0, 0.75: 1.01, 0.6: 1.04, 0.5: 1.06, 0.0: 2.0}, 0.6),  # a twentieth of what was gained goes
    ],
)
def test_as_little_is_kept_as_will_do(best: dict[float, float], kept: float) -> None:
    """The smallest share whose held-out rows are about as good as with all of it."""
    state = tune.State(3, {}, (), {"a.right": jnp.ones(1)}, best[1.0], 0)
    rows = np.zeros((1, 4), np.int16)

    def nats_of(trained: dict[str, jax.Array], weights: object, rows: object) -> jax.Array:
        return jnp.asarray(best[round(float(trained["a.right"][0]), 3)])

    assert float(tune.keep(state, nats_of, {}, rows).best["a.right"][0]) == pytest.approx(kept)
    assert float(tune.keep(state, nats_of, {}, rows[:0]).best["a.right"][0]) == 0.75


@pytest.mark.parametrize("fault", ["another shape", "another name"])
def test_another_base(fault: str) -> None:
    stored, trained = toy()
    if fault == "another shape":
        trained["embedding"] = np.zeros((8, 32), np.float32)
    else:
        trained["nothing.kernel.left"] = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="the base"):
        low_rank.changes(stored, trained)
