"""How somebody's own music is taught: how long, how fast and how much of the model, by how much music there is."""

from __future__ import annotations

import dataclasses
import math

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.training.tune import TuneConfig

# All tokens of a window are targets, so that a second teaches most; longer windows taught less (benchmarks/tuning).
WINDOW = 1024
PASSES = 4  # through the music: after more of them, a few pieces are known by heart
FEWEST, MOST = 40, 2_000  # steps; about a minute of a GPU
WORK_ON_CPU = 120 * WINDOW * 75_121_792  # targets times parameters: 120 steps of `piano`, four minutes of two cores
# Of a model 896 wide, as `piano` is.  The narrower it is, the larger (Yang et al., 2022).
RATE, WIDTH, STYLE_RATE = 5e-4, 896, 5e-2
MILD = Augmentation(semitones=3, stretch=0.05, velocity=5)


def plan(base: ModelConfig, tokens: int, platform: str, style_token: int | None = None) -> TuneConfig:
    """The run for so many tokens of music, on a "cpu" or anything faster."""
    window = min(WINDOW, base.latents)
    steps = max(FEWEST, min(round(PASSES * tokens / window), most_steps(base, window, platform)))
    rate = RATE * WIDTH / base.width if style_token is None else STYLE_RATE
    model = dataclasses.replace(base, context=window, latents=window)
    return TuneConfig(model, steps, rank_of(tokens), rate, style_token=style_token)


def most_steps(base: ModelConfig, window: int, platform: str) -> int:
    """However much music there is: a CPU has time for more of a small model's."""
    size = sum(math.prod(shape) for shape in parameters.shapes(base).values())
    return min(MOST, WORK_ON_CPU // (window * size)) if platform == "cpu" else MOST


def rank_of(tokens: int) -> int:
    """Of the adapters: the more music, the more there is to learn."""
    return 4 if tokens < 20_000 else 8 if tokens < 400_000 else 16


def told(config: TuneConfig, tokens: int) -> str:
    """The plan in a line."""
    window = config.model.latents
    what = f"adapters of rank {config.rank}" if config.style_token is None else "the token of a new style"
    return (
        f"{config.steps} steps of {window:,} tokens, {config.steps * window / max(1, tokens):.1f} times the music;"
        f" {what} at a rate of {config.learning_rate:g}"
    )
