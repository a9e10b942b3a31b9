"""Train a model of notes on the shards of `musicgen prep --midi-dir`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from musicgen import checkpoints
from musicgen.app.errors import BadInput
from musicgen.app.output import write_bytes
from musicgen.app.training.job import WEIGHTS, Job, history, is_released, open_start, warn_of_no_validation
from musicgen.checkpoints.training_files import read_training_files, write_training_files
from musicgen.data_prep.dataset.loader import batches, evaluation_pieces
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.vocabulary import VOCABULARY, VOCABULARY_2
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.training.stop import still_computing
from musicgen.model.training.train import train

if TYPE_CHECKING:
    from musicgen.app.recipes import Recipe
    from musicgen.checkpoints import Released

SAMPLE_SECONDS = 30


def train_notes(recipe: Recipe, job: Job) -> int:
    """Train until the recipe's steps are done or the job stops; returns the steps done.

    At every checkpoint job.out/weights gets the weights in released form, and job.out/samples a piece.
    Raises BadInput for a start of other tokens, ShardError or ValueError if the data do not fit.
    """
    start, tokenizer = open_start(job), VOCABULARY.to_json()
    if start is not None:
        tokenizer = start.tokenizer
        if tokenizer not in (VOCABULARY.to_json(), VOCABULARY_2.to_json()):
            raise BadInput(f"--start {job.start}: those weights are of other tokens than MIDI's")
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, model=start.config))
    config, hosts = recipe.train, jax.process_count()
    if config.batch % hosts:
        raise BadInput(f"--batch {config.batch} cannot be shared out to {hosts} processes: use a multiple")
    rows = batches(
        job.data,
        "train",
        batch=config.batch // hosts,
        context=config.model.context,
        seed=config.seed,
        augmentation=recipe.augmentation,
        later=recipe.changes(),
        host_index=jax.process_index(),
        host_count=hosts,
        workers=job.workers,
    )
    files = _files(job, start)
    pieces = [tokens for _, tokens in evaluation_pieces(job.data, "validation")]
    pieces = pieces[:: max(1, len(pieces) // recipe.validation_pieces)][: recipe.validation_pieces]
    if not pieces:
        warn_of_no_validation(job)

    def release(step: int, params: dict[str, Any], figures: Mapping[str, float] = {}) -> None:
        """Write the weights."""
        arrays = process_allgather(params, tiled=True) if hosts > 1 else jax.device_get(params)
        if jax.process_index() == 0:
            about = {"steps": step, "training": dataclasses.asdict(config), **figures, **history(start)}
            card = job.card("A model", step)
            checkpoints.release(job.out / WEIGHTS, config.model, arrays, tokenizer, about, card)
            write_training_files(job.out / WEIGHTS, files)

    def at_checkpoint(step: int, params: dict[str, Any]) -> dict[str, float]:
        """Score some of validation, write the weights, write a sample."""
        figures = _score(recipe, params, pieces)
        release(step, params, figures)
        if job.samples and jax.process_index() == 0:
            _write_sample(job.out, step)
        return figures

    try:
        state = train(
            config,
            rows,
            job.out,
            start=None if start is None else start.params,
            at_checkpoint=at_checkpoint,
            at_stop=release,
            released=lambda step: is_released(job, step),
            show=job.show,
            stop_after=job.stop_after,
        )
    finally:
        if not still_computing():  # and reading
            rows.close()
    return int(state.step)


def _files(job: Job, start: Released | None) -> frozenset[str]:
    """The hashes of all files that the weights will have been trained on."""
    before = read_training_files(start.folder) if start is not None else frozenset()
    return before | {item["sha256"] for item in ShardSet(job.data, "train").items}


def _score(recipe: Recipe, params: dict[str, Any], pieces: list[np.ndarray]) -> dict[str, float]:
    model = recipe.train.model
    nats = nats_of_pieces(
        model,
        params,
        pieces,
        latents=model.latents,
        context=model.context,
        batch=max(1, 65_536 // model.context),
        dtype=recipe.train.compute,
        preamble=preamble(),
        ids=VOCABULARY.size,
    )
    scored = list(nats)
    return {"validation_nats": float(np.concatenate(scored).mean())} if scored else {}


def _write_sample(out: Path, step: int) -> None:
    """Thirty seconds from nothing, always with the same seed, so that progress can be heard."""
    from musicgen.app.generate import Request, generate, midi_file, open_model, open_weights
    from musicgen.app.settings import Settings

    model = open_model(open_weights(str(out / WEIGHTS)))
    made = generate(Request(Settings(seconds=SAMPLE_SECONDS), None, seed=1), model)
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    write_bytes(folder / f"step-{step:06}.mid", midi_file(made.samples[0], None))
