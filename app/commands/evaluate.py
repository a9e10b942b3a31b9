"""`musicgen evaluate`: nats per token of a model on a split or on any folder of MIDI files.

With --samples it compares music with music instead: see `samples_report`.
With --memorisation it looks for what was copied from the training set: see `memorisation_report`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from musicgen.app.arguments import whole
from musicgen.app.errors import BadInput
from musicgen.app.evaluation import memorisation_report, samples_report

if TYPE_CHECKING:
    pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to score, with which model, at which setting."""
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--midi-dir", metavar="DIR", help="score the MIDI files in this folder")
    source.add_argument("--data", metavar="DIR", help="score a split of a data set from `musicgen prep`")
    memorisation_report.add_arguments(parser, source)
    add("--split", metavar="NAME", help="validation or test (with --data, or with --midi-dir and --csv)")
    add("--csv", metavar="FILE", help="which file of --midi-dir is in which split (default: the csv in that folder)")
    add(
        "--checkpoint",
        metavar="NAME|DIR",
        help="published weights by name, or a folder of weights (default: maestro-piano)",
    )
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


def run(arguments: argparse.Namespace) -> int:
    """Score and report."""
    from musicgen.app.evaluation.likelihood import score
    from musicgen.app.generate import open_weights
    from musicgen.app.progress import Progress
    from musicgen.data_prep.dataset.prep import PrepError
    from musicgen.data_prep.dataset.shards import ShardError

    if arguments.limit is not None and arguments.limit < 1:
        raise BadInput(f"--limit must be at least 1, not {arguments.limit}")
    if samples_report.asked_for(arguments):
        return samples_report.run(arguments)
    if arguments.memorisation or arguments.build_index:
        return memorisation_report.run(arguments)
    try:
        pieces = list(itertools.islice(_pieces(arguments), arguments.limit))
    except (ShardError, PrepError) as error:
        raise BadInput(str(error)) from None
    if not pieces:
        raise BadInput("there is nothing to score: no piece was found")
    released = open_weights(arguments.checkpoint)
    lengths = {name: getattr(arguments, name) for name in ("latents", "context", "stride")}
    with Progress(sum(map(len, pieces)) - len(pieces), "tokens", quiet=arguments.quiet) as progress:

        def on_progress(tokens: int, nats: float) -> None:
            progress.update(tokens, f"{nats:.4f} nats/token")

        report = dataclasses.asdict(score(released, pieces, **lengths, on_progress=on_progress))
    if arguments.json:
        print(json.dumps(report))
    else:
        print(
            "\n".join(
                f"{name:<16} {value:,.4f}" if isinstance(value, float) else f"{name:<16} {value:,}"
                for name, value in report.items()
            )
        )
    return 0


def _pieces(arguments: argparse.Namespace) -> Iterator[np.ndarray]:
    """The pieces to score, in order, int16 [T] from BOS to EOS."""
    from musicgen.data_prep.dataset.loader import evaluation_pieces, with_ends
    from musicgen.data_prep.dataset.pieces import Rejected, find_items, prepare
    from musicgen.data_prep.dataset.splits import find_table

    if arguments.data:
        if not arguments.split:
            raise BadInput("--data needs --split validation or --split test")
        for _, tokens in evaluation_pieces(arguments.data, arguments.split):
            yield tokens
        return
    table = arguments.csv or (find_table(arguments.midi_dir) if arguments.split else None)
    if arguments.split and table is None:
        print("musicgen: no csv says which file is in which split: scoring every file", file=sys.stderr)
    items, _ = find_items(arguments.midi_dir, table)
    for item in items:
        if table is None or arguments.split in (None, item.split):
            made = prepare(item)
            if isinstance(made, Rejected):
                print(f"musicgen: left out: {made.name}: {made.reason}", file=sys.stderr)
            else:
                yield with_ends(made.tokens)
