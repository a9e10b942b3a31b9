"""The job that turns a folder of MIDI files into shards: ``run``.

Every runner (processes on this machine, a Dask cluster, Apache Beam) calls the same pure ``prepare`` and the same
``write_shard``, and which piece goes into which shard depends on the sorted list of pieces alone. So the bytes of a
data set do not depend on who made it, on how many workers there were, or on how often the job was killed and started
again.

Two files with the same music (the same token stream) would be one piece twice, or worse a test piece in the training
set: the first in the order test, validation, train, then name, stays in the manifest and the other is rejected.

Several corpora make one data set: the names of a corpus' pieces begin with that of its folder.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen.data_prep import files, limits
from musicgen.data_prep.dataset import manifest, shards, splits
from musicgen.data_prep.dataset.manifest import Entry, JobReport, JobState, ShardPlan, reject_copies
from musicgen.data_prep.dataset.pieces import Item, Prepared, Rejected, Source, find_all, find_items, prepare
from musicgen.data_prep.dataset.runners import LOCAL, Runner, make_shards
from musicgen.data_prep.dataset.splits import SPLITS
from musicgen.data_prep.dataset.workers import map_in_order
from musicgen.data_prep.errors import PrepError

__all__ = ["Item", "PrepError", "PrepProgress", "Prepared", "Rejected", "Source", "find_items", "prepare", "run"]


@dataclass(frozen=True)
class PrepProgress:
    """Files done (of ``total``), notes and tokens so far, files rejected so far."""

    done: int
    total: int
    notes: int
    tokens: int
    rejected: int


def run(
    midi_dir: str | os.PathLike[str] | Sequence[Source],
    out: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    leave_out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    runner: str = "local",
    cluster: str | None = None,
    runner_options: Sequence[str] = (),
    on_progress: Callable[[PrepProgress], None] | None = None,
) -> JobReport:
    """Prepare a folder of MIDI files (or a TFRecord file of NoteSequences), or several corpora, into the set ``out``.

    ``csv`` names the official splits of a folder; without it hashes of the names decide. The runner "local" takes
    ``workers`` processes (None: one per core, 0: this process), and so does "dask" unless ``cluster`` is the address of
    a scheduler; "direct", "flink" and so on are Apache Beam's, with their ``runner_options`` ("--flink_master=...").
    The pieces that a file ``leave_out`` names, one a line, lie in shards, but no item of the manifest leads there.
    Started again after a kill, it keeps the finished shards whose input files have not changed. Raises PrepError if the
    job cannot start, EngineError if the runner cannot do it, OSError if the disk refuses.
    """
    began = time.perf_counter()
    where = Runner(runner, cluster, workers, tuple(runner_options))
    where.check()
    sources = [Source(midi_dir, csv)] if isinstance(midi_dir, str | os.PathLike) else list(midi_dir)
    job = JobState(Path(out), manifest.settings(_splits_of(sources)))
    items, unlisted = find_all(sources) if _several(sources) else find_items(sources[0].path, sources[0].table)
    apart = _read_names(leave_out, items) if leave_out is not None else frozenset()
    plans = manifest.plan_shards(items, manifest.ITEMS_PER_SHARD)
    with job.alone():
        records = job.resume(plans, digest)
        kept, missing = len(records), [shard for shard in plans if shard.name not in records]
        tally = Tally(len(items), on_progress)
        for record in records.values():
            tally.add_record(record)
        if runner == LOCAL:
            records |= _make_here(job, missing, tally, workers)
        else:
            for shard, made in make_shards(job, make_shard, missing, where):
                if made is None:  # here it is found out which of its pieces is to blame
                    records |= _make_here(job, [shard], tally, 1)
                else:
                    records[shard.name] = made
                    tally.add_record(made)
        entries, rejected = reject_copies([records[shard.name] for shard in plans], "tokens_sha256", _reject_copy)
        rejected += [
            _reject(entry, f"left out by {Path(leave_out or '').name}") for entry in entries if entry["name"] in apart
        ]
        entries = [entry for entry in entries if entry["name"] not in apart]
        rejected += [vars(entry) for entry in unlisted]
        for source in sources:
            others = splits.find_others(source.path, splits.MIDI_SUFFIXES, (source.table, out))
            front = f"{source.name}/" if _several(sources) else ""
            rejected += [{**entry, "name": front + entry["name"]} for entry in others]
        entries.sort(key=lambda entry: (entry["shard"], entry["index"]))
        told = _tell_sources(job, sources, entries)
        more = ({"sources": told} if told else {}) | ({"left_out": sorted(apart)} if apart else {})
        in_order = [records[name] for name in sorted(records)]
        job.write_manifest(in_order, entries, rejected, totals(entries), more)
        seconds = time.perf_counter() - began
        return JobReport(job.out, totals(entries), tuple(rejected), len(plans), kept, seconds, told)


def _several(sources: Sequence[Source]) -> bool:
    """Whether the data set tells its pieces' sources apart: there are several, or the style of the one is known."""
    return len(sources) > 1 or sources[0].style is not None


def _splits_of(sources: Sequence[Source]) -> str | dict[str, str]:
    said = {source.name: "hash of the name" if source.table is None else "csv" for source in sources}
    return dict(sorted(said.items())) if _several(sources) else next(iter(said.values()))


