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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from musicgen.data_prep import files, shards, splits
from musicgen.data_prep.audio import AUDIO_SUFFIXES, SAMPLE_RATE, AudioError, Level, read_blocks
from musicgen.data_prep.audio_shards import AUDIO_FORMAT, CHUNK, RowWriter, file_sha256, rows_of, totals
from musicgen.data_prep.pieces import SPLIT_ORDER
from musicgen.data_prep.splits import PrepError
from musicgen.data_prep.workers import in_order

RECORDINGS_PER_SHARD = 4  # about 130 MB of MAESTRO: what a killed job loses at the most, per worker
SETTINGS = {"sample_rate": SAMPLE_RATE, "chunk": CHUNK, "recordings_per_shard": RECORDINGS_PER_SHARD, "encoding": 1}

Entry = dict[str, Any]  # one recording in a record or a manifest


@dataclass(frozen=True)
class Recording:
    """One file to prepare."""

    name: str
    split: str
    path: str


@dataclass(frozen=True)
class AudioShard:
    """The recordings that belong in one shard, in order."""

    name: str
    recordings: tuple[Recording, ...] = field(repr=False)


@dataclass(frozen=True)
class AudioReport:
    """What a finished job made.  `totals`: per split the recordings and seconds; `rejected`: entries with a reason."""

    out: Path
    totals: Mapping[str, Mapping[str, float]]
    rejected: tuple[Entry, ...]
    shards: int
    shards_kept: int
    wall_seconds: float


def plan(
    source: str | os.PathLike[str], table: str | os.PathLike[str] | None
) -> tuple[list[AudioShard], tuple[str, ...]]:
    """The shards of a folder, and the names of files that the csv does not list.  Raises PrepError."""
    root = Path(source).absolute()
    names = splits.find_files(root, AUDIO_SUFFIXES, "audio")
    assigned, unlisted = splits.assign(names, table, "audio_filename")
    plans = []
    for split in SPLIT_ORDER:
        mine = [Recording(name, split, str(root / name)) for name in sorted(assigned) if assigned[name] == split]
        for number, start in enumerate(range(0, len(mine), RECORDINGS_PER_SHARD)):
            plans.append(AudioShard(f"{split}-{number:05d}", tuple(mine[start : start + RECORDINGS_PER_SHARD])))
    return plans, unlisted


def run(
    audio_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    runner: str = "local",
    runner_options: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> AudioReport:
    """Prepare a folder of audio into the data set `out`; started again, it makes only what is missing.

    `workers` processes (None: one per core, 0: this process) or, with another `runner` than "local", Apache Beam's.
    `on_progress` gets (shards done, shards).  Raises PrepError if the job cannot start, OSError if the disk refuses.
    """
    began = time.perf_counter()
    folder = Path(out)
    plans, unlisted = plan(audio_dir, csv)
    _open_folder(folder)
    records = {shard.name: record for shard in plans if (record := finished(folder, shard)) is not None}
    kept, missing = len(records), [shard for shard in plans if shard.name not in records]
    on_progress(len(records), len(plans))
    if missing:
        start = {"format": AUDIO_FORMAT, "complete": False, "settings": SETTINGS}
        files.write_atomically(folder / shards.MANIFEST, shards.json_bytes(start))
    if runner != "local" and missing:
        _with_beam(folder, missing, runner, runner_options)
        records |= {shard.name: shards.read_json(folder / f"{shard.name}.json") for shard in missing}
    else:
        count = (os.cpu_count() or 1) if workers is None else workers
        with contextlib.closing(in_order(missing, partial(make_shard, folder), count, _died)) as made:
            for shard, record in zip(missing, made, strict=True):
                if record is None:
                    raise PrepError(f"the process that made {shard.name} died (out of memory?): run it again")
                records[shard.name] = record
                on_progress(len(records), len(plans))
    items, rejected = _finish(folder, [records[shard.name] for shard in plans], unlisted)
    return AudioReport(folder, totals(items), tuple(rejected), len(plans), kept, time.perf_counter() - began)


def make_shard(out: Path, shard: AudioShard) -> dict[str, Any]:
    """Write one shard and then its record, which is returned.  Memory does not grow with the recordings."""
    target = out / f"{shard.name}.npy"
    beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    items: list[Entry] = []
    rejected: list[Entry] = []
    try:
        with beside.open("w+b") as file:
            writer = RowWriter(file)
            for recording in shard.recordings:
                first = writer.rows
                try:
                    items.append({**_write(recording, writer), "shard": shard.name, "first_row": first})
                except AudioError as error:
                    writer.take_back(first)
                    rejected.append({**_identity(recording), "reason": str(error)})
            writer.finish()
        digest, size = file_sha256(beside), beside.stat().st_size
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    record = {"format": AUDIO_FORMAT, "settings": SETTINGS, "name": shard.name, "sha256": digest, "bytes": size}
    record |= {"items": items, "rejected": rejected}
    files.write_atomically(out / f"{shard.name}.json", shards.json_bytes(record))
    return record


def _write(recording: Recording, writer: RowWriter) -> Entry:
    """Add the rows of one recording and say what they are.  Raises AudioError, possibly with some rows written."""
    first, level, heard = writer.rows, Level(), hashlib.sha256()
    for row in rows_of(read_blocks(recording.path, level)):
        heard.update(row.tobytes())
        writer.add(row)
    return {
        **_identity(recording),
        "samples_sha256": heard.hexdigest(),
        "samples": level.samples,
        "seconds": round(level.seconds, 3),
        "rows": writer.rows - first,
        "peak_db": round(level.peak_db, 2),
        "rms_db": round(level.rms_db, 2),
        "remarks": list(level.remarks()),
    }


def _identity(recording: Recording) -> Entry:
    """Which file it was.  Its hash is None if it cannot be read: the next run tries again."""
    try:
        digest = file_sha256(Path(recording.path)) if Path(recording.path).is_file() else None
    except OSError:
        digest = None
    return {"name": recording.name, "split": recording.split, "sha256": digest}


def finished(out: Path, shard: AudioShard) -> dict[str, Any] | None:
    """The record of a shard that is done: made from these very files, and undamaged.  None if it has to be made."""
    try:
        record = shards.read_json(out / f"{shard.name}.json")
        entries = {entry["name"]: entry["sha256"] for entry in record["items"] + record["rejected"]}
        same = record["format"] == AUDIO_FORMAT and record["settings"] == SETTINGS
        if not same or set(entries) != {recording.name for recording in shard.recordings}:
            return None
        if file_sha256(out / f"{shard.name}.npy") != record["sha256"]:
            return None
        unchanged = all(entries[r.name] == _identity(r)["sha256"] is not None for r in shard.recordings)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if unchanged else None


def _open_folder(out: Path) -> None:
    """Make `out`, or check that it is an earlier run of the same job.  Raises PrepError."""
    if out.exists() and not out.is_dir():
        raise PrepError(f"{out} is a file: give a folder for the data set")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / shards.MANIFEST).exists():
        if any(not entry.name.endswith(".tmp") for entry in out.iterdir()):
            raise PrepError(f"{out} is not empty and holds no data set: give a new folder")
        return
    try:
        there = shards.read_json(out / shards.MANIFEST)
    except shards.ShardError:
        return  # damaged; every shard's own record says whether it is right
    if there.get("format") != AUDIO_FORMAT or there.get("settings") != SETTINGS:
        raise PrepError(f"{out} was made with other settings, or is no audio data set: give a new folder")


