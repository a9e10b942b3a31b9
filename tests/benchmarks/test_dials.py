"""The grid of the dials: the targets it chooses, the nats they get, the table that comes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.evaluate import nats_of_pieces, windows


@pytest.fixture(scope="session")
def dials(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("benchmarks/dials/dials.py")


def cell(N: int, M: int, nats: list[float], targets: list[int]) -> dict:
    about = {"checkpoint": "toy", "checkpoint_sha256": "a" * 64, "own_context": 32, "own_latents": 16}
    about |= {"split": "validation", "every": 1, "blocks": 4, "dtype": "float32", "stride": M // 2}
    return {**about, "context": N, "latents": M, "nats": nats, "targets": targets}


SHAPE = {"width": 16, "heads": 2, "kv_heads": 1, "local_layers": 1}


def drawn(config: ModelConfig, mean: float) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Parameters around a mean, and pieces of three lengths."""
    rng = np.random.default_rng(0)
    shapes = sorted(parameters.shapes(config).items())
    params = {name: rng.normal(mean, 0.5, shape).astype(np.float32) for name, shape in shapes}
    return params, [rng.integers(3, 391, n).astype(np.int16) for n in (100, 30, 7)]


@given(targets=st.integers(1, 60_000), blocks=st.integers(0, 9))
def test_chosen_blocks(dials: ModuleType, targets: int, blocks: int) -> None:
    """As many blocks as asked for, whole except at the end, or everything."""
    chosen = dials.chosen_blocks(targets, blocks)
    assert len(chosen) == targets
    parts = [chosen[start : start + dials.BLOCK] for start in range(0, targets, dials.BLOCK)]
    assert all(part.all() or not part.any() for part in parts)
    assert sum(part.any() for part in parts) == (min(blocks, len(parts)) if blocks else len(parts))


def test_blocks_lie_everywhere(dials: ModuleType) -> None:
    """Over many pieces every part of a piece is as likely, its beginning too."""
    share = np.mean([dials.chosen_blocks(20 * dials.BLOCK + k, 4)[:: dials.BLOCK][:20] for k in range(900)], axis=0)
    assert np.allclose(share, 4 / 20.05, atol=0.04)


def test_the_nats_are_those_of_evaluate(dials: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell on some blocks gives their targets exactly what scoring everything gives them."""
    monkeypatch.setattr(dials, "BLOCK", 8)
    config = ModelConfig(**SHAPE, local_window=4, layers=1, cross_attends=1, context=32, latents=16)
    params, pieces = drawn(config, 1.0)
    for N, M, S in ((32, 16, 8), (32, 4, 2), (8, 8, 4)):
        made = dials.measure(config, params, pieces, cell(N, M, [], []) | {"blocks": 2, "stride": S}, 64)
        whole = nats_of_pieces(config, params, pieces, latents=M, context=N, stride=S, batch=2)
        for (nats, targets), piece, scored in zip(made, pieces, whole, strict=True):
            wanted = dials.chosen_blocks(len(piece) - 1, 2)
            assert targets == wanted.sum() <= 16
            assert nats == pytest.approx(float(scored[wanted].sum()), rel=1e-4)


def test_reading_once(program: Callable[[str], ModuleType]) -> None:
    """Where no block looks beside a note, a piece that is read once has the nats that evaluate gives it."""
    once = program("benchmarks/dials/once.py")
    config = ModelConfig(**SHAPE, local_window=1, layers=2, cross_attends=2, context=16, latents=8)
    params, pieces = drawn(config, 0.0)
    before = np.random.default_rng(1).integers(3, 391, 5)
    for N, M, S in ((32, 8, 4), (64, 2, 1), (16, 16, 8), (8, 8, 8)):  # farther than trained, as trained, less
        setting = {"latents": M, "context": N, "stride": S, "preamble": before, "dtype": "float32", "ids": 391}
        told = once.nats_of_pieces(config, params, pieces, batch=3, windows=windows, **setting)
        for nats, expected in zip(told, nats_of_pieces(config, params, pieces, **setting), strict=True):
            np.testing.assert_allclose(nats, expected, rtol=1e-3, atol=1e-3)


def test_standard_error(dials: ModuleType) -> None:
    """Equal pieces have none; with equal counts it is that of a plain mean."""
    assert dials.weighted([2.0, 4.0], [1, 2]) == (2.0, 0.0)
    values = np.random.default_rng(0).normal(size=50)
    mean, error = dials.weighted(values.tolist(), [1] * 50)
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(values.std(ddof=1) / 50**0.5)


def test_report(
    dials: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the lines alone: levels, differences piece by piece, a picture; a line cut short is dropped."""
    cells = [
        cell(32, 16, [20.0, 10.0], [10, 10]),
        cell(32, 4, [21.0, 11.0], [10, 10]),
        cell(8, 4, [25.0, 15.0], [10, 10]),
    ]
    path = tmp_path / "grid.jsonl"
    path.write_text("".join(json.dumps(cell) + "\n" for cell in cells) + '{"checkpoint": "to')
    monkeypatch.setattr(sys, "argv", ["dials.py", str(path)])
    dials.main()
    told = capsys.readouterr().out
    assert "| N=32 | 1.500 ± 0.500 | 1.600 ± 0.500 |" in told
    assert "| N=32 | +0.000 ± 0.000 | +0.100 ± 0.000 |" in told
    assert "| N=8 |  | +0.500 ± 0.000 |" in told
    assert (tmp_path / "grid.png").stat().st_size > 1000 and (tmp_path / "grid.md").read_text() in told
    assert len(path.read_text().splitlines()) == 3
