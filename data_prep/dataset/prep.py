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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from musicgen.data_prep import files, limits
from musicgen.data_prep.dataset import manifest, shards, splits
from musicgen.data_prep.dataset.manifest import Entry, JobReport, JobState, Plans, ShardPlan, Totals, reject_copies
from musicgen.data_prep.dataset.pieces import (
    Item,
    Prepared,
    Rejected,
    Source,
    find_items,
    prepare,
    walk_all,
    walk_items,
)
from musicgen.data_prep.dataset.runners import LOCAL, Runner, make_shards
from musicgen.data_prep.dataset.workers import map_in_order
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.table import Table

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
    rejected: Table[Entry] = Table()
    apart = _read_names(leave_out) if leave_out is not None else frozenset()
    items = _find(sources, apart, leave_out, rejected)
    plans = Plans(items, manifest.ITEMS_PER_SHARD)
    with job.alone():
        tally = Tally(len(items), on_progress)
        done = job.resume(plans, digest, lambda shard, record: tally.add_record(record))
        missing = replace(plans, only={name for name, whole in done.items() if not whole})
        if runner == LOCAL:
            _make_here(job, missing, tally, workers)
        elif missing.only:
            for shard, made in make_shards(job, make_shard, missing, where):
                if made is None:  # here it is found out which of its pieces is to blame
                    _make_here(job, [shard], tally, 1)
                else:
                    tally.add_record(made)
        by_source = {source.name: _totals() for source in sources} if _several(sources) else {}
        totals = _totals()
        for entry in reject_copies(job.records(done), "tokens_sha256", _reject_copy, rejected):
            if entry["name"] in apart:
                rejected.put(entry["name"], _reject(entry, f"left out by {Path(leave_out or '').name}"))
            else:
                totals.add(entry)
                if by_source:
                    by_source[str(job.source_of(entry["name"]))].add(entry)
        for source in sources:
            others = splits.find_others(source.path, splits.MIDI_SUFFIXES, (source.table, out))
            for entry in others:
                name = f"{source.name}/{entry['name']}" if by_source else entry["name"]
                rejected.put(name, {**entry, "name": name})
        styles = {source.name: source.style for source in sources}
        told: dict[str, Entry] = {
            name: {"style": styles[name], "splits": by_source[name].told()} for name in sorted(by_source)
        }
        more = ({"sources": told} if told else {}) | ({"left_out": sorted(apart)} if apart else {})
        job.write_manifest(dict.fromkeys(sorted(done)), rejected, totals.told(), more)
        seconds = time.perf_counter() - began
        return JobReport(job.out, totals.told(), rejected, len(done), sum(done.values()), seconds, told)


def _find(
    sources: Sequence[Source],
    apart: frozenset[str],
    leave_out: str | os.PathLike[str] | None,
    rejected: Table[Entry],
) -> Table[Item]:
    """The pieces of the sources; `rejected` gets those that no csv names.

    Raises PrepError, also if one of `apart` is of no piece here: it would be trained on.
    """
    items: Table[Item] = Table()
    strange = set(apart)
    for found in walk_all(sources) if _several(sources) else walk_items(sources[0].path, sources[0].table):
        if isinstance(found, Rejected):
            rejected.put(found.name, vars(found))
        else:
            items.put(splits.place(found.split, found.name), found)
            strange.discard(found.name)
    if strange:
        raise PrepError(
            f"{leave_out} names {min(strange)}, and no piece here is called so: is it the list of this data set?"
        )
    return items


def _several(sources: Sequence[Source]) -> bool:
    """Whether the data set tells its pieces' sources apart: there are several, or the style of the one is known."""
    return len(sources) > 1 or sources[0].style is not None


def _splits_of(sources: Sequence[Source]) -> str | dict[str, str]:
    said = {source.name: "hash of the name" if source.table is None else "csv" for source in sources}
    return dict(sorted(said.items())) if _several(sources) else next(iter(said.values()))


def _totals() -> Totals:
    return Totals("pieces", "notes", "tokens", "seconds")


def _make_here(job: JobState, missing: Iterable[ShardPlan[Item]], tally: Tally, workers: int | None) -> None:
    """Make shards, which are gone through twice, with processes on this machine, in order."""
    count = (os.cpu_count() or 1) if workers is None else workers
    pieces = (item for shard in missing for item in shard.items)
    with contextlib.closing(map_in_order(pieces, prepare, count, _died)) as outcomes:
        for shard in missing:
            write_shard(job, shard.name, [tally.add(next(outcomes)) for _ in shard.items])


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


def _read_names(path: str | os.PathLike[str]) -> frozenset[str]:
    """The names in a file, one a line.  Raises PrepError."""
    try:
        text = files.read_regular(Path(path), limits.TABLE_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise PrepError(f"{path} cannot be read: {error.strerror or error}") from None
    return frozenset(line for line in text.replace("\r\n", "\n").split("\n") if line)


def _died(item: Item) -> Rejected:
    return Rejected(item.name, item.split, "the process that read it died (out of memory?); the next run tries again")


class Tally:
    """Counts what is done and tells the caller."""

    def __init__(self, total: int, tell: Callable[[PrepProgress], None] | None) -> None:
        self._total, self._tell = total, tell
        self._done = self._notes = self._tokens = self._rejected = 0
        self._music: Table[None] = Table()  # hashes of the tokens so far: a copy counts as rejected

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
        self._music.put(tokens_sha256, None)
        self._notes += notes
        self._tokens += tokens

    def _report(self, done: int) -> None:
        self._done += done
        if self._tell is not None:
            self._tell(PrepProgress(self._done, self._total, self._notes, self._tokens, self._rejected))
