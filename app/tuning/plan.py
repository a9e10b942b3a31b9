"""How somebody's own music is taught: how long, how fast and how much of the model, by how much music there is."""

from __future__ import annotations

import dataclasses

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.model.config import ModelConfig
from musicgen.model.training.tune import TuneConfig

# All tokens of a window are targets: so a second of two CPU cores teaches most (benchmarks/tuning).
WINDOW = 1024
MILD = Augmentation(semitones=3, stretch=0.05, velocity=5)


@dataclasses.dataclass(frozen=True)
class Device:
    """What a machine can do in minutes: rows of a step, steps at the most, and the type that it computes in."""

    batch: int
    most_steps: int
    window: int
    compute: str


DEVICES = {"cpu": Device(1, 160, WINDOW, "float32"), "gpu": Device(8, 600, 4096, "bfloat16")}
PASSES = 12  # through the music at the most: by then a few pieces are known by heart
FEWEST = 40  # steps


def plan(base: ModelConfig, tokens: int, platform: str, seed: int, style_token: int | None = None) -> TuneConfig:
    """The run for so many tokens of music, on a "cpu" or anything faster."""
    device = DEVICES["cpu" if platform == "cpu" else "gpu"]
    window = min(device.window, base.context)
    latents = min(window, base.latents)
    steps = round(PASSES * tokens / (device.batch * latents))
    return TuneConfig(
        dataclasses.replace(base, context=window, latents=latents),
        steps=max(FEWEST, min(device.most_steps, steps)),
        batch=device.batch,
        rank=rank_of(tokens),
        compute=device.compute,
        seed=seed,
        style_token=style_token,
    )


def rank_of(tokens: int) -> int:
    """Of the adapters: the more music, the more there is to learn."""
    return 4 if tokens < 20_000 else 8 if tokens < 400_000 else 16


def told(config: TuneConfig, tokens: int) -> str:
    """The plan in a line."""
    drawn = config.steps * config.batch * config.model.latents
    what = f"adapters of rank {config.rank}" if config.style_token is None else "the token of a new style"
    return (
        f"{config.steps} steps of {config.batch * config.model.latents:,} tokens, {drawn / max(1, tokens):.1f} times"
        f" the music; {what} at a rate of {config.learning_rate:g}"
    )
