"""How long a run is, by the music, the model and the machine."""

from __future__ import annotations

import json

import pytest

from musicgen import checkpoints
from musicgen.app.tuning.plan import plan
from musicgen.model.config import ModelConfig


def config_of(name: str) -> ModelConfig:
    return ModelConfig(**json.loads((checkpoints.find(name) / "config.json").read_text())["model"])


@pytest.mark.parametrize(
    ("name", "tokens", "platform", "steps"),
    [
        ("piano", 5_000, "cpu", 40),  # however little there is
        ("piano", 20_000, "cpu", 78),  # four passes
        ("piano", 35_000, "cpu", 120),  # two cores have no time for four
        ("piano", 35_000, "gpu", 137),
        ("maestro-tiny", 35_000, "cpu", 273),  # they have for a twentieth of the parameters
        ("maestro-tiny", 10_000_000, "cpu", 2_000),
        ("piano", 10_000_000, "gpu", 2_000),
    ],
)
def test_how_many_steps(name: str, tokens: int, platform: str, steps: int) -> None:
    """By tokens, up to what a minute of a GPU or four minutes of two cores do."""
    assert plan(config_of(name), tokens, platform).steps == steps


def test_how_fast() -> None:
    """The rate that was measured for `piano`; narrower weights take larger steps, and a style's token its own."""
    assert plan(config_of("piano"), 9_000, "cpu").learning_rate == 5e-4
    assert plan(config_of("maestro-tiny"), 9_000, "cpu").learning_rate == pytest.approx(1.75e-3)
    assert plan(config_of("piano"), 9_000, "cpu", 400).learning_rate == 5e-2