def _finish(
    out: Path, records: Sequence[Mapping[str, Any]], unlisted: Sequence[str]
) -> tuple[list[Entry], list[Entry]]:
    """Write rejects.json and the manifest, remove what an earlier run left over; (recordings, rejected)."""
    rejected: list[Entry] = [
        {"name": name, "split": "", "sha256": None, "reason": "not in the csv"} for name in unlisted
    ]
    items: list[Entry] = []
    first: dict[str, str] = {}
    for record in records:  # in the order test, validation, train
        rejected += record["rejected"]
        for entry in record["items"]:
            earlier = first.setdefault(entry["samples_sha256"], entry["name"])
            if earlier == entry["name"]:
                items.append(entry)
            else:
                identity = {key: entry[key] for key in ("name", "split", "sha256")}
                rejected.append({**identity, "reason": f"the same sound as {earlier}"})
    rejected.sort(key=lambda entry: str(entry["name"]))
    manifest = {
        "format": AUDIO_FORMAT,
        "complete": True,
        "settings": SETTINGS,
        "splits": totals(items),
        "rejected": len(rejected),
        "shards": [{key: record[key] for key in ("name", "sha256", "bytes")} for record in records],
        "items": items,
    }
    files.write_atomically(out / shards.REJECTS, shards.json_bytes(rejected))
    files.write_atomically(out / shards.MANIFEST, shards.json_bytes(manifest))
    current = {record["name"] for record in records}
    for split in splits.SPLITS:
        for path in out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].*"):
            if path.name.split(".")[0] not in current or path.suffix == ".tmp":
                path.unlink(missing_ok=True)
    return items, rejected


def _died(shard: AudioShard) -> None:
    return None


def _with_beam(out: Path, missing: Sequence[AudioShard], runner: str, options: Sequence[str]) -> None:
    """Every shard is one element; audio and output must be paths that all workers see."""
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise PrepError(f"the runner {runner!r} needs Apache Beam ({error}): pip install apache-beam") from None
    from musicgen.data_prep.beam import RUNNERS

    try:
        pipeline_of = apache_beam.Pipeline(
            options=PipelineOptions([f"--runner={RUNNERS.get(runner, runner)}", *options])
        )
    except ValueError as error:  # an unknown runner, or options that it refuses
        raise PrepError(f"Apache Beam: {error}") from None
    with pipeline_of as pipeline:
        shards_to_make = pipeline | "shards" >> apache_beam.Create(list(missing)) | apache_beam.Reshuffle()
        _ = shards_to_make | "make" >> apache_beam.Map(partial(make_shard, out.absolute()))
