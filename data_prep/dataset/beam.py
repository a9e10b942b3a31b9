"""Making the shards of a data set on Apache Beam (the `beam` extra), with the functions of the local runner.

Every shard is one element. The source and the output folder must be paths that every worker of the runner sees (a
shared file system, or one machine). The machine that starts the job reads the records that the workers wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from musicgen.data_prep.dataset import shards
from musicgen.data_prep.dataset.manifest import Entry, JobState, P, ShardPlan
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.extras import install_command

RUNNERS = {"direct": "DirectRunner", "flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}


def make_shards(
    job: JobState,
    make_shard: Callable[[JobState, ShardPlan[P]], Entry],
    missing: Sequence[ShardPlan[P]],
    runner: str,
    options: Sequence[str],
) -> dict[str, Entry]:
    """The records of the missing shards by name, once the runner has made them all.

    runner: direct, flink, spark, dataflow or Beam's own name for one.  options: Beam's command line options, such as
    "--flink_master=localhost:8081".  Raises PrepError if Beam is not installed, or refuses them.
    """
    make = partial(make_shard, replace(job, out=job.out.absolute()))
    with _pipeline(runner, options) as pipeline:
        import apache_beam

        elements = pipeline | "shards" >> apache_beam.Create(list(missing)) | apache_beam.Reshuffle()
        _ = elements | "make" >> apache_beam.Map(make)
    return {shard.name: shards.read_json(job.out / f"{shard.name}.json") for shard in missing}


def _pipeline(runner: str, options: Sequence[str]) -> Any:
    """An empty pipeline, which runs when it is left as a context."""
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise PrepError(f"the runner {runner!r} needs Apache Beam ({error}): {install_command('beam')}") from None
    try:
        return apache_beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS.get(runner, runner)}", *options]))
    except ValueError as error:  # an unknown runner, or options that it refuses
        raise PrepError(f"Apache Beam: {error}") from None
