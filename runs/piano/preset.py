"""What a leg trains: a preset of app/recipes.py, or a toy of its kind."""

from __future__ import annotations

import argparse
import dataclasses

from musicgen.app.recipes import NOTES, RECIPES, Recipe
from musicgen.model.config import ModelConfig

# Of rows with gaps and kinds of music.
PRESETS = [name for name, recipe in NOTES.items() if recipe.mixing is not None]


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The preset of --preset, at --context."""
    recipe = RECIPES[options.preset]
    assert isinstance(recipe, Recipe)
    model = recipe.train.model
    if options.context:
        model = dataclasses.replace(model, context=options.context)
    if options.toy:
        model = _toy(model)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, model=model))


def _toy(model: ModelConfig) -> ModelConfig:
    return dataclasses.replace(
        model, width=32, heads=2, local_layers=1, layers=1, cross_attends=1, widening=1, context=256, latents=64
    )
