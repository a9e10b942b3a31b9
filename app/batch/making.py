"""Making the pieces of a list: full batches of the engine, rows with seeds of their own, each file written when whole.

A batch is made by one function, wherever that is: in this process, or on a worker of a Dask cluster that sees the same
folder.  A row is, to the byte, the piece of a generation of its own with the same seed; on an engine that rounds
differently in batches of another size, its facts say in which it was, and `replay` makes one like it.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from musicgen.app import backend, novelty
from musicgen.app.batch.jobs import Job, prime_of
from musicgen.app.best_ending import RINGS_ON
from musicgen.app.errors import EnvironmentProblem, MusicgenError
from musicgen.app.generate import Model, Sample, begin, draw, finish, midi_file, new_seed, open_model, open_weights
from musicgen.app.output import write_bytes
from musicgen.app.prime import Prime, pack
from musicgen.data_prep import BOS

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

DIED = "the workers that made it died (out of memory?)"
CPU_ROWS, GPU_ROWS = 8, 32  # of a batch: as many as still make each of them cheaper


@dataclasses.dataclass(frozen=True)
class Made:
    """What became of one job: its piece's notes, tokens, seconds of new music, and the notes that it shares with a
    training piece; or the problem."""

    line: int
    out: str
    seed: int = 0
    notes: int = 0
    tokens: int = 0
    seconds: float = 0.0
    shares: int = 0
    problem: str | None = None


def plan(jobs: Sequence[Job], rows: int | None = None) -> list[tuple[Job, ...]]:
    """Batches of jobs that can be rows of one, of lengths that are alike, no more than `rows` each; in the list's order
    as far as that goes.

    rows: as many as suit the engine here unless given.
    """
    most = rows or (CPU_ROWS if backend.chosen() == backend.ONNX else GPU_ROWS)
    groups: dict[Hashable, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.key, []).append(job)
    batches = []
    for group in groups.values():
        group.sort(key=lambda job: job.settings.seconds)
        batches += [tuple(group[at : at + most]) for at in range(0, len(group), most)]
    return batches


def make_batch(
    checkpoint: str | None,
    sha256: str,
    folder: Path,
    jobs: Sequence[Job],
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> list[Made]:
    """Make these pieces in one batch and write them into the folder.

    checkpoint, sha256: of the weights.  on_progress: called with the seconds of new music that all of them have.
    Raises EnvironmentProblem if weights, engine or folder are not as they were where the job was started.
    """
    if not folder.is_dir():
        raise EnvironmentProblem(f"{platform.node()} does not see {folder}: mount it in the same place on each machine")
    model, index = _opened(checkpoint)
    if model.sha256 != sha256:
        raise EnvironmentProblem(f"the weights {model.name} on {platform.node()} are others: install the same musicgen")
    made, ready = [], []
    for job in jobs:
        try:
            ready.append((job, _prime(job), job.seed if job.seed is not None else new_seed()))
        except MusicgenError as error:
            made.append(Made(job.line, job.out, problem=str(error)))
    return made + _make(ready, model, index, folder, on_progress) if ready else made


Row = tuple[Job, Prime | None, int]  # and its seed


def _make(
    rows: Sequence[Row],
    model: Model,
    index: Index | None,
    folder: Path,
    on_progress: Callable[[float], None],
) -> list[Made]:
    """`make_batch`, of which pieces that are too near to the training set are drawn again with another seed."""
    made = []
    seeds, left = {job: seed for job, _, seed in rows}, list(rows)
    for attempt in range(1, novelty.ATTEMPTS + 1):
        near = []
        for (job, prime, _), sample in zip(left, _draw(left, model, on_progress), strict=True):
            if index is not None:
                sample = novelty.add_match(sample, index)
            shares = novelty.length(sample)
            if job.avoid_copies is None or shares < job.avoid_copies:
                made.append(_write(job, prime, sample, folder, shares))
            elif attempt < novelty.ATTEMPTS:
                near.append((job, prime, novelty.next_seed(seeds[job], attempt)))
            else:
                problem = f"it still shares {shares} notes with a training piece after {attempt} attempts"
                made.append(Made(job.line, job.out, problem=problem))
        left = near
        if not left:
            break
    return made


def _draw(rows: Sequence[Row], model: Model, on_progress: Callable[[float], None]) -> list[Sample]:
    """The pieces of a batch, of which each row has its own prime, seed and length."""
    # What compiles for each size is given few of them: copies of the last row fill up.
    size = len(rows) if model.engine.rows_alike else 1 << (len(rows) - 1).bit_length()
    full = [*rows, *[rows[-1]] * (size - len(rows))]
    before = [prime.tokens if prime is not None else np.array([BOS], np.int16) for _, prime, _ in full]
    settings = rows[-1][0].settings
    longest = max(job.settings.seconds for job, _, _ in rows)
    stream = begin(model, before, settings, tuple(seed for _, _, seed in full))
    drawn = draw(stream, size, longest + (RINGS_ON if settings.end else 0.0), on_progress)
    samples = []
    for number, (job, prime, seed) in enumerate(rows, start=1):
        alone = model.engine.rows_alike or size == 1
        own, place = (job.settings, 1) if alone else (dataclasses.replace(job.settings, num_samples=size), number)
        sample = finish(drawn.rows[number - 1], prime, before[number - 1], own, seed, place, model)
        facts = dataclasses.replace(sample.provenance, own_seeds=not alone)
        samples.append(dataclasses.replace(sample, provenance=facts))
    return samples


def _write(job: Job, prime: Prime | None, sample: Sample, folder: Path, shares: int) -> Made:
    write_bytes(folder / job.out, midi_file(sample, pack(prime) if prime is not None else None))
    seconds = sample.provenance.ended or job.settings.seconds
    return Made(job.line, job.out, sample.provenance.seed, sample.notes, int(sample.tokens.size), seconds, shares)


def _prime(job: Job) -> Prime | None:
    if job.prime is None:
        return None
    prime = prime_of(job.prime, job.settings.prime_seconds)
    if prime.sha256 != job.prime_sha256:
        raise EnvironmentProblem(f"{job.prime} has changed since the list was read: run the same command again")
    return prime


@functools.lru_cache(maxsize=1)
def _opened(checkpoint: str | None) -> tuple[Model, Index | None]:
    """The weights in an engine, and the index of their training set if there is one."""
    return open_model(open_weights(checkpoint)), novelty.training_set(checkpoint)[0]


def make_here(
    checkpoint: str | None,
    sha256: str,
    folder: Path,
    batches: Sequence[tuple[Job, ...]],
    on_progress: Callable[[float], None],
) -> Iterator[list[Made]]:
    """What became of the jobs, batch by batch, in this process; on_progress: of the batch at work, see `make_batch`."""
    for batch in batches:
        yield make_batch(checkpoint, sha256, folder, batch, on_progress)


def make_on_cluster(
    checkpoint: str | None, sha256: str, folder: Path, batches: Sequence[tuple[Job, ...]], address: str | None
) -> Iterator[list[Made]]:
    """As `make_here`, on the workers of a Dask cluster, in the order the batches are done.

    address: of its scheduler; None starts one of a single process here, since an engine takes all cores.
    """
    from musicgen.data_prep.dataset.cluster import map_on_cluster

    make = functools.partial(make_batch, checkpoint, sha256, folder)
    for batch, made in map_on_cluster(batches, make, address, None if address is not None else 1):
        yield made if made is not None else [Made(job.line, job.out, problem=DIED) for job in batch]
