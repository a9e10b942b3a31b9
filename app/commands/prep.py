"""`musicgen prep --midi-dir DIR --out DIR`: a folder of MIDI files becomes a data set."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from typing import TYPE_CHECKING

from musicgen.app.arguments import whole
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write

if TYPE_CHECKING:
    from musicgen.data_prep.dataset.prep import Report

SHOWN_REJECTS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source, target, splits, and where the work is done."""
    add = parser.add_argument
    add("--midi-dir", required=True, metavar="DIR", help="folder of MIDI files, or one TFRecord file of NoteSequences")
    add("--csv", metavar="FILE", help="official splits, such as maestro-v3.0.0.csv (none: by a hash of each name)")
    add("--out", required=True, metavar="DIR", help="folder for the data set; an unfinished one is finished")
    add("--workers", type=whole, metavar="N", help="processes (one per core)")
    add("--runner", default="local", help="local, or one of Apache Beam: direct, FlinkRunner, DataflowRunner ...")
    add(
        "--runner-option",
        action="append",
        default=[],
        metavar="--NAME=VALUE",
        help="passed on to Beam; may be repeated",
    )
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no report")


def run(arguments: argparse.Namespace) -> int:
    """Run the job, show where it is, report what it made and what it left out."""
    from musicgen.app.progress import Progress
    from musicgen.data_prep.dataset import prep

    if arguments.workers is not None and arguments.workers < 0:
        raise BadInput(f"--workers must be 0 or more, not {arguments.workers}")
    if arguments.runner != "local" and importlib.util.find_spec("apache_beam") is None:
        raise EnvironmentProblem(
            f"--runner {arguments.runner} needs Apache Beam: pip install 'perceiver-musicgen[beam]', or leave it out"
        )
    progress = Progress(0, "files", quiet=arguments.quiet)

    def report(state: prep.Progress) -> None:
        progress.total = state.total
        rejected = f", {state.rejected} rejected" if state.rejected else ""
        progress.update(state.done, f"{state.notes:,} notes, {state.tokens:,} tokens{rejected}")

    try:
        with progress:
            made = prep.run(
                arguments.midi_dir,
                arguments.out,
                csv=arguments.csv,
                workers=arguments.workers,
                runner=arguments.runner,
                runner_options=arguments.runner_option,
                on_progress=report,
            )
    except prep.PrepError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise cannot_write(error.filename or arguments.out, error) from None
    _tell(made, arguments)
    return 0


def _tell(made: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        told = {
            "out": str(made.out),
            "splits": {split: dict(totals) for split, totals in made.totals.items()},
            "rejected": [{"name": item.name, "reason": item.reason} for item in made.rejected],
            "shards": made.shards,
            "shards_kept": made.shards_kept,
            "wall_seconds": round(made.wall_seconds, 3),
        }
        print(json.dumps(told))
    if arguments.quiet:
        return
    kept = f" ({made.shards_kept} were there already)" if made.shards_kept else ""
    print(f"musicgen: {made.out}: {made.shards} shards{kept} in {made.wall_seconds:.1f} s", file=sys.stderr)
    for split, totals in made.totals.items():
        hours = totals["seconds"] / 3600
        print(
            f"  {split:<10} {totals['pieces']:>6,.0f} pieces {totals['notes']:>11,.0f} notes"
            f" {totals['tokens']:>12,.0f} tokens {hours:>7.1f} h",
            file=sys.stderr,
        )
    if made.rejected:
        print(f"  {len(made.rejected)} files are not in it (all in {made.out}/rejects.json):", file=sys.stderr)
        for item in made.rejected[:SHOWN_REJECTS]:
            print(f"    {item.name}: {item.reason}", file=sys.stderr)
