"""Weights in four bits: what is stored is what training sees, and as near as four bits can be."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TOY, random_parameters

from musicgen.model import int4, parameters

SHAPES = [(32, 1), (32, 5), (96, 7), (3, 64, 2)]


def kernel(shape: tuple[int, ...], seed: int, size: float) -> np.ndarray:
    """Weights of all magnitudes around `size`, with ties, zeros and whole groups of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * size * np.exp2(rng.integers(-6, 7, (*shape[:-2], 1, shape[-1])))
    x[rng.random(shape) < 0.1] = 0
    x[..., :32, 0] = np.sign(x[..., :32, 0]) * size
    x[..., -32:, -1] *= rng.integers(2)
    return x.astype(np.float32)


@given(st.sampled_from(SHAPES), st.integers(0, 1 << 20), st.sampled_from([1e-5, 5e-4, 0.03, 1.0, 300.0]))
@settings(deadline=None)
def test_numpy_and_jax_agree_bit_for_bit(shape: tuple[int, ...], seed: int, size: float) -> None:
    """What is unpacked is what training saw, also where scales are hardly float16s; and it is its own rounding."""
    x = kernel(shape, seed, size)
    packed, scales = int4.quantize(x)
    assert packed.shape == (*shape[:-2], shape[-1], shape[-2] // 2) and packed.dtype == np.uint8
    assert scales.shape == (*shape[:-2], shape[-1], shape[-2] // 32) and scales.dtype == np.float16
    stored = int4.dequantize(packed, scales)
    trained = jax.jit(int4.fake_quantize)({"a.kernel": jnp.asarray(x)})["a.kernel"]
    np.testing.assert_array_equal(np.asarray(trained), stored)
    for again, before in zip(int4.quantize(stored), (packed, scales), strict=True):
        np.testing.assert_array_equal(again[..., : before.shape[-1]], before)


@given(st.sampled_from(SHAPES), st.integers(0, 1 << 20))
def test_error(shape: tuple[int, ...], seed: int) -> None:
    """The weight of largest magnitude comes back; others are off by half a scale, as large ones of the other sign by a
    whole one."""
    x = kernel(shape, seed, 1.0)
    groups = x.reshape(*shape[:-2], -1, 32, shape[-1])
    back = int4.dequantize(*int4.quantize(x)).reshape(groups.shape)
    largest = np.abs(groups).max(axis=-2, keepdims=True)
    assert (np.abs(back - groups) <= largest / 8 * 1.001).all()
    inner = np.abs(groups) < 7.4 / 8 * largest
    assert (np.abs(back - groups)[inner] <= (0 * groups + largest / 16 * 1.001)[inner]).all()
    np.testing.assert_allclose(np.abs(back).max(axis=-2), largest[..., 0, :], rtol=2**-11)


def test_layout() -> None:
    """Written out: output after output, its inputs in order, the even ones in the lower halves."""
    x = np.zeros((64, 2), np.float32)
    x[:32, 1] = np.r_[-8, 7, 1, -1, np.zeros(28)] * 0.5
    x[32:, 1] = np.r_[16, np.zeros(31)]
    packed, scales = int4.quantize(x)
    assert packed[0].tolist() == [0x88] * 32 and scales.tolist() == [[0, 0], [0.5, -2]]
    assert packed[1].tolist() == [0xF0, 0x79] + [0x88] * 14 + [0x80] + [0x88] * 15
    np.testing.assert_array_equal(int4.dequantize(packed, scales), x)


def test_gradients_go_straight_through() -> None:
    """As if nothing were rounded, of the rounded value's loss; also of weights that were cut off."""
    x = jnp.asarray(kernel((64, 3), 0, 1.0))

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(int4.fake_quantize({"a.kernel": x})["a.kernel"] ** 2)

    expected = 2 * int4.dequantize(*int4.quantize(np.asarray(x)))
    np.testing.assert_allclose(jax.grad(loss)(x), expected, rtol=1e-6)


@pytest.mark.parametrize("width, left", [(32, ()), (48, ("query", "key", "value", "out", "up"))])
def test_which_parameters(width: int, left: tuple[str, ...]) -> None:
    """Matrices of blocks in whole groups; neither table, logits nor scales."""
    config = dataclasses.replace(TOY, width=width)
    names = {name for name, shape in parameters.shapes(config).items() if int4.in_four_bits(name, shape)}
    blocks = [f"{kind}.{i}" for kind in ("local", "cross", "layers") for i in range(2)]
    parts = {"query", "key", "value", "out", "up", "down"} - set(left)
    assert names == {f"{block}.{part}.kernel" for block in blocks for part in parts}
    params = random_parameters(config)
    changed = {name for name, x in int4.fake_quantize(params).items() if not np.array_equal(x, params[name])}
    assert changed == names
