"""Training over codes by the clock: the shapes that can ship, and the plan that is made anew."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from musicgen.data_prep.code_rows import CodeRows
from musicgen.model import parameters
from musicgen.model.train import dials_of


@pytest.fixture(scope="module")
def codes(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("benchmarks/codes/train.py")


@pytest.mark.parametrize("kind", ["frames", "flat"])
@pytest.mark.parametrize("codebooks", [16, 24])
def test_weights_that_can_ship(codes: ModuleType, kind: str, codebooks: int) -> None:
    """At 16 codebooks at most 45 MiB as int8; contexts up to 65,536 codes in whole frames."""
    model = codes.model_of(kind, codebooks, 1024, False)
    size = 0
    for name, shape in parameters.shapes(model).items():
        size += math.prod(shape) * (1 if name.endswith(".kernel") else 2)
    assert codebooks > 16 or size <= 45 * 2**20
    N = model.context * codebooks if kind == "frames" else model.context
    assert 65_000 < N <= 65_536 and N % (8 * codebooks) == 0
    dials_of(codes.config_of(kind, model, 100, False))  # whole decks


@pytest.mark.parametrize("planned, stops", [(1000, False), (850, False), (1200, True), (300, True)])
def test_a_plan_that_does_not_end_in_time(
    codes: ModuleType, monkeypatch: pytest.MonkeyPatch, planned: int, stops: bool
) -> None:
    """A step takes a second by a clock of the test's: too many steps, or far too few, stop the run; no others do."""
    model = codes.model_of("frames", 2, 8, True)
    config = codes.config_of("frames", model, planned, True)
    clock, sent = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    rows = CodeRows([np.zeros((200, 2), np.int16)], batch=1, frames=32, seed=0, flat=False)
    timed = codes.Timed(rows, config, deadline=1000.0, may_stop=True)
    for _ in range(codes.TIMED[1] * config.steps_per_dispatch + 1):
        next(timed)
        clock[0] += 1.0
    assert timed.speed == pytest.approx(1.0)
    assert (sent == [signal.SIGTERM]) == timed.stopped == stops
