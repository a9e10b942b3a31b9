"""The same job on Apache Beam (the `beam` extra): its runners prepare the pieces and write the shards of `prep`.

The folder of MIDI files and the output folder must be paths that every worker of the runner sees (a shared file system,
or one machine). The machine that starts the job reads the records that the workers wrote and finishes the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from musicgen.data_prep.dataset import manifest as ledger
from musicgen.data_prep.dataset import shards
from musicgen.data_prep.dataset.pieces import SPLIT_ORDER, Item, Prepared, Rejected, prepare
from musicgen.data_prep.dataset.splits import PrepError

RUNNERS = {"direct": "DirectRunner", "flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}

Outcome = Prepared | Rejected
Place = tuple[int, str]  # of a piece in the order of the data set: (its split in SPLIT_ORDER, its name)


def make(
    book: ledger.Ledger,
    plans: Sequence[ledger.ShardPlan[Item]],
    done: dict[str, dict[str, Any]],
    tally: Any,
    runner: str = "direct",
    runner_options: Sequence[str] = (),
) -> None:
    """Make the shards that are not in ``done`` on a Beam runner, and add their records to it.

    See ``pipeline`` for ``runner``, its options and the errors.
    """
    missing = [shard for shard in plans if shard.name not in done]
    items = [(shard.name, item) for shard in missing for item in shard.items]
    kept = [
        (entry["tokens_sha256"], place(entry["split"], entry["name"]))
        for record in done.values()
        for entry in record["items"]
    ]
    pipeline_of = pipeline(runner, runner_options)
    tally.restart()
    with pipeline_of as pieces:
        _connect(pieces, items, kept, partial(_written, replace(book, out=book.out.absolute())))
    done.update({shard.name: shards.read_json(book.out / f"{shard.name}.json") for shard in missing})
    for shard in plans:
        tally.add_record(done[shard.name])


def pipeline(runner: str, options: Sequence[str]) -> Any:
    """An empty pipeline, which runs when it is left as a context.

    ``runner``: direct, flink, spark, dataflow or Beam's own name for one; ``options``: Beam's command line options,
    such as "--flink_master=localhost:8081". Raises PrepError if Beam is not installed, or refuses them.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise PrepError(
            f"the runner {runner!r} needs Apache Beam ({error}): pip install 'perceiver-musicgen[beam]'"
        ) from None
    try:
        return apache_beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS.get(runner, runner)}", *options]))
    except ValueError as error:  # an unknown runner, or options that it refuses
        raise PrepError(f"Apache Beam: {error}") from None


def _connect(
    pipeline: Any,
    items: Sequence[tuple[str, Item]],
    kept: Sequence[tuple[str, Place]],
    write: Callable[[tuple[str, Iterable[Outcome]], Mapping[str, str]], str],
) -> None:
    """The pipeline: (shard, item) -> prepare -> group by shard -> write, told which pieces equal earlier ones."""
    import apache_beam

    outcomes = (
        pipeline
        | "pieces" >> apache_beam.Create(items)
        | "spread" >> apache_beam.Reshuffle()
        | "prepare" >> apache_beam.MapTuple(_prepared)
    )
    hashes = (
        outcomes | "hashes" >> apache_beam.FlatMapTuple(_hashed),
        pipeline | "hashes of finished shards" >> apache_beam.Create(kept),
    )
    duplicates = (
        hashes
        | "all hashes" >> apache_beam.Flatten()
        | "equal pieces" >> apache_beam.GroupByKey()
        | "duplicates" >> apache_beam.FlatMapTuple(_duplicates)
    )
    by_shard = outcomes | "shards" >> apache_beam.GroupByKey()
    _ = by_shard | "write" >> apache_beam.Map(write, apache_beam.pvalue.AsDict(duplicates))


def place(split: str, name: str) -> Place:
    return SPLIT_ORDER.index(split), name


def _prepared(shard: str, item: Item) -> tuple[str, Outcome]:
    return shard, prepare(item)


def _hashed(shard: str, outcome: Outcome) -> Iterator[tuple[str, Place]]:
    if isinstance(outcome, Prepared):
        yield outcome.tokens_sha256, place(outcome.split, outcome.name)


def _duplicates(tokens_sha256: str, places: Iterable[Place]) -> Iterator[tuple[str, str]]:
    """(name of a piece that has to go, name of the equal piece that stays)"""
    first, *others = sorted(places)
    return ((name, first[1]) for _, name in others)


def _written(book: ledger.Ledger, group: tuple[str, Iterable[Outcome]], duplicate_of: Mapping[str, str]) -> str:
    """Write one shard from all its pieces, which come in any order."""
    shard, outcomes = group
    ordered = sorted(outcomes, key=lambda outcome: outcome.name)
    # The rule of the local runner, told beforehand which equal pieces stay.
    seen = {
        o.tokens_sha256: duplicate_of[o.name] for o in ordered if isinstance(o, Prepared) and o.name in duplicate_of
    }
    ledger.write_shard(book, shard, ledger.without_duplicates(ordered, seen))
    return shard
