"""The weights that a run leaves: averaged over its last steps, and in four bits where it trains such."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model import int4
from musicgen.model.config import ModelConfig
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.train import TrainState, average, left_by

CONFIG = TrainConfig(ModelConfig(), steps=20, averaged=4)


def averages(config: TrainConfig, values: list[float]) -> list[float]:
    """What is averaged after each step, the weights being these after it."""
    rule = average(config)
    params = {"x": jnp.float32(0)}
    state, found = rule.init(params), []
    for value in values:
        updates = {"x": value - params["x"]}
        passed, state = rule.update(updates, state, params)
        assert passed is updates
        params = {"x": jnp.float32(value)}
        found.append(float(state.params["x"]))
    return found


def test_the_first_steps_are_averaged_evenly() -> None:
    """What a run began with is forgotten at once; later steps count for one in `averaged`."""
    found = averages(CONFIG, [8, 4, 6, 2, 9])
    assert found[:4] == pytest.approx([8, 6, 6, 5]) and found[4] == pytest.approx(5 + (9 - 5) / 4)


def test_it_begins_anew_where_weights_are_rounded() -> None:
    config = dataclasses.replace(CONFIG, four_bits_from=0.1)
    assert averages(config, [8, 4, 6, 2]) == pytest.approx([8, 6, 6, 4])


def test_what_is_left_is_what_four_bits_hold() -> None:
    kernel = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    state = TrainState(jnp.int32(0), {"a.kernel": jnp.asarray(kernel)}, ())
    config = dataclasses.replace(CONFIG, averaged=0, four_bits_from=0.5)
    np.testing.assert_array_equal(left_by(config, state, 9)["a.kernel"], kernel)
    np.testing.assert_array_equal(left_by(config, state, 10)["a.kernel"], int4.dequantize(*int4.quantize(kernel)))
    assert left_by(dataclasses.replace(CONFIG, averaged=0), state, 20) is state.params
