"""The engine on ONNX Runtime computes what the JAX model does.  tests/model/test_engine.py runs its streams."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from reference import Reference
from test_frames import FRAMES
from toys import TOY, AnyToken, assert_close, forward, random_parameters, random_tokens

from musicgen import checkpoints
from musicgen.model import parameters, perceiver_ar
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.graph import shapes
from musicgen.model.cpu.memory import rotations

pytestmark = pytest.mark.slow

# Of matrices and activations in whole numbers, relative to the largest logit; a toy of random weights is rougher than a
# trained model, for which benchmarks/cpu has the difference in nats.
ROUNDED = 0.08


def stored_weights(config: ModelConfig, bits: int = 8) -> dict[str, np.ndarray]:
    """Random parameters as a checkpoint stores them."""
    return checkpoints.quantize(random_parameters(config), bits)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"width": 64, "layers": 3},  # cross-attends before the first and the second layer only
        {"width": 48, "heads": 2, "kv_heads": 1, "cross_attends": 1},
        {"rotary_fraction": 0.0, "local_layers": 1},
        {"width": 256, "heads": 4, "kv_heads": 4, "rotary_fraction": 1.0},
    ],
)
def test_passes_and_steps_of_every_shape(changes: dict[str, int | float]) -> None:
    """Float weights: the reference to its own precision.  Rows are shorter than a window, as long, and longer."""
    config = dataclasses.replace(TOY, **changes)
    params = random_parameters(config)
    engine, reference = OnnxEngine(config, params, AnyToken()), Reference(config, params)
    tokens, starts = random_tokens(4, 16, seed=1), np.array([0, 2, 7, 11], np.int32)
    logits, cache = engine.prefill(tokens[:, :12], starts, latents=4, max_latents=8, max_inputs=24, free_inputs=4)
    for t in range(12, 16):
        for row, start in enumerate(starts):
            latents = min(4, 12 - start) + t - 12
            assert_close(logits[row], reference(tokens[row, start:t], latents)[-1])
        logits = engine.step(tokens[:, t], cache)
    assert cache.inputs.tolist() == [16, 14, 9, 5] and cache.latents.tolist() == [8, 8, 8, 5]


@pytest.mark.parametrize("rows, bits", [(1, 8), (3, 8), (1, 4), (3, 4)])
def test_weights_in_whole_numbers(rows: int, bits: int) -> None:
    """The very bytes of a checkpoint: near the JAX model with the same weights as floats, in every latent."""
    config = dataclasses.replace(TOY, width=128)
    weights = stored_weights(config, bits)
    assert weights["layers.0.up.kernel"].dtype == (np.uint8 if bits == 4 else np.int8)
    params = checkpoints.dequantize(weights)
    engine = OnnxEngine(config, weights, AnyToken())
    tokens = random_tokens(rows, 24, seed=rows)
    expected = np.asarray(forward(config)(params, jnp.asarray(tokens), latents=8))
    logits, inputs, read, _ = engine.run_pass(tokens, np.zeros(rows, np.int32), 8)
    assert inputs.tolist() == [24] * rows and read.tolist() == [8] * rows
    assert_close(logits, expected, tolerance=ROUNDED)
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.998
    last, cache = engine.prefill(
        tokens[:, :20], np.zeros(rows, np.int32), latents=4, max_latents=8, max_inputs=24, free_inputs=4
    )
    for t in range(20, 24):
        last = engine.step(tokens[:, t], cache)
    assert_close(last, expected[:, -1], tolerance=ROUNDED)


@pytest.mark.parametrize("rows", [1, 2])
def test_steps_round_no_activations(rows: int) -> None:
    """In four bits: what they add to the cache of a pass over floats is what the model itself computes, uncached.

    Matrices of 48 inputs have eight bits, and those of 96 beside them four.
    """
    for width in (64, 48):
        config = dataclasses.replace(TOY, width=width, heads=2)
        weights = stored_weights(config, 4)
        assert weights["layers.0.up.kernel"].dtype == (np.int8 if width == 48 else np.uint8)
        params = checkpoints.dequantize(weights)
        tokens = random_tokens(rows, 24, seed=rows)
        expected = np.asarray(forward(config)(params, jnp.asarray(tokens), latents=8))
        _, cache = OnnxEngine(config, params, AnyToken()).prefill(
            tokens[:, :20], np.zeros(rows, np.int32), latents=4, max_latents=8, max_inputs=24, free_inputs=4
        )
        engine = OnnxEngine(config, weights, AnyToken())
        for t in range(20, 24):
            assert_close(engine.step(tokens[:, t], cache), expected[:, t - 16])


def test_weights_that_are_too_short() -> None:
    """In four bits too: a matrix of too few inputs, or of which a scale is for something else, is refused by name."""
    weights = stored_weights(TOY, 4)
    short = {"layers.1.down.kernel": weights["layers.1.down.kernel"][:, :16]}
    with pytest.raises(ValueError, match=r"do not fit the config: layers\.1\.down\.kernel$"):
        OnnxEngine(TOY, weights | short, AnyToken())


def test_parameters_are_those_of_the_checkpoint() -> None:
    """What model/evaluate.py gets."""
    weights = stored_weights(TOY)
    params = OnnxEngine(TOY, weights, AnyToken()).params
    expected = checkpoints.dequantize(weights)
    assert set(params) == set(expected)
    for name, values in params.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected[name])


def test_weights_that_do_not_fit() -> None:
    """Missing, too many or of another shape: one line says which, before anything is computed."""
    weights = dict(random_parameters(TOY))
    for name, changed in (("more", {"more": np.zeros(3)}), ("embedding", {"embedding": weights["logits.kernel"]})):
        with pytest.raises(ValueError, match=f"do not fit the config: {name}$"):
            OnnxEngine(TOY, weights | changed, AnyToken())
    del weights["layers.0.up.kernel"]
    with pytest.raises(ValueError, match=r"do not fit the config: layers\.0\.up\.kernel$"):
        OnnxEngine(TOY, weights, AnyToken())


@pytest.mark.parametrize("config", [TOY, FRAMES, *PRESETS.values()])
def test_shapes_are_those_of_the_model(config: ModelConfig) -> None:
    """By name, for the toys and every preset."""
    assert shapes(config) == parameters.shapes(config)


def test_a_stream_much_longer_than_the_local_cache() -> None:
    """Rows of different lengths go round their local caches at different places; logits stay those of a whole pass."""
    config = dataclasses.replace(TOY, local_window=8, context=1000)
    engine = OnnxEngine(config, random_parameters(config), AnyToken())
    length, total = 60, 400
    tokens, starts = random_tokens(2, total, seed=5), np.array([0, 37], np.int32)
    logits, cache = engine.prefill(
        tokens[:, :length], starts, latents=20, max_latents=total, max_inputs=total, free_inputs=total - length
    )
    for t in range(length, total):
        if t % 40 == 0 or t == total - 1:
            for row, start in enumerate(starts):
                whole, *_ = engine.run_pass(tokens[row : row + 1, start:t], np.zeros(1, np.int32), 20 + t - length)
                assert_close(logits[row], whole[0, -1])
        logits = engine.step(tokens[:, t], cache)
    reference = Reference(config, random_parameters(config))
    assert_close(logits[1], reference(tokens[1, 37:], 20 + total - length)[-1], tolerance=1e-4)


def test_rotations_are_those_of_the_model() -> None:
    """The angles of perceiver_ar.rotary."""
    cos, sin = rotations(TOY, 50)
    pairs = cos.shape[1]
    x = np.zeros((1, 50, 1, TOY.head_size), np.float32)
    x[..., :pairs] = 1
    turned = np.asarray(perceiver_ar.rotary(jnp.asarray(x), jnp.arange(50)[None], TOY.rotary_fraction))[0, :, 0]
    np.testing.assert_allclose(turned[:, :pairs], cos, atol=2e-6)
    np.testing.assert_allclose(turned[:, pairs : 2 * pairs], sin, atol=2e-6)


@pytest.mark.parametrize("rows, bits", [(1, 8), (3, 8), (3, 4)])
def test_the_same_seed_the_same_tokens(rows: int, bits: int) -> None:
    """Also from another engine over the same weights, with another number of threads."""
    config = dataclasses.replace(TOY, width=128, heads=4, local_window=16)
    weights = stored_weights(config, bits)

    def tokens(threads: int, seed: int) -> np.ndarray:
        engine = OnnxEngine(config, weights, AnyToken(), threads=threads)
        stream = engine.start([random_tokens(30)] * rows, latents=32, context=64, seed=seed)
        return np.concatenate(list(itertools.islice(stream, 12)), axis=1)

    once = tokens(1, 7)
    np.testing.assert_array_equal(once, tokens(1, 7))
    np.testing.assert_array_equal(once, tokens(2, 7))
    assert not np.array_equal(once, tokens(1, 8))
    assert len({tuple(row) for row in once}) == rows


def test_outputs_that_are_no_numbers_end_a_stream() -> None:
    """With weights so large that they are finite and nothing computed from them is; it would draw the same for ever."""
    params = {name: np.asarray(x).copy() for name, x in random_parameters(TOY).items()}
    params["layers.0.up.kernel"][:] = 3e38
    stream = OnnxEngine(TOY, params, AnyToken()).start([random_tokens(6, seed=1).astype(np.int16)])
    with pytest.raises(FloatingPointError, match=r"no numbers \(NaN\)"), np.errstate(all="ignore"):
        for _ in range(3):
            next(stream)
