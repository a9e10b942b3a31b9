"""Train an audio codec on the recordings of `musicgen prep --audio-dir`.

A run writes two sets of weights, both in the form that `musicgen --codec` takes: `weights`, and from the time before
there were discriminators `before-discriminators`.  Those sharpen what spectra leave soft, but cost some of the mel
distance; at the end `weights` are the last, unless only the earlier ones reach the goals.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.training.job import WEIGHTS, Job
from musicgen.checkpoints import CheckpointError, codec_release
from musicgen.checkpoints.replace import replacing
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.dataset.audio_shards import AudioSet, Crops
from musicgen.model.codec.train import train_codec
from musicgen.model.codec.validation import make_validate
from musicgen.model.stop import still_computing

if TYPE_CHECKING:
    from musicgen.app.recipes import CodecRecipe

BEFORE = "before-discriminators"
GOAL_MEL, GOAL_SI_SDR = 1.0, 8.0  # at 6 kbps: the mel distance at most, the dB at least


def train_codec_on(recipe: CodecRecipe, job: Job) -> int:
    """Train until the recipe's steps or seconds are over or the job stops; returns the steps done.

    Raises BadInput for what a codec does not know, ShardError or ValueError if the data do not fit.
    """
    if job.start is not None:
        raise BadInput("--start does not go with a codec: its training begins with its own codebooks")
    config = recipe.train
    codec = config.codec
    if codec.sample_rate != SAMPLE_RATE:
        raise BadInput(f"the preset's codec has {codec.sample_rate} Hz, the audio data sets have {SAMPLE_RATE}")
    crops = Crops(AudioSet(job.data, "train"), batch=config.batch, samples=config.samples, seed=config.seed)
    length = recipe.validation_seconds * SAMPLE_RATE // codec.hop * codec.hop
    held_out = Crops(
        AudioSet(job.data, "validation"), batch=recipe.validation_rows, samples=length, seed=0, loudness=0.0
    )
    validate = make_validate(codec, config.losses, next(held_out)["wave"])

    def release(
        step: int, params: Mapping[str, jax.Array], adversarial: bool, figures: Mapping[str, float] = {}
    ) -> None:
        """Write the weights."""
        about = {"training": dataclasses.asdict(config), "validation": {"step": step, **figures}}
        arrays = {name: np.asarray(value) for name, value in params.items()}
        for name in (WEIGHTS,) if adversarial else (WEIGHTS, BEFORE):
            codec_release.release(job.out / name, codec, arrays, about, job.card("A codec", step))

    def at_checkpoint(step: int, params: Mapping[str, jax.Array], adversarial: bool) -> dict[str, float]:
        """Score the fixed pieces, write the weights."""
        figures = validate(params)
        release(step, params, adversarial, figures)
        return figures

    state = train_codec(
        config,
        crops,
        job.out,
        at_checkpoint=at_checkpoint,
        at_stop=release,
        released=lambda step: _steps_of(job.out / WEIGHTS) == step,
        show=job.show,
        stop=job.stop,
    )
    if not still_computing():
        choose(job.out)
    return int(state.step)


def _steps_of(folder: Path) -> int | None:
    """The steps that a codec in a run's folder was trained for; None if there is none that is whole."""
    try:
        return int(codec_release.load(folder).about["validation"]["step"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def choose(out: Path) -> None:
    """Make `weights` of a run those that are better by the goals: the last, unless only the earlier reach them."""
    if None in (_steps_of(out / BEFORE), _steps_of(out / WEIGHTS)) or _good(out / WEIGHTS) or not _good(out / BEFORE):
        return
    with replacing(out / WEIGHTS) as new:
        shutil.copytree(out / BEFORE, new, dirs_exist_ok=True)


def _good(folder: Path) -> bool:
    """Whether the figures at 6 kbps reach the goals; a codec that has no such bitrate has no goals."""
    figures: dict[str, float] = codec_release.load(folder).about["validation"]
    return "mel_6" not in figures or (figures["mel_6"] < GOAL_MEL and figures["si_sdr_6"] > GOAL_SI_SDR)
