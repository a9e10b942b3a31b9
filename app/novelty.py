"""How near new pieces are to the training set: found out, and drawn again where that is too near."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.evaluation.memorisation_report import find_index, nearest, open_index, without_prime
from musicgen.app.generate import Model, Report, Request, Result, Sample, generate
from musicgen.app.settings import derive_seed
from musicgen.data_prep import Performance
from musicgen.data_prep.performance import NO_PEDAL

if TYPE_CHECKING:
    from musicgen.app.fill import FillRequest, FillResult
    from musicgen.data_prep.evaluation.memorisation_index import Index

ATTEMPTS = 10


def add_matches(result: Result, index: Index) -> Result:
    """The same pieces with the longest match of each in its provenance."""
    return dataclasses.replace(result, samples=tuple(add_match(sample, index) for sample in result.samples))


def compare_with_training(result: Result, checkpoint: str | None) -> tuple[Result, str | None]:
    """`add_matches` by the index that comes with a checkpoint, or the same result and a line that says why not."""
    if find_index(checkpoint) is None:
        return result, "these weights come without an index of their training set, so pieces were not compared with it"
    try:
        return add_matches(result, open_index(None, checkpoint)), None
    except MusicgenError as error:
        return result, f"no piece was compared with the training set: {error}"


def generate_avoiding_copies(
    request: Request,
    model: Model,
    index: Index,
    limit: int,
    on_progress: Report = lambda seconds: None,
    on_again: Callable[[int], None] = lambda pieces: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Generate pieces, and draw those again that share ``limit`` notes that count, or more, with a training piece.

    A piece that is drawn again comes from a whole batch of another seed, which its provenance holds: `replay` needs to
    know nothing else, and the same first seed gives the same pieces.

    on_again: called with how many pieces are drawn again.
    should_stop: see `generate`; then none is drawn again.
    Raises BadInput if pieces are left that are too near after ATTEMPTS draws.
    """
    result = add_matches(generate(request, model, on_progress, should_stop), index)
    samples = list(result.samples)
    for attempt in range(1, ATTEMPTS + 1):
        near = [place for place, sample in enumerate(samples) if length(sample) >= limit]
        if not near or should_stop():
            return dataclasses.replace(result, samples=tuple(samples))
        if attempt == ATTEMPTS:
            break
        on_again(len(near))
        again = generate(dataclasses.replace(request, seed=next_seed(result.seed, attempt)), model, on_progress)
        for place in near:
            samples[place] = add_match(again.samples[place], index)
    raise BadInput(
        f"--avoid-copies {limit}: {len(near)} of {len(samples)} pieces still share that many notes with a training"
        f" piece after {ATTEMPTS} attempts: allow more, or choose a prime that is not in the training set"
    )


def next_seed(seed: int, attempt: int) -> int:
    """The seed of the batch that takes the place of a batch of this seed, number ``attempt``, from 1."""
    return derive_seed(seed, attempt)


def length(sample: Sample) -> int:
    """The notes that count in the longest match of a piece; 0 if it has none or was not compared."""
    return int((sample.provenance.memorisation or {"length": 0})["length"])


def add_match(sample: Sample, index: Index) -> Sample:
    """The same piece with its longest match in its provenance."""
    match: dict[str, Any] = nearest(without_prime(sample.music, sample.provenance.prime_notes), index) or {"length": 0}
    return dataclasses.replace(sample, provenance=dataclasses.replace(sample.provenance, memorisation=match))


def fill_avoiding_copies(
    request: FillRequest, model: Model, index: Index, limit: int, make: Callable[[FillRequest, Model], FillResult]
) -> FillResult:
    """Make fills, and more of them while any shares ``limit`` notes that count, or more, with a training piece.

    make: as `fill.fill`.  Every fill's own seed is in its provenance.
    Raises BadInput if too few are left after ATTEMPTS draws.
    """
    assert request.seed is not None
    count, kept = request.settings.num_samples, []
    for attempt in range(ATTEMPTS):
        seed = next_seed(request.seed, attempt) if attempt else request.seed
        result = make(dataclasses.replace(request, seed=seed), model)
        for one in result.fills:
            onset, end, pitch, velocity = np.array(one.notes).reshape(-1, 4).T
            match = nearest(Performance(onset, end, pitch.astype(int), velocity.astype(int), NO_PEDAL), index)
            if match is None or match["length"] < limit:
                kept.append(one)
        if len(kept) >= count:
            kept.sort(key=lambda one: one.nats if one.nats is not None else math.inf)
            return dataclasses.replace(result, fills=tuple(kept[:count]), seed=request.seed)
    raise BadInput(
        f"--avoid-copies {limit}: too many fills share that many notes with a training piece after {ATTEMPTS} attempts:"
        " allow more, or choose another passage"
    )
