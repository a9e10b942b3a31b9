"""`musicgen evaluate`: nats per token of a model on a split or on any folder of MIDI files.

With --samples it compares music with music instead: see `samples_report`.
With --memorisation it looks for what was copied from the training set: see `memorisation_report`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from musicgen.app.arguments import add_checkpoint, whole
from musicgen.app.errors import BadInput
from musicgen.app.evaluation import memorisation_report, samples_report
from musicgen.app.progress import Progress, clock
from musicgen.data_prep.errors import counted
from musicgen.model.stop import Left, Stop

if TYPE_CHECKING:
    from musicgen.app.evaluation.likelihood import Score
    from musicgen.checkpoints import Released

SHOWN = 3  # names in a line
AT_ONCE = 0.01  # seconds: windows that come so close together were one call of the model, or take no longer
A_SECOND = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to score, with which model, at which setting."""
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--midi-dir", metavar="DIR", help="score the MIDI files in this folder")
    source.add_argument("--data", metavar="DIR", help="score a split of a data set from `musicgen prep`")
    memorisation_report.add_arguments(parser, source)
    add("--split", metavar="NAME", help="validation or test (with --data, or with --midi-dir and --csv)")
    add("--csv", metavar="FILE", help="which file of --midi-dir is in which split (default: the csv in that folder)")
    add_checkpoint(parser)
    add("--latents", type=whole, metavar="M", help="number of latents (default: the model's own)")
    add(
        "--context",
        type=whole,
        metavar="N",
        help="context length in tokens; may exceed the trained one (default: the model's own)",
    )
    add("--stride", type=whole, metavar="S", help="how far the window advances, in tokens (default: half the latents)")
    add("--limit", type=whole, metavar="PIECES", help="score the first PIECES pieces only")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress")
    samples_report.add_arguments(parser)


class Piece(NamedTuple):
    """What is scored: int16 [T] from BOS to EOS, of the file of that name and sha256, and which corpus it is of."""

    name: str
    sha256: str
    tokens: np.ndarray
    corpus: str = ""


def run(arguments: argparse.Namespace) -> int:
    """Score and report."""
    from musicgen.data_prep.dataset.prep import PrepError
    from musicgen.data_prep.dataset.shards import ShardError

    if arguments.limit is not None and arguments.limit < 1:
        raise BadInput(f"--limit must be at least 1, not {arguments.limit}")
    if samples_report.asked_for(arguments):
        return samples_report.run(arguments)
    if arguments.memorisation or arguments.build_index:
        return memorisation_report.run(arguments)
    try:
        return _score(arguments)
    except (ShardError, PrepError) as error:
        raise BadInput(str(error)) from None


def _score(arguments: argparse.Namespace) -> int:
    from musicgen.app.evaluation.likelihood import lengths, score
    from musicgen.app.generate import open_weights

    released = open_weights(arguments.checkpoint)
    sizes = {name: getattr(arguments, name) for name in ("latents", "context", "stride")}
    with Progress(0, "tokens", quiet=arguments.quiet) as progress:
        progress.note("reading the pieces ...")
        pieces = list(itertools.islice(_pieces(arguments, progress), arguments.limit))
        if not pieces:
            raise BadInput("there is nothing to score: no piece was found")
        known = _trained_on(released, pieces, progress)
        schedule = Schedule([len(piece.tokens) - 1 for piece in pieces], *lengths(released, **sizes))
        progress.total = schedule.tokens
        if not arguments.quiet:
            _say(
                progress,
                f"scoring {schedule.tokens:,} tokens of {counted(len(pieces), 'piece')} with {released.name} ...",
            )

        tokens, whole = [piece.tokens for piece in pieces], list[np.ndarray]()
        scored: Score | None = None
        with Stop() as stop:

            def on_progress(so_far: Score) -> None:
                nonlocal scored
                scored = so_far
                left = schedule.one_more()
                if stop:  # the score is printed, or will be
                    return
                if left is not None and not arguments.quiet:
                    _say(progress, f"this will take about {clock(left)}")
                progress.update(so_far.tokens, f"{so_far.nats_per_token:.4f} nats/token")

            to_stop = functools.partial(
                score, on_progress=on_progress, on_piece=whole.append, should_stop=stop.asked, **sizes
            )
            with contextlib.suppress(Left):  # in the middle of a window
                scored = stop.wait_for(to_stop, released, tokens)
    if scored is None:
        _say(progress, "stopped before anything was scored")
        return stop.exit_code
    report = dataclasses.asdict(scored)
    if known:
        report["trained_on"] = len(known)
    if any(piece.corpus for piece in pieces):
        report["corpora"] = _by_corpus(pieces, whole)
    if stop:
        report["stopped"] = True
        _say(progress, f"stopped after {scored.tokens:,} of {schedule.tokens:,} tokens; the score so far:")
    print(json.dumps(report) if arguments.json else _table(report))
    return stop.exit_code


