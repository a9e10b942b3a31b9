"""How near new pieces are to the training set: found out, and drawn again where that is too near."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.evaluation.memorisation_report import find_index, nearest, open_index, without_prime
from musicgen.app.generate import Model, Report, Request, Result, Sample, generate
from musicgen.app.settings import derive_seed

if TYPE_CHECKING:
    from musicgen.app.fill import Fill, FillRequest, FillResult
    from musicgen.data_prep.evaluation.memorisation_index import Index

ATTEMPTS = 10


def add_matches(result: Result, index: Index) -> Result:
    """The same pieces with the longest match of each in its provenance."""
    return dataclasses.replace(result, samples=tuple(add_match(sample, index) for sample in result.samples))


def training_set(checkpoint: str | None) -> tuple[Index | None, str | None]:
    """The index that comes with a checkpoint, or None and a line that says why there is none."""
    if find_index(checkpoint) is None:
        return None, "these weights come without an index of their training set, so nothing was compared with it"
    try:
        return open_index(None, checkpoint), None
    except MusicgenError as error:
        return None, f"nothing was compared with the training set: {error}"


def compare_with_training(result: Result, checkpoint: str | None) -> tuple[Result, str | None]:
    """`add_matches` by `training_set`, or the same result and the line that says why not."""
    index, remark = training_set(checkpoint)
    return result if index is None else add_matches(result, index), remark


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
    should_stop: see `generate`; then none is drawn again, and those that are being drawn again are what they were.
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
        other = dataclasses.replace(request, seed=next_seed(result.seed, attempt))
        with _what_was_there(should_stop):
            again = generate(other, model, on_progress, should_stop)
            if not should_stop():
                for place in near:
                    samples[place] = add_match(again.samples[place], index)
    raise BadInput(
        f"--avoid-copies {limit}: {len(near)} of {len(samples)} pieces still share that many notes with a training"
        f" piece after {ATTEMPTS} attempts: allow more, or choose a prime that is not in the training set"
    )


@contextlib.contextmanager
def _what_was_there(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Stopped before the first note of what is drawn again: there is something to keep all the same."""
    try:
        yield
    except KeyboardInterrupt:
        if not should_stop():
            raise


def next_seed(seed: int, attempt: int) -> int:
    """The seed of the batch that takes the place of a batch of this seed, number ``attempt``, from 1."""
    return derive_seed(seed, attempt)


def length(one: Sample | Fill) -> int:
    """The notes that count in the longest match of a piece; 0 if it has none or was not compared."""
    return int((one.provenance.memorisation or {"length": 0})["length"])


def nearest_piece(one: Sample | Fill) -> tuple[int, str]:
    """How many notes a piece that was compared shares with a training piece, and with which."""
    match = one.provenance.memorisation or {}
    return length(one), str(match.get("title") or match.get("name"))


def add_match(sample: Sample, index: Index) -> Sample:
    """The same piece with its longest match in its provenance."""
    match: dict[str, Any] = nearest(without_prime(sample.music, sample.provenance.prime_notes), index) or {"length": 0}
    return dataclasses.replace(sample, provenance=dataclasses.replace(sample.provenance, memorisation=match))


def fill_avoiding_copies(
    request: FillRequest,
    limit: int,
    make: Callable[[FillRequest], FillResult],
    should_stop: Callable[[], bool] = lambda: False,
) -> FillResult:
    """Make fills, and draw those again that share ``limit`` notes that count, or more, with a training piece: as
    `generate_avoiding_copies` does with pieces.

    make: as `fill.fill`, with an index.
    Raises BadInput if fills are left that are too near after ATTEMPTS draws.
    """
    result = make(request)
    fills = {one.provenance.sample: one for one in result.fills}
    for attempt in range(1, ATTEMPTS + 1):
        near = [sample for sample, one in fills.items() if length(one) >= limit]
        if not near or should_stop():
            return dataclasses.replace(result, fills=tuple(sorted(fills.values(), key=lambda one: one.likelihood())))
        if attempt == ATTEMPTS:
            break
        other = dataclasses.replace(request, seed=next_seed(result.seed, attempt))
        with _what_was_there(should_stop):
            again = make(other)
            if not should_stop():
                fills |= {one.provenance.sample: one for one in again.fills if one.provenance.sample in near}
    raise BadInput(
        f"--avoid-copies {limit}: {len(near)} of {len(fills)} fills still share that many notes with a training piece"
        f" after {ATTEMPTS} attempts: allow more, or choose another passage"
    )
