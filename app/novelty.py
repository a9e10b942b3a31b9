"""How near new pieces are to the training set: told in their facts, and drawn again where that is too near."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.evaluation.memorisation_report import find_index, nearest, open_index, without_prime
from musicgen.app.generate import Model, Report, Request, Result, Sample, generate
from musicgen.app.settings import derived_seed

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

ATTEMPTS = 10


def with_matches(result: Result, index: Index) -> Result:
    """The same pieces with the longest match of each in its facts."""
    return dataclasses.replace(result, samples=tuple(with_match(sample, index) for sample in result.samples))


def compared(result: Result, checkpoint: str | None) -> tuple[Result, str | None]:
    """`with_matches` by the index that comes with a checkpoint, or the same result and a line that says why not."""
    if find_index(checkpoint) is None:
        return result, "these weights come without an index of their training set: no piece was compared with it"
    try:
        return with_matches(result, open_index(None, checkpoint)), None
    except MusicgenError as error:
        return result, f"no piece was compared with the training set: {error}"


def generate_apart(
    request: Request,
    model: Model,
    index: Index,
    limit: int,
    on_progress: Report = lambda seconds: None,
    on_again: Callable[[int], None] = lambda pieces: None,
) -> Result:
    """Generate pieces, and draw those again that share ``limit`` notes that count, or more, with a training piece.

    A piece that is drawn again comes from a whole batch of another seed, which its facts hold: `replay` needs to know
    nothing else, and the same first seed gives the same pieces.

    on_again: told how many pieces are drawn again.
    Raises BadInput if pieces are left that are too near after ATTEMPTS draws.
    """
    result = with_matches(generate(request, model, on_progress), index)
    samples = list(result.samples)
    for attempt in range(1, ATTEMPTS + 1):
        near = [place for place, sample in enumerate(samples) if length(sample) >= limit]
        if not near:
            return dataclasses.replace(result, samples=tuple(samples))
        if attempt == ATTEMPTS:
            break
        on_again(len(near))
        again = generate(dataclasses.replace(request, seed=next_seed(result.seed, attempt)), model, on_progress)
        for place in near:
            samples[place] = with_match(again.samples[place], index)
    raise BadInput(
        f"--no-memorised {limit}: {len(near)} of {len(samples)} pieces still share so many notes with a training piece"
        f" after {ATTEMPTS} draws: choose a higher number, or a prime that is not itself from the training set"
    )


def next_seed(seed: int, attempt: int) -> int:
    """The seed of the batch that takes the place of a batch of this seed, number ``attempt``, from 1."""
    return derived_seed(seed, attempt)


def length(sample: Sample) -> int:
    """The notes that count in the longest match of a piece; 0 if it has none or was not compared."""
    return int((sample.facts.memorisation or {"length": 0})["length"])


def with_match(sample: Sample, index: Index) -> Sample:
    """The same piece with its longest match in its facts."""
    match: dict[str, Any] = nearest(without_prime(sample.music, sample.facts.prime_notes), index) or {"length": 0}
    return dataclasses.replace(sample, facts=dataclasses.replace(sample.facts, memorisation=match))