def _by_corpus(pieces: list[Piece], nats: list[np.ndarray]) -> dict[str, dict[str, Any]]:
    """The score of each corpus, of the pieces that were scored whole."""
    found: dict[str, list[np.ndarray]] = {}
    for piece, scored in zip(pieces, nats, strict=False):
        found.setdefault(piece.corpus, []).append(scored.astype(np.float64))
    joined = {name: (len(scored), np.concatenate(scored)) for name, scored in found.items()}
    return {
        name: {"nats_per_token": float(scored.mean()), "tokens": len(scored), "pieces": count}
        for name, (count, scored) in joined.items()
    }


def _table(report: dict[str, Any]) -> str:
    lines = []
    for name, value in report.items():
        if name == "corpora":
            each = (f"{x['nats_per_token']:,.4f} {corpus} ({x['tokens']:,} tokens)" for corpus, x in value.items())
            lines += [f"{'nats_per_token' if i == 0 else '':<16} {line}" for i, line in enumerate(each)]
        else:
            lines.append(f"{name:<16} {value:,.4f}" if isinstance(value, float) else f"{name:<16} {value:,}")
    return "\n".join(lines)


def _say(progress: Progress, line: str) -> None:
    """Print a line in the bar's place, not behind it."""
    progress.close()
    print(f"musicgen: {line}", file=sys.stderr, flush=True)


def _trained_on(released: Released, pieces: list[Piece], progress: Progress) -> list[str]:
    """The pieces that the weights were trained on; a line names them."""
    from musicgen.checkpoints.training_files import HASH, read_training_files

    files = read_training_files(released.folder)
    known = [piece.name for piece in pieces if piece.sha256[:HASH] in files]
    if known and not progress.quiet:
        shown = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        _say(
            progress,
            f"{released.name} was trained on {len(known)} of {counted(len(pieces), 'piece')}, and knows them: {shown}",
        )
    return known


class Schedule:
    """How much there is to score, and for how long, once the first windows have shown it."""

    def __init__(self, targets: list[int], M: int, N: int, S: int) -> None:
        """targets: of each piece.  M, N, S: of the windows."""
        self.tokens = sum(targets)
        self.left = sum(1 + max(0, -(-(count - M) // S)) for count in targets)
        self.batch, self.told = 0, False
        self.first = self.latest = time.monotonic()  # of the windows that came at once

    def one_more(self) -> float | None:
        """A window has been scored: the seconds left, when they are known for the first time.

        Some come at once, and the first bring the time in which all is made ready.  Where they are so short that they
        always do, a second of them tells.
        """
        self.left -= 1
        now = time.monotonic()
        if self.told:
            return None
        if self.batch and now - self.latest > AT_ONCE:
            self.told = True
            return (self.left + 1) / self.batch * (now - self.latest) if self.left else None
        if self.batch and now - self.first > A_SECOND:
            self.told = True
            return self.left / self.batch * (now - self.first) if self.left else None
        self.first = self.first if self.batch else now
        self.batch, self.latest = self.batch + 1, now
        return None


def _pieces(arguments: argparse.Namespace, progress: Progress) -> Iterator[Piece]:
    """The pieces to score, in order."""
    from musicgen.data_prep.dataset.loader import with_ends
    from musicgen.data_prep.dataset.pieces import Rejected, find_items, prepare
    from musicgen.data_prep.dataset.shards import ShardSet
    from musicgen.data_prep.dataset.splits import find_table

    if arguments.data:
        if not arguments.split:
            raise BadInput("--data needs --split validation or --split test")
        shards = ShardSet(arguments.data, arguments.split)
        for i, entry in enumerate(shards.items):
            yield Piece(entry["name"], entry["sha256"], with_ends(shards.tokens(i)), shards.source(i))
        return
    table = arguments.csv or (find_table(arguments.midi_dir) if arguments.split else None)
    if arguments.split and table is None:
        _say(progress, "no csv says which file is in which split: scoring every file")
    for item in find_items(arguments.midi_dir, table):
        if table is None or arguments.split in (None, item.split):
            made = prepare(item)
            if isinstance(made, Rejected):
                _say(progress, f"left out: {made.name}: {made.reason}")
            else:
                yield Piece(made.name, made.sha256, with_ends(made.tokens))
