"""The three stacks of the speed figure are what they are called."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model.config import PRESETS

CONFIG = dataclasses.replace(PRESETS["tiny"], vocab_size=17, width=16, heads=2, local_window=4)
N, M = 12, 4


@pytest.fixture
def figure(program: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = program("benchmarks/figure/figure.py")
    monkeypatch.setattr(module, "DTYPE", jnp.float32)
    return module


def test_one_block_with_a_memory_is_a_block_over_everything(figure: ModuleType) -> None:
    """Transformer-XL's memory of one block holds the inputs themselves; then it is a plain decoder's last M outputs."""
    blocks = figure.fresh(CONFIG, "plain", 1, 2, N, M).params["blocks"]
    x = jax.random.normal(jax.random.key(1), (2, N, CONFIG.width))
    whole, _ = figure.hidden(CONFIG, "plain", blocks, x, jnp.zeros(0), M)
    last, memory = figure.hidden(CONFIG, "transformer-xl", blocks, x, x[None, :, : N - M], M)
    np.testing.assert_allclose(last, whole[:, -M:], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(memory[0], x[:, M:])


@pytest.mark.parametrize("kind", ["perceiver-ar", "plain", "transformer-xl"])
def test_nothing_sees_what_comes_later(figure: ModuleType, kind: str) -> None:
    """The last input moves the last output alone; the first input moves the last output of all three."""
    state = figure.fresh(CONFIG, kind, 4, 1, N, M)
    memory = jax.random.normal(jax.random.key(0), state.memory.shape)
    x = jax.random.normal(jax.random.key(1), (1, N, CONFIG.width))

    @jax.jit
    def outputs(x: jax.Array) -> jax.Array:
        return figure.hidden(CONFIG, kind, state.params["blocks"], x, memory, M)[0][0]

    moved = jnp.abs(outputs(x.at[:, -1].add(1.0)) - outputs(x)).max(axis=1)
    assert (moved[:-1] == 0).all() and moved[-1] > 0
    first = 0 if kind != "transformer-xl" else N - M
    assert jnp.abs(outputs(x.at[:, first].add(1.0)) - outputs(x)).max(axis=1)[-1] > 0


@pytest.mark.nightly
def test_a_run_from_end_to_end(figure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell is measured with the same number of parameters, and told in the table."""
    monkeypatch.setitem(figure.PRESETS, "toy", CONFIG)
    settings = ["--preset", "toy", "--contexts", "8", "--depths", "3", "--latents", "4", "--rows", "1"]
    monkeypatch.setattr(sys, "argv", ["figure", str(tmp_path / "cells.jsonl"), *settings, "--seconds", "0"])
    figure.main()
    cells = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    assert {cell["kind"] for cell in cells} == set(figure.KINDS)
    assert len({cell["parameters"] for cell in cells}) == 1
    assert all(cell["steps_per_second"] > 0 for cell in cells)
    lines = figure.report([*cells[:2], cells[2] | {"out_of_memory": True}], tmp_path / "cells.png").splitlines()
    assert lines[2].startswith("| 8 | 3 |") and "out of memory" in lines[2]
