"""Every preset has a recipe that can be run."""

from __future__ import annotations

import pytest

from musicgen.app.recipes import RECIPES, Recipe
from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.model.config import PRESETS
from musicgen.model.training.train import TrainConfig, contexts_of


@pytest.mark.parametrize("name", PRESETS)
def test_recipes(name: str) -> None:
    """Each trains the preset of its name, in whole groups."""
    assert RECIPES[name].train.model == PRESETS[name]
    assert contexts_of(RECIPES[name].train).rows == 16


def test_later_is_counted_in_windows() -> None:
    plain = Augmentation(0, 0.0, 0.0, 0)
    recipe = Recipe(TrainConfig(PRESETS["tiny"], steps=100, batch=16), plain, later=((0.75, plain),))
    assert recipe.changes() == [(1200, plain)]
