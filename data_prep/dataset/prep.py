"""The job that turns a folder of MIDI files into shards: ``run``.

Every runner (processes on this machine, Apache Beam) calls the same pure ``prepare`` and the same ``write_shard``, and
which piece goes into which shard depends on the sorted list of pieces alone. So the bytes of a data set do not depend
on who made it, on how many workers there were, or on how often the job was killed and started again.

Two files with the same music (the same token stream) would be one piece twice, or worse a test piece in the training
set: the first in the order test, validation, train, then name, stays and the other is rejected.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from musicgen.data_prep.dataset import manifest as ledger
from musicgen.data_prep.dataset.pieces import Item, Prepared, Rejected, find_items, prepare
from musicgen.data_prep.dataset.splits import PrepError
from musicgen.data_prep.dataset.workers import in_order

__all__ = ["Item", "PrepError", "Prepared", "Progress", "Rejected", "Report", "find_items", "prepare", "run"]


@dataclass(frozen=True)
class Progress:
    """Files done (of ``total``), notes and tokens so far, files rejected so far."""

    done: int
    total: int
    notes: int
    tokens: int
    rejected: int


@dataclass(frozen=True)
class Report:
    """What a finished job made. ``totals``: per split the pieces, notes, tokens and seconds of music."""

    out: Path
    totals: Mapping[str, Mapping[str, float]]
    rejected: tuple[Rejected, ...]
    shards: int
    shards_kept: int
    wall_seconds: float


def run(
    midi_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    csv: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    runner: str = "local",
    runner_options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Prepare a folder of MIDI files (or a TFRecord file of NoteSequences) into the data set ``out``.

    ``csv`` names the official splits; without it they come from hashes of the names. The runner "local" takes
    ``workers`` processes (None: one per core, 0: this process); "direct", "FlinkRunner" and so on are Apache Beam's,
    with their ``runner_options`` ("--flink_master=..."). Started again after a kill, it keeps the finished shards whose
    input files have not changed. Raises PrepError if the job cannot start, OSError if the disk refuses.
    """
    began = time.perf_counter()
    book = ledger.Ledger(Path(out), ledger.settings(csv))
    items, unlisted = find_items(midi_dir, csv)
    plans = ledger.plan(items, ledger.ITEMS_PER_SHARD)
    book.open()
    done = {shard.name: record for shard in plans if (record := book.finished(shard, ledger.digest)) is not None}
    kept = set(done)
    tally = Tally(len(items), on_progress)
    if runner == "local":
        make = partial(_make_here, workers=workers)
    else:
        from musicgen.data_prep.dataset import beam  # the `beam` extra

        make = partial(beam.make, runner=runner, runner_options=runner_options)
    while True:
        if len(done) == len(plans):
            stale = ledger.first_stale(plans, done)
            if stale is None:
                break
            del done[stale]  # an earlier shard has changed, and with it the choice between equal pieces
            kept.discard(stale)
        book.begin()
        make(book, plans, done, tally)
    records = [done[name] for name in sorted(done)]
    kept_items = [entry for record in records for entry in record["items"]]
    totals = ledger.totals(kept_items)
    rejected = [Rejected(**entry) for shard in plans for entry in done[shard.name]["rejected"]] + list(unlisted)
    book.finish(records, kept_items, [vars(entry) for entry in rejected], totals)
    return Report(book.out, totals, tuple(rejected), len(plans), len(kept), time.perf_counter() - began)


def _make_here(
    book: ledger.Ledger,
    plans: Sequence[ledger.ShardPlan[Item]],
    done: dict[str, dict[str, Any]],
    tally: Tally,
    workers: int | None = None,
    prepare_one: Callable[[Item], Prepared | Rejected] = prepare,
) -> None:
    """Make the shards that are not in ``done`` with processes on this machine, in order; their records go into it."""
    missing = [item for shard in plans if shard.name not in done for item in shard.items]
    count = (os.cpu_count() or 1) if workers is None else workers
    seen: dict[str, str] = {}
    tally.restart()
    with contextlib.closing(in_order(missing, prepare_one, count, _died)) as outcomes:
        for shard in plans:
            if shard.name in done:
                tally.add_record(done[shard.name])
                for entry in done[shard.name]["items"]:
                    seen.setdefault(entry["tokens_sha256"], entry["name"])
            else:
                mine = (tally.add(next(outcomes)) for _ in shard.items)
                done[shard.name] = ledger.write_shard(book, shard.name, ledger.without_duplicates(mine, seen))


def _died(item: Item) -> Rejected:
    return Rejected(item.name, item.split, "the process that read it died (out of memory?); the next run tries again")


class Tally:
    """Counts what is done and tells the caller."""

    def __init__(self, total: int, tell: Callable[[Progress], None] | None) -> None:
        self._total, self._tell = total, tell
        self.restart()

    def restart(self) -> None:
        self._done = self._notes = self._tokens = self._rejected = 0

    def add(self, outcome: Prepared | Rejected) -> Prepared | Rejected:
        if isinstance(outcome, Prepared):
            self._count(1, len(outcome.performance), len(outcome.tokens), 0)
        else:
            self._count(1, 0, 0, 1)
        return outcome

    def add_record(self, record: Mapping[str, Any]) -> None:
        items, rejected = record["items"], len(record["rejected"])
        notes, tokens = (sum(entry[key] for entry in items) for key in ("notes", "tokens"))
        self._count(len(items) + rejected, notes, tokens, rejected)

    def _count(self, done: int, notes: int, tokens: int, rejected: int) -> None:
        self._done += done
        self._notes += notes
        self._tokens += tokens
        self._rejected += rejected
        if self._tell is not None:
            self._tell(Progress(self._done, self._total, self._notes, self._tokens, self._rejected))
