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
from musicgen.app.training.job import WEIGHTS, Job, history, open_start, train_model, warn_of_no_validation
from musicgen.checkpoints.training_files import read_training_files, write_training_files
from musicgen.data_prep.dataset.loader import Batches, LoaderSettings, batches, with_ends
from musicgen.data_prep.dataset.mixture import mixed_batches
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.vocabulary import VOCABULARY, VOCABULARY_2
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.stop import still_computing
from musicgen.model.training.loss import contexts_of
from musicgen.model.training.train import in_four_bits

if TYPE_CHECKING:
    from musicgen.app.recipes import Recipe
    from musicgen.checkpoints import Released

SAMPLE_SECONDS = 30


def train_notes(recipe: Recipe, job: Job) -> int:
    """Train until the recipe's steps are done or the job stops; returns the steps done.

    At every checkpoint job.out/weights gets the weights in released form, and job.out/samples a piece.
    Raises BadInput for a start of other tokens, ShardError or ValueError if the data do not fit.
    """
    start, tokenizer = open_start(job), recipe.vocabulary.to_json()
    if start is not None:
        tokenizer = start.tokenizer
        if tokenizer not in (VOCABULARY.to_json(), VOCABULARY_2.to_json()):
            raise BadInput(f"--start {job.start}: those weights are of other tokens than MIDI's")
        if recipe.mixing is not None and tokenizer != VOCABULARY_2.to_json():
            raise BadInput(
                f"--start {job.start}: those weights know neither gaps nor styles: give piano, or leave it out"
            )
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, model=start.config))
    config, hosts = recipe.train, jax.process_count()
    rows = _rows(recipe, job)
    files = _files(job, start)
    pieces = _validation(recipe, job)
    if not pieces:
        warn_of_no_validation(job)

    def release(step: int, params: dict[str, Any], figures: Mapping[str, float] = {}) -> None:
        """Write the weights."""
        arrays = process_allgather(params, tiled=True) if hosts > 1 else jax.device_get(params)
        if jax.process_index() == 0:
            about = {"steps": step, "training": dataclasses.asdict(config), **figures, **history(start)}
            card = job.card("A model", step)
            bits = 4 if config.four_bits_from < 1 and in_four_bits(config, step) else 8
            checkpoints.release(job.out / WEIGHTS, config.model, arrays, tokenizer, about, card, bits)
            write_training_files(job.out / WEIGHTS, files)

    def at_checkpoint(step: int, params: dict[str, Any]) -> dict[str, float]:
        """Score some of validation, write the weights, write a sample."""
        figures = _score(recipe, params, pieces)
        release(step, params, figures)
        if job.samples and jax.process_index() == 0:
            _write_sample(job.out, step)
        return figures

    try:
        return train_model(job, config, rows, start, at_checkpoint, release)
    finally:
        if not still_computing():  # and reading
            rows.close()


def _rows(recipe: Recipe, job: Job) -> Batches:
    """The rows that this process trains on.  Raises BadInput if they cannot be shared out."""
    config, hosts = recipe.train, jax.process_count()
    if config.batch % hosts:
        raise BadInput(f"--batch {config.batch} cannot be shared out to {hosts} processes: use a multiple")
    settings = LoaderSettings(
        config.batch // hosts, config.model.context, config.seed, jax.process_index(), hosts, job.workers
    )
    if recipe.mixing is None:
        given = dataclasses.asdict(settings)
        return batches(job.data, "train", **given, augmentation=recipe.augmentation, later=recipe.changes())
    pieces, groups = ShardSet(job.data, "train"), contexts_of(config)
    shares = _shares(recipe, job, pieces)
    told = ", ".join(f"{plain:.1%} {name or job.data}" for name, (plain, _) in shares.items())
    job.show(f"musicgen: rows of {told}", {})
    changes = (recipe.augmentation, recipe.changes())
    return mixed_batches(pieces, shares, groups.gaps, settings, *changes, recipe.mixing)


def _shares(recipe: Recipe, job: Job, pieces: ShardSet) -> dict[str, tuple[float, float]]:
    """How much of the plain rows, and of those with gaps, is of each corpus.

    Raises BadInput if what is asked for names others, or not all.
    """
    notes: dict[str, float] = {}
    for i, count in enumerate(pieces.note_counts().tolist()):
        notes[pieces.source(i)] = notes.get(pieces.source(i), 0) + count
    if not notes:
        raise BadInput(f"{job.data} has no pieces in its split train: nothing to train on")
    if job.shares and job.shares.keys() != notes.keys():
        raise BadInput(f"--share names {', '.join(job.shares)}, but the corpora of {job.data} are {', '.join(notes)}")
    plain = job.shares or (recipe.shares if recipe.shares.keys() >= notes.keys() else notes)
    gaps = recipe.gap_shares if plain is recipe.shares and recipe.gap_shares else plain
    of_plain, of_gaps = (sum(shares[name] for name in notes) for shares in (plain, gaps))
    return {name: (plain[name] / of_plain, gaps[name] / of_gaps) for name in sorted(notes)}


def _validation(recipe: Recipe, job: Job) -> dict[str, list[np.ndarray]]:
    """By corpus some pieces that are scored at checkpoints, i16[T + 2] each from BOS to EOS."""
    pieces: dict[str, list[np.ndarray]] = {}
    held_out = ShardSet(job.data, "validation")
    for i in range(len(held_out)):
        pieces.setdefault(held_out.source(i), []).append(with_ends(held_out.tokens(i)))
    most = recipe.validation_pieces
    return {name: found[:: max(1, len(found) // most)][:most] for name, found in sorted(pieces.items())}


def _files(job: Job, start: Released | None) -> frozenset[str]:
    """The hashes of all files that the weights will have been trained on."""
    before = read_training_files(start.folder) if start is not None else frozenset()
    return before | {item["sha256"] for item in ShardSet(job.data, "train").items}


def _score(recipe: Recipe, params: dict[str, Any], pieces: Mapping[str, list[np.ndarray]]) -> dict[str, float]:
    """Nats a token of all these pieces, and of those of each corpus if there are several."""
    model = recipe.train.model
    nats = nats_of_pieces(
        model,
        params,
        [piece for found in pieces.values() for piece in found],
        latents=model.latents,
        context=model.context,
        batch=max(1, 65_536 // model.context),
        dtype=recipe.train.compute,
        preamble=preamble(),
        ids=VOCABULARY.size,
    )
    scored = iter(list(nats))
    by_corpus = {name: np.concatenate([next(scored) for _ in found]) for name, found in pieces.items()}
    if not by_corpus:
        return {}
    figures = {"validation_nats": float(np.concatenate(list(by_corpus.values())).mean())}
    each = {f"validation_nats_{name}": float(found.mean()) for name, found in by_corpus.items() if name}
    return figures | each


def _write_sample(out: Path, step: int) -> None:
    """Thirty seconds from nothing, always with the same seed, so that progress can be heard."""
    from musicgen.app.generate import Request, generate, midi_file, open_model, open_weights
    from musicgen.app.settings import Settings

    model = open_model(open_weights(str(out / WEIGHTS)))
    made = generate(Request(Settings(seconds=SAMPLE_SECONDS), None, seed=1), model)
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    write_bytes(folder / f"step-{step:06}.mid", midi_file(made.samples[0], None))
