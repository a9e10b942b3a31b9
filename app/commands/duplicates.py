"""`musicgen duplicates DATA --out left_out.txt`: training pieces that play what is held out, or what another plays."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import whole
from musicgen.app.errors import BadInput
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.output import check_output, write_bytes
from musicgen.app.progress import Progress
from musicgen.data_prep.errors import counted

if TYPE_CHECKING:
    from musicgen.data_prep.dataset.shards import ShardSet
    from musicgen.data_prep.evaluation.duplicates import HeldOut
    from musicgen.data_prep.evaluation.memorisation import Match

HELD_OUT = ("test", "validation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, and where the list goes."""
    add = parser.add_argument
    add("data", metavar="DATA", help="data set made by `musicgen prep`")
    add(
        "--out",
        metavar="FILE.txt",
        help="where the names of those training pieces go, one a line, for `musicgen prep --leave-out`",
    )
    add(
        "--threshold",
        type=whole,
        default=THRESHOLD,
        metavar="K",
        help="notes in common, scales and other patterns not counted, from which two pieces are one composition"
        " (default: %(default)s)",
    )
    add("--workers", type=whole, metavar="N", help="number of processes (default: one per core)")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> int:
    """Compare, and report."""
    from musicgen.data_prep.dataset.shards import ShardError

    if arguments.threshold < 1:
        raise BadInput(f"--threshold must be at least 1, not {arguments.threshold}")
    out = check_output(arguments.out, (".txt",), "--out") if arguments.out is not None else None
    try:
        report = compare(arguments)
    except ShardError as error:
        raise BadInput(str(error)) from None
    if out is not None:
        write_bytes(out, "".join(f"{name}\n" for name in report["left_out"]).encode("utf-8", "surrogateescape"))
    print(json.dumps(report) if arguments.json else text(report))
    if out is not None and not arguments.quiet and not arguments.json:
        names = counted(len(report["left_out"]), "name")
        print(f"musicgen: {out}: {names}; run `musicgen prep` again with --leave-out {out}", file=sys.stderr)
    return 0


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every pair of a training piece and one that it is to be told apart from.  Raises ShardError."""
    from musicgen.data_prep.dataset.shards import MANIFEST, ShardSet, read_json
    from musicgen.data_prep.dataset.workers import map_in_order

    sets = [ShardSet(arguments.data, split) for split in (*HELD_OUT, "train")]
    training = sets[-1]
    pairs = _performances(sets)
    known = {(pair["piece"], pair["with"]) for pair in pairs}
    count = (os.cpu_count() or 1) if arguments.workers is None else arguments.workers
    search = functools.partial(_search, arguments.data, arguments.threshold)
    numbers = range(len(training)) if sum(map(len, sets[:-1])) else range(0)
    with (
        Progress(len(numbers), "pieces", quiet=arguments.quiet) as progress,
        contextlib.closing(map_in_order(numbers, search, count, _died)) as found,
    ):
        for number, matches in enumerate(found):
            new = (_pair(training.name(number), "composition", match) for match in matches)
            pairs += [pair for pair in new if (pair["piece"], pair["with"]) not in known]
            progress.update(number + 1, counted(len(pairs), "pair"))
    before = read_json(Path(arguments.data) / MANIFEST).get("left_out", [])
    pairs.sort(key=lambda pair: (-pair["length"], pair["piece"], pair["with"]))
    return {
        "pairs": pairs,
        "left_out": sorted({pair["piece"] for pair in pairs}.union(before)),
        "training_pieces": len(training),
        "held_out": _held_out(sets[:-1], {pair["with"] for pair in pairs}),
    }


def _performances(sets: list[ShardSet]) -> list[dict[str, Any]]:
    """Pairs that are one performance, of which the second is a training piece."""
    from musicgen.data_prep.evaluation.duplicates import same_performances
    from musicgen.data_prep.evaluation.memorisation import longest_match
    from musicgen.data_prep.evaluation.memorisation_index import build_index

    places = [(pieces, i) for pieces in sets for i in range(len(pieces))]
    pairs = []
    for first, second, _ in same_performances(pieces.notes(i) for pieces, i in places):
        (theirs, i), (ours, j) = places[first], places[second]
        if ours is sets[-1]:
            match = longest_match(ours.notes(j), build_index([(theirs.name(i), theirs.split, theirs.notes(i))]))
            pairs += [_pair(ours.name(j), "performance", match)] if match is not None else []
    return pairs


@functools.cache
def _all_held_out(data: str) -> HeldOut:
    """Validation and test, in every process once."""
    from musicgen.data_prep.dataset.shards import ShardSet
    from musicgen.data_prep.evaluation.duplicates import HeldOut

    sets = [ShardSet(data, split) for split in HELD_OUT]
    return HeldOut((pieces.name(i), pieces.split, pieces.notes(i)) for pieces in sets for i in range(len(pieces)))


@functools.cache
def _training(data: str) -> ShardSet:
    from musicgen.data_prep.dataset.shards import ShardSet

    return ShardSet(data, "train")


def _search(data: str, threshold: int, number: int) -> list[Match]:
    return _all_held_out(data).matches(_training(data).notes(number), threshold)


def _died(number: int) -> list[Match]:
    raise BadInput(f"the process that compared training piece {number} died (out of memory?): give fewer --workers")


def _pair(piece: str, kind: str, match: Match) -> dict[str, Any]:
    """A training piece, what it is one with and of which split that is, and where."""
    values = dataclasses.asdict(match)
    return {"piece": piece, "kind": kind, "with": values.pop("name"), "split": values.pop("title"), **values}


def _held_out(sets: Iterable[ShardSet], matched: set[str]) -> dict[str, dict[str, int]]:
    """Per split and corpus how many pieces are held out, and how many of them a training piece is one with."""
    told: dict[str, dict[str, int]] = {}
    for pieces in sets:
        for i in range(len(pieces)):
            name = " ".join(filter(None, (pieces.source(i), pieces.split)))
            counts = told.setdefault(name, {"pieces": 0, "matched": 0})
            counts["pieces"] += 1
            counts["matched"] += pieces.name(i) in matched
    return dict(sorted(told.items()))


def text(report: dict[str, Any]) -> str:
    """The report as lines, the longest match first."""
    return "\n".join(_lines(report))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    pairs = report["pairs"]
    if pairs:
        yield f"{'length':>6} {'notes':>6} {'seconds':>8} {'at':>8}   training piece <- piece it is one with, at"
    for pair in pairs:
        yield (
            f"{pair['length']:>6} {pair['notes']:>6} {pair['seconds']:>8.1f} {pair['start']:>8.1f}   "
            f"{pair['piece']} <- {pair['with']} ({pair['split']}), {pair['from_start']:.1f}, "
            f"{pair['transposition']:+d} semitone{'' if abs(pair['transposition']) == 1 else 's'}"
            f"{', one performance' if pair['kind'] == 'performance' else ''}"
        )
    of = len({pair["piece"] for pair in pairs}), report["training_pieces"]
    play = "plays" if of[0] == 1 else "play"
    training = counted(of[1], "training piece")
    yield f"{of[0]:,} of {training} {play} what is held out, or a performance that is there already"
    for name, counts in report["held_out"].items():
        are = "is" if counts["matched"] == 1 else "are"
        yield f"  {name}: {counts['matched']:,} of {counted(counts['pieces'], 'piece')} {are} played in training"
