"""Every preset has a recipe that can be run."""

from __future__ import annotations

import math

import pytest

from musicgen import checkpoints
from musicgen.app.recipes import CODES, NOTES, RECIPES, Recipe
from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.vocabulary import VOCABULARY, VOCABULARY_2
from musicgen.model import parameters
from musicgen.model.config import PRESETS
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import contexts_of


@pytest.mark.parametrize("name", PRESETS)
def test_recipes(name: str) -> None:
    """Each trains the preset of its name, in whole groups."""
    assert NOTES[name].train.model == PRESETS[name]
    assert contexts_of(NOTES[name].train).rows == 16


def test_models_of_notes_speak_the_vocabulary() -> None:
    """Whatever its size is by now."""
    for name in NOTES:
        recipe = RECIPES[name]
        vocabulary = VOCABULARY if NOTES[name].mixing is None else VOCABULARY_2
        assert isinstance(recipe, Recipe) and recipe.train.model.vocab_size == vocabulary.size


def test_piano_is_what_was_released() -> None:
    """The same shape, in batches of whole groups; its shares are one."""
    recipe = NOTES["piano"]
    released = checkpoints.load("piano").config
    assert RECIPES["piano"].train.model == released  # type: ignore[union-attr]
    assert recipe.train.batch % contexts_of(recipe.train).rows == 0
    assert sum(recipe.shares.values()) == pytest.approx(1) == sum(recipe.gap_shares.values())
    assert recipe.shares.keys() == recipe.gap_shares.keys()


def test_later_is_counted_in_windows() -> None:
    plain = Augmentation(0, 0.0, 0.0, 0)
    recipe = Recipe(TrainConfig(PRESETS["tiny"], steps=100, batch=16), plain, later=((0.75, plain),))
    assert recipe.changes() == [(1200, plain)]


@pytest.mark.parametrize("name", ["piano-codes", "piano-codes-sampled"])
@pytest.mark.parametrize("codebooks", [16, 24])
def test_weights_of_sound_that_can_ship(name: str, codebooks: int) -> None:
    """At 16 codebooks at most 45 MiB as int8; contexts up to 65,536 codes in whole frames."""
    config = CODES[name].over(codebooks, 1024)
    size = 0
    for parameter, shape in parameters.shapes(config.model).items():
        size += math.prod(shape) * (1 if parameter.endswith(".kernel") else 2)
    assert codebooks > 16 or size <= 45 * 2**20
    N = config.model.context * codebooks
    assert 65_000 < N <= 65_536 and N % (8 * codebooks) == 0
    contexts_of(config)  # whole groups
