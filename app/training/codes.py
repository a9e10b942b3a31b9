"""Train a model of sound on the codes of `musicgen prep --audio-dir --codec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from musicgen import checkpoints
from musicgen.app.errors import BadInput
from musicgen.app.training.job import WEIGHTS, Job, history, open_start, train_model, warn_of_no_validation
from musicgen.data_prep.dataset.code_rows import CodeRows, frames_of
from musicgen.data_prep.dataset.codes import CodeSet
from musicgen.model.evaluate import nats_of_pieces

if TYPE_CHECKING:
    from musicgen.app.recipes import CodesRecipe

TOKENIZER = ("format", "codec", "codec_sha256", "frame_rate", "codebooks", "codebook_size")
VALIDATION_RECORDINGS, VALIDATION_SECONDS = 8, 60


def train_codes(recipe: CodesRecipe, job: Job) -> int:
    """Train until the recipe's steps are done or the job stops; returns the steps done.

    At every checkpoint job.out/weights gets the weights in released form.  Raises BadInput for a start that knows
    another codec, ShardError or ValueError if the data do not fit.
    """
    codes = CodeSet(job.data, "train")
    tokenizer = {name: codes.manifest[name] for name in TOKENIZER}
    config = recipe.over(tokenizer["codebooks"], tokenizer["codebook_size"])
    start = open_start(job)
    if start is not None:
        if start.tokenizer.get("codec_sha256") != tokenizer["codec_sha256"]:
            raise BadInput(f"--start {job.start}: those weights do not know the codes of {job.data}")
        config = dataclasses.replace(config, model=start.config)
    recordings = [codes.codes(i) for i in range(len(codes))]
    rows = CodeRows(recordings, batch=config.batch, frames=config.model.context, seed=config.seed)
    held_out = CodeSet(job.data, "validation")
    longest = VALIDATION_SECONDS * tokenizer["frame_rate"]
    count = min(len(held_out), VALIDATION_RECORDINGS)
    pieces = [frames_of(held_out.codes(i)[:longest]) for i in range(count)]
    M, N = config.model.latents, config.model.context

    if not pieces:
        warn_of_no_validation(job)

    def release(step: int, params: dict[str, Any], figures: Mapping[str, float] = {}) -> None:
        """Write the weights."""
        about = {"steps": step, "training": dataclasses.asdict(config), **figures, **history(start)}
        card, arrays = job.card("A model of sound", step), jax.device_get(params)
        checkpoints.release(job.out / WEIGHTS, config.model, arrays, tokenizer, about, card)

    def at_checkpoint(step: int, params: dict[str, Any]) -> dict[str, float]:
        """Score some of validation, write the weights."""
        nats = list(nats_of_pieces(config.model, params, pieces, latents=M, context=N, dtype=config.compute))
        figures = {"validation_nats": float(np.concatenate(nats).mean())} if nats else {}
        release(step, params, figures)
        return figures

    return train_model(job, config, rows, start, at_checkpoint, release)