def _tell_sources(job: JobState, sources: Sequence[Source], entries: Sequence[Entry]) -> dict[str, Entry]:
    """By name the style of each source and its totals, {} if there is but one; adds to the entries whose they are."""
    if not _several(sources):
        return {}
    for entry in entries:
        entry["source"] = job.source_of(entry["name"])
    return {
        source.name: {
            "style": source.style,
            "splits": totals([entry for entry in entries if entry["source"] == source.name]),
        }
        for source in sorted(sources, key=lambda source: source.name)
    }


def _make_here(
    job: JobState, missing: Sequence[ShardPlan[Item]], tally: Tally, workers: int | None
) -> dict[str, dict[str, Any]]:
    """Make shards with processes on this machine, in order; their records."""
    count = (os.cpu_count() or 1) if workers is None else workers
    pieces = [item for shard in missing for item in shard.items]
    with contextlib.closing(map_in_order(pieces, prepare, count, _died)) as outcomes:
        return {
            shard.name: write_shard(job, shard.name, [tally.add(next(outcomes)) for _ in shard.items])
            for shard in missing
        }


def make_shard(job: JobState, shard: ShardPlan[Item]) -> dict[str, Any]:
    """Prepare the pieces of a shard, write it and then its record, which is returned."""
    return write_shard(job, shard.name, [prepare(item) for item in shard.items])


def write_shard(job: JobState, name: str, outcomes: Sequence[Prepared | Rejected]) -> dict[str, Any]:
    """Write one shard and, after it, its record, which is returned."""
    kept = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
    data = shards.shard_bytes([p.name for p in kept], [p.performance for p in kept], [p.tokens for p in kept])
    items = [
        {
            "name": p.name,
            "split": p.split,
            "sha256": p.sha256,
            "tokens_sha256": p.tokens_sha256,
            "notes": len(p.performance),
            "tokens": len(p.tokens),
            "seconds": round(p.performance.duration, 3),
            "shard": name,
            "index": index,
            "remarks": list(p.remarks),
        }
        for index, p in enumerate(kept)
    ]
    rejected = [vars(outcome) for outcome in outcomes if isinstance(outcome, Rejected)]
    files.write_atomically(job.out / f"{name}.npz", data)
    return job.record(name, shards.sha256(data), len(data), items, rejected)


def digest(item: Item) -> str | None:
    """The hash of a piece's bytes; None if they cannot be read."""
    try:
        return shards.sha256(item.read())
    except (OSError, PrepError):
        return None


def _reject_copy(entry: Entry, first: str) -> Entry:
    return _reject(entry, f"the same music as {first}", first)


def _reject(entry: Entry, reason: str, first: str | None = None) -> Entry:
    return vars(Rejected(entry["name"], entry["split"], reason, entry["sha256"], entry["tokens_sha256"], first))


def _read_names(path: str | os.PathLike[str], items: Sequence[Item]) -> frozenset[str]:
    """The names in a file, one a line.  Raises PrepError if one of them is of no piece here: it would be trained on."""
    try:
        text = files.read_regular(Path(path), limits.TABLE_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise PrepError(f"{path} cannot be read: {error.strerror or error}") from None
    names = frozenset(line for line in text.replace("\r\n", "\n").split("\n") if line)
    strange = sorted(names - {item.name for item in items})
    if strange:
        raise PrepError(f"{path} names {strange[0]}, and no piece here is called so: is it the list of this data set?")
    return names


def totals(items: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per split: pieces, notes, tokens, seconds."""
    return {
        split: {"pieces": sum(entry["split"] == split for entry in items)}
        | {
            key: round(sum(entry[key] for entry in items if entry["split"] == split), 3)
            for key in ("notes", "tokens", "seconds")
        }
        for split in SPLITS
    }


def _died(item: Item) -> Rejected:
    return Rejected(item.name, item.split, "the process that read it died (out of memory?); the next run tries again")


class Tally:
    """Counts what is done and tells the caller."""

    def __init__(self, total: int, tell: Callable[[PrepProgress], None] | None) -> None:
        self._total, self._tell = total, tell
        self._done = self._notes = self._tokens = self._rejected = 0
        self._music: set[str] = set()  # hashes of the tokens so far: a copy counts as rejected

    def add(self, outcome: Prepared | Rejected) -> Prepared | Rejected:
        """Count one piece, which is returned."""
        if isinstance(outcome, Prepared):
            self._add_music(outcome.tokens_sha256, len(outcome.performance), len(outcome.tokens))
        else:
            self._rejected += 1
        self._report(1)
        return outcome

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Count the pieces of a finished shard."""
        for entry in record["items"]:
            self._add_music(entry["tokens_sha256"], entry["notes"], entry["tokens"])
        self._rejected += len(record["rejected"])
        self._report(len(record["items"]) + len(record["rejected"]))

    def _add_music(self, tokens_sha256: str, notes: int, tokens: int) -> None:
        if tokens_sha256 in self._music:
            self._rejected += 1
            return
        self._music.add(tokens_sha256)
        self._notes += notes
        self._tokens += tokens

    def _report(self, done: int) -> None:
        self._done += done
        if self._tell is not None:
            self._tell(PrepProgress(self._done, self._total, self._notes, self._tokens, self._rejected))
