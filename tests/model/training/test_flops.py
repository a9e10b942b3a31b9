"""The stated arithmetic of a step is that of the matrices there are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import TOY

from musicgen.model import parameters
from musicgen.model.config import PRESETS
from musicgen.model.training.flops import forward_flops, matrix_parameters
from musicgen.model.training.multi_context import MultiContext, Slice, one_setting


@pytest.mark.parametrize("name", PRESETS)
def test_every_matrix_is_counted(name: str) -> None:
    """Block by block, and the logits; the embedding is a table that is looked up."""
    config = PRESETS[name]
    query_out, key_value, mlp, logits = matrix_parameters(config)
    blocks = config.local_layers + config.cross_attends + config.layers
    sizes = {n: int(np.prod(s)) for n, s in parameters.shapes(config).items() if n.endswith(".kernel")}
    assert logits == sizes.pop("logits.kernel")
    assert blocks * (query_out + key_value + mlp) == sum(sizes.values())


def test_the_count_is_that_of_the_compiler() -> None:
    """Where matrices are nearly all there is: within a few per cent of what XLA counts for the forward pass."""
    config, N, M, rows = dataclasses.replace(TOY, width=512, vocab_size=7, widening=4), 24, 8, 2
    params = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameters.shapes(config).items()}
    tokens = jax.ShapeDtypeStruct((rows, N), jnp.int32)
    forward = jax.jit(lambda params, tokens: parameters.bind(config, params)(tokens, latents=M))
    counted = forward.lower(params, tokens).cost_analysis()["flops"]
    stated = forward_flops(config, MultiContext(one_setting(N, M), N, M), rows, 1.0)
    assert stated == pytest.approx(counted, rel=0.05)


def test_attention_is_counted_by_what_is_seen() -> None:
    """Linear in the context at given latents; less with cross-attend dropout, short contexts and short segments."""

    bare = dataclasses.replace(TOY, local_layers=0)

    def flops(N: int, part: Slice, keep: float) -> float:
        keys_values = bare.cross_attends * 2 * N * matrix_parameters(bare)[1]
        return forward_flops(bare, MultiContext((part,), N, 8), 1, keep) - keys_values

    full = flops(24, Slice(1, 24, 8, 8), 1.0)
    key = 2 * 4 * bare.width * 8  # one key more for each latent, in two crosses or two self-attends: 4 D a pair
    assert flops(40, Slice(1, 40, 8, 8), 1.0) - full == 16 * key
    assert full - flops(24, Slice(1, 24, 8, 8), 0.5) == 8 * key
    assert full - flops(24, Slice(1, 24, 8, 2), 1.0) == 3 * key  # self-attends: 1 key on average, not 4
    assert full - flops(24, Slice(1, 12, 4, 4), 1.0) == (16 + 4 - 8 - 2) * key + 2 * key
    assert flops(24, Slice(1, 24, 8, 8, keep=1.0), 0.5) == full  # a slice's own share
