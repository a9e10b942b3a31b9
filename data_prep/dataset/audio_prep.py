"""The job that turns a folder of audio into shards: `run`.  The MIDI job's rules (prep.py) hold here too.

Which recording goes into which shard depends on the sorted list of recordings alone, and every runner makes a shard
with the same `make_shard`.  So the bytes of a data set do not depend on the number of workers, or on how often the job
was killed and started again: a shard is done when its record lies beside it, and records are written last.

MAESTRO's own csv (columns audio_filename and split) names the official splits; other folders are split by a hash of
each name.  Two files with the same sound would be one recording twice, or a test recording in the training set: the
first in the order test, validation, train, then name, stays in the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from musicgen.data_prep import files
from musicgen.data_prep.audio import AUDIO_SUFFIXES, OTHER_SUFFIXES, SAMPLE_RATE, AudioError, Level, read_blocks
from musicgen.data_prep.dataset import splits
from musicgen.data_prep.dataset.audio_shards import AUDIO_FORMAT, CHUNK, RowWriter, cut_rows
from musicgen.data_prep.dataset.manifest import Entry, JobReport, JobState, Plans, ShardPlan, Totals, reject_copies
from musicgen.data_prep.dataset.runners import LOCAL, Runner, make_shards
from musicgen.data_prep.dataset.workers import map_in_order
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.table import Table

RECORDINGS = AUDIO_SUFFIXES + OTHER_SUFFIXES
RECORDINGS_PER_SHARD = 4  # about 130 MB of MAESTRO: what a killed job loses at the most, per worker
SETTINGS = {"sample_rate": SAMPLE_RATE, "chunk": CHUNK, "recordings_per_shard": RECORDINGS_PER_SHARD, "encoding": 1}


@dataclass(frozen=True)
class Recording:
    """One file to prepare."""

    name: str
    split: str
    path: str


def plan(
    source: str | os.PathLike[str], table: str | os.PathLike[str] | None, rejected: Table[Entry]
) -> Plans[Recording]:
    """The shards of a folder; `rejected` gets the files that the csv does not list.  Raises PrepError."""
    root = Path(source).absolute()
    found = (Recording(name, "", os.path.join(root, name)) for name in splits.walk_files(root, RECORDINGS, "audio"))
    recordings: Table[Recording] = Table()
    for recording, split in splits.assign(found, table, "audio_filename"):
        name = recording.name
        if split is None:
            rejected.put(name, {"name": name, "split": "", "sha256": None, "reason": "not in the csv"})
        else:
            recordings.put(splits.place(split, name), replace(recording, split=split))
    return Plans(recordings, RECORDINGS_PER_SHARD)


def run(
    audio_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    runner: str = "local",
    cluster: str | None = None,
    runner_options: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> JobReport:
    """Prepare a folder of audio into the data set `out`; started again, it makes only what is missing.

    `workers`, `runner`, `cluster` and `runner_options` are those of `prep.run`.  `on_progress` gets (shards done,
    shards).  Raises PrepError if the job cannot start, EngineError if the runner cannot do it, OSError if the disk
    refuses.
    """
    began = time.perf_counter()
    where = Runner(runner, cluster, workers, tuple(runner_options))
    where.check()
    job = JobState(Path(out), SETTINGS, AUDIO_FORMAT, ".npy")
    rejected: Table[Entry] = Table()
    plans = plan(audio_dir, csv, rejected)
    with job.alone():
        done = job.resume(plans, _digest)
        kept = sum(done.values())
        missing = replace(plans, only={name for name, whole in done.items() if not whole})
        on_progress(kept, len(done))
        with contextlib.closing(_make(job, missing, where)) as made:
            for number, (shard, record) in enumerate(made, start=kept + 1):
                if record is None:
                    raise PrepError(f"the process that made {shard.name} died (out of memory?): run it again")
                on_progress(number, len(done))
        totals = Totals("recordings", "seconds")
        for entry in reject_copies(job.records(done), "samples_sha256", _reject_copy, rejected):
            totals.add(entry)
        for entry in splits.find_others(audio_dir, RECORDINGS, (csv, out)):
            rejected.put(entry["name"], entry)
        job.write_manifest(done, rejected, totals.told())
        return JobReport(job.out, totals.told(), rejected, len(done), kept, time.perf_counter() - began)


def _make(
    job: JobState, missing: Plans[Recording], where: Runner
) -> Generator[tuple[ShardPlan[Recording], Entry | None], None, None]:
    """The missing shards and their records; None where that killed its process."""
    if where.name != LOCAL:
        if missing.only:
            yield from make_shards(job, make_shard, missing, where)
        return
    count = (os.cpu_count() or 1) if where.workers is None else where.workers
    with contextlib.closing(map_in_order(missing, partial(make_shard, job), count, _died)) as made:
        yield from zip(missing, made, strict=True)


def make_shard(job: JobState, shard: ShardPlan[Recording]) -> dict[str, Any]:
    """Write one shard and then its record, which is returned.  Memory does not grow with the recordings."""
    target = job.out / f"{shard.name}.npy"
    items: list[Entry] = []
    rejected: list[Entry] = []
    with files.replacing(target, files.unfinished(target)) as beside:
        with beside.open("w+b") as file:
            writer = RowWriter(file)
            for recording in shard.items:
                first = writer.rows
                try:
                    items.append({**_write(recording, writer), "shard": shard.name, "first_row": first})
                except AudioError as error:
                    writer.take_back(first)
                    rejected.append({**_identity(recording), "reason": str(error)})
            writer.finish()
        digest, size = files.checksum(beside, "sha256"), beside.stat().st_size
    return job.record(shard.name, digest, size, items, rejected)


def _write(recording: Recording, writer: RowWriter) -> Entry:
    """Add the rows of one recording and say what they are.  Raises AudioError, possibly with some rows written."""
    first, level, digest = writer.rows, Level(), hashlib.sha256()
    for row in cut_rows(read_blocks(recording.path, level)):
        digest.update(row.tobytes())
        writer.add(row)
    return {
        **_identity(recording),
        "samples_sha256": digest.hexdigest(),
        "samples": level.samples,
        "seconds": round(level.seconds, 3),
        "rows": writer.rows - first,
        "peak_db": round(level.peak_db, 2),
        "rms_db": round(level.rms_db, 2),
        "remarks": list(level.remarks()),
    }


def _identity(recording: Recording) -> Entry:
    """Which file it was."""
    return {"name": recording.name, "split": recording.split, "sha256": _digest(recording)}


def _digest(recording: Recording) -> str | None:
    """The hash of its file; None if it cannot be read: the next run tries again."""
    try:
        return files.checksum(Path(recording.path), "sha256") if Path(recording.path).is_file() else None
    except OSError:
        return None


def _reject_copy(entry: Entry, first: str) -> Entry:
    return {key: entry[key] for key in ("name", "split", "sha256")} | {"reason": f"the same sound as {first}"}


def _died(shard: ShardPlan[Recording]) -> None:
    return None
