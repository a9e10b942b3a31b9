"""Where the shards of a data set are made other than by processes of this machine: on a Dask cluster or by Apache Beam.

Every shard is one element. The source and the output folder must be paths that every worker sees (a shared file system,
or one machine).
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from musicgen.data_prep.dataset import shards
from musicgen.data_prep.dataset.manifest import Assigned, Entry, JobState, ShardPlan, cut
from musicgen.data_prep.errors import EngineError, PrepError
from musicgen.data_prep.extras import install_command


class Filed(Assigned, Protocol):
    """Something of a data set that is made from a file."""

    @property
    def path(self) -> str: ...


F = TypeVar("F", bound=Filed)
LOCAL, DASK = "local", "dask"
WAVE = 256  # shards in one pipeline of Beam's, which holds all that it is given
BEAM = {"direct": "DirectRunner", "flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}


@dataclass(frozen=True)
class Runner:
    """Where a job runs.

    name: local, dask, one of `BEAM`, or Beam's own name of a runner, such as "FlinkRunner" or a path of modules.
    cluster: the address of a Dask scheduler; None starts a cluster on this machine.
    workers: processes on this machine, where the runner starts them; None is one for each core.
    options: Beam's command line options, such as "--flink_master=localhost:8081".
    """

    name: str = LOCAL
    cluster: str | None = None
    workers: int | None = None
    options: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise PrepError for what cannot be meant, EngineError for what is not installed or does not answer."""
        if self.cluster is not None and self.name != DASK:
            raise PrepError("the address of a cluster is of a Dask scheduler: choose the runner dask, or leave it out")
        if self.options and self.name in (LOCAL, DASK):
            raise PrepError(f"options of a runner are for those of Apache Beam, not for {self.name}: leave them out")
        if self.cluster is not None and self.workers is not None:
            raise PrepError("a running cluster has its own workers: leave the number of workers out")
        if self.name == LOCAL:
            return
        if self.name != DASK and self.name not in BEAM and not self.name.endswith("Runner"):
            raise PrepError(f"there is no runner {self.name!r}: there are {', '.join((LOCAL, DASK, *BEAM))}")
        try:
            if self.name == DASK:
                import distributed  # noqa: F401
            else:
                from musicgen.data_prep.dataset import beam

                with beam.quiet():
                    import apache_beam  # noqa: F401
        except ImportError as error:
            command = install_command(DASK if self.name == DASK else "beam")
            raise EngineError(f"the runner {self.name} is not installed ({error}): {command}") from None
        if self.cluster is not None:
            from musicgen.data_prep.dataset import cluster

            cluster.check(self.cluster)
        elif self.name != DASK:
            beam.check(self.beams_name, self.options)

    @property
    def beams_name(self) -> str:
        """What Beam calls it."""
        return BEAM.get(self.name, self.name)


def make_shards(
    job: JobState,
    make_shard: Callable[[JobState, ShardPlan[F]], Entry],
    missing: Iterable[ShardPlan[F]],
    runner: Runner,
) -> Iterator[tuple[ShardPlan[F], Entry | None]]:
    """The missing shards and their records as they are made; None where that killed worker after worker.

    Raises EngineError if the runner breaks down, PrepError if it refuses its options, and what ``make_shard`` raises.
    """
    make = functools.partial(_make_there, make_shard, replace(job, out=job.out.absolute()))
    if runner.name == DASK:
        from musicgen.data_prep.dataset.cluster import map_on_cluster

        yield from map_on_cluster(missing, make, runner.cluster, runner.workers)
    else:
        from musicgen.data_prep.dataset import beam

        for wave in cut(missing, WAVE):
            beam.run(wave, make, runner.beams_name, runner.options)
            for shard in wave:
                yield shard, shards.read_json(job.out / f"{shard.name}.json")


def _make_there(make_shard: Callable[[JobState, ShardPlan[F]], Entry], job: JobState, shard: ShardPlan[F]) -> Entry:
    """`make_shard`, where a worker is. Raises PrepError if it does not see the files: all would be rejected."""
    for path in (str(job.out / shards.MANIFEST), *(item.path for item in shard.items)):
        if not os.path.lexists(path):
            raise PrepError(f"the worker on {platform.node()} does not see {path}: mount its folder in the same place")
    return make_shard(job, shard)
