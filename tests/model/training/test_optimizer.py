"""The update rule: what goes to Muon, how large an update is, and when."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import TOY, random_parameters

from musicgen.model.training.optimizer import OptimizerConfig, optimizer, schedule

# The first step at the top of the schedule and without decay of the weights.
FLAT = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=1e-3, warmup_steps=0, decay=0.5, weight_decay=0.0)
CONFIG = dataclasses.replace(TOY, width=64, widening=4)
TABLES_AND_SCALES = ("embedding", "logits.kernel", "query_scale", "key_scale")


def gradients(seed: int = 0, size: float = 1e-3) -> dict[str, jax.Array]:
    """Random, each entry about `size`: together below the clip."""
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(0, size, x.shape), jnp.float32) for name, x in random_parameters(CONFIG).items()
    }


def first_update(
    config: OptimizerConfig, grads: dict[str, jax.Array], compute: str = "float32"
) -> dict[str, np.ndarray]:
    """What the first step adds to the parameters."""
    params = {name: jnp.asarray(random_parameters(CONFIG)[name]) for name in grads}
    rule = optimizer(config, 1000, compute)
    updates, _ = jax.jit(rule.update)(grads, jax.jit(rule.init)(params), params)
    return {name: np.asarray(x) for name, x in updates.items()}


@pytest.fixture(scope="module")
def updates() -> dict[str, np.ndarray]:
    """Of the whole toy."""
    return first_update(FLAT, gradients())


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_matrices_are_orthogonalised(compute: str) -> None:
    """Muon: all singular values about equal, so that the root mean square is 0.2 of the learning rate at any shape."""
    shapes = set()
    for name, update in first_update(FLAT, gradients(), compute).items():
        if not name.endswith(TABLES_AND_SCALES):
            values = np.linalg.svd(update, compute_uv=False) / (0.2 * FLAT.learning_rate * max(update.shape) ** 0.5)
            assert np.quantile(values, 0.1) > 0.6 and values.max() < 1.35, name  # the least of a square one lag
            rms = np.sqrt((update**2).mean())
            assert 0.8 < rms / (0.2 * FLAT.learning_rate) < 1.2, name
            shapes.add(update.shape)
    assert len(shapes) == 4  # square, keys and values, up, down


def test_matrices_move_as_by_optax_muon(updates: dict[str, np.ndarray]) -> None:
    """Its own Muon makes the same of a first gradient; made in bfloat16 an update differs by a twentieth."""
    names = ["layers.1.up.kernel", "layers.1.down.kernel", "cross.0.key.kernel", "layers.0.out.kernel"]
    theirs = optax.contrib.muon(FLAT.learning_rate, consistent_rms=0.2)
    grads = {name: gradients()[name] for name in names}
    rounded = first_update(FLAT, gradients(), "bfloat16")
    expected, _ = theirs.update(grads, theirs.init(grads), grads)
    for name in names:
        scale = np.sqrt((updates[name] ** 2).mean())
        np.testing.assert_allclose(updates[name], expected[name], atol=1e-3 * scale)
        assert 0 < np.sqrt(((rounded[name] - updates[name]) ** 2).mean()) < 0.1 * scale
        assert rounded[name].dtype == np.float32


def test_tables_and_scales_go_to_adam(updates: dict[str, np.ndarray]) -> None:
    """In Adam's first step every entry moves by the same amount, against its gradient."""
    grads = gradients()
    names = [name for name in updates if name.endswith(TABLES_AND_SCALES)]
    assert len(names) == 2 + 2 * (CONFIG.local_layers + CONFIG.cross_attends + CONFIG.layers)
    for name in names:
        np.testing.assert_array_equal(np.sign(updates[name]), -np.sign(grads[name]))
        size = np.abs(updates[name])
        np.testing.assert_allclose(size, size.max(), rtol=0.1)
        assert 0.5 < size.max() / FLAT.adam_learning_rate < 2


def test_each_parameter_is_updated_by_itself(updates: dict[str, np.ndarray]) -> None:
    """Stacking those of one shape changes nothing: alone, or with others, an update is the same."""
    some = ["layers.1.up.kernel", "cross.0.key.kernel", "embedding", "local.1.key_scale"]
    alone = first_update(FLAT, {name: gradients()[name] for name in some})
    for name in some:
        np.testing.assert_allclose(alone[name], updates[name], rtol=1e-4, atol=5e-8)  # of 2e-3


def test_matrices_alone_decay() -> None:
    """Without gradients they shrink by learning rate times weight decay; tables and scales stay."""
    config = dataclasses.replace(FLAT, weight_decay=0.1)
    none = jax.tree.map(jnp.zeros_like, gradients())
    for name, update in first_update(config, none).items():
        rate = 0.0 if name.endswith(TABLES_AND_SCALES) else config.learning_rate * config.weight_decay
        np.testing.assert_allclose(update, -rate * random_parameters(CONFIG)[name], rtol=1e-5, err_msg=name)


def test_a_huge_gradient_is_clipped() -> None:
    """After it the moments are those of a gradient of norm `clip` in the same direction."""
    rule = optimizer(FLAT, 1000)
    params = {name: jnp.asarray(x) for name, x in random_parameters(CONFIG).items()}

    def moments(size: float) -> list[np.ndarray]:
        _, state = jax.jit(rule.update)(gradients(size=size), rule.init(params), params)
        return [np.asarray(x) for x in jax.tree.leaves(state)]

    for huge, large in zip(moments(1e6), moments(1e3), strict=True):
        np.testing.assert_allclose(huge, large, rtol=1e-4, atol=1e-12)


@given(
    warmup=st.integers(0, 50),
    steps=st.integers(200, 2000),
    decay=st.floats(0.05, 0.7),
    peak=st.floats(1e-4, 1e-1),
)
def test_schedule(warmup: int, steps: int, decay: float, peak: float) -> None:
    """Up from nothing, flat, down to nothing at the last step."""
    rate = schedule(dataclasses.replace(FLAT, warmup_steps=warmup, decay=decay), steps, peak)
    falls = steps - int(steps * decay)
    if warmup:
        assert float(rate(0)) == 0
        assert float(rate(warmup // 2)) == pytest.approx(peak * (warmup // 2) / warmup, rel=1e-4)
    assert float(rate(warmup)) == pytest.approx(peak, rel=1e-4)
    assert float(rate(falls)) == pytest.approx(peak, rel=1e-4)
    assert float(rate((falls + steps) // 2)) == pytest.approx(peak / 2, rel=0.1)
    assert float(rate(steps)) == pytest.approx(0, abs=1e-6 * peak)


def test_a_short_run_reaches_its_peak() -> None:
    """Of 16 steps 4 warm up, whatever the config says of longer runs."""
    rate = schedule(dataclasses.replace(FLAT, warmup_steps=100), 16, 1.0)
    assert [float(rate(step)) for step in (0, 2, 4, 8, 16)] == pytest.approx([0, 0.5, 1, 1, 0], abs=1e-6)
