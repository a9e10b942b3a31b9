"""`musicgen prep --midi-dir DIR --out DIR`, or `prep --audio-dir DIR --out DIR [--codec NAME]`: make a data set."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import whole
from musicgen.app.errors import INTERRUPTED, TERMINATED, BadInput, EnvironmentProblem, cannot_write
from musicgen.app.progress import Progress
from musicgen.data_prep.errors import EngineError, counted
from musicgen.data_prep.vocabulary import STYLES

if TYPE_CHECKING:
    from musicgen.data_prep.dataset import prep
    from musicgen.data_prep.dataset.manifest import JobReport

SHOWN_REJECTS = 10
WIDTHS = {"pieces": 6, "recordings": 6, "notes": 11, "tokens": 12}  # of the columns in the report
CODES = "codes"  # the folder of a data set of audio in which its codes lie


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source, target, splits, and where the work is done."""
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--midi-dir",
        action="append",
        metavar="DIR",
        help="folder of MIDI files, or one TFRecord file of NoteSequences; may be repeated, one for each corpus",
    )
    source.add_argument(
        "--audio-dir", metavar="DIR", help="folder of recordings: .wav, .flac, .mp3, .ogg, .opus, .aiff, .caf ..."
    )
    add(
        "--csv",
        action="append",
        metavar="FILE",
        help="official splits, such as maestro-v3.0.0.csv (default: the csv in the folder, else a hash of each name);"
        " one for each of several folders, in the same order",
    )
    add(
        "--style",
        action="append",
        choices=STYLES,
        metavar="KIND",
        help=f"the kind of music, for `train --preset piano`: {', '.join(STYLES)};"
        " one for each of several folders, in the same order",
    )
    add(
        "--leave-out",
        metavar="FILE",
        help="file with names of pieces to leave out, one per line, as `musicgen duplicates` writes it",
    )
    add("--out", required=True, metavar="DIR", help="folder for the data set; an unfinished job is resumed")
    add("--codec", metavar="NAME|DIR", help=f"also encode the audio with this codec, into OUT/{CODES}")
    add("--workers", type=whole, metavar="N", help="number of processes (default: one per core)")
    add(
        "--runner",
        default="local",
        help="local, dask, or a runner of Apache Beam: direct, flink, spark, dataflow, or its full name"
        " (default: local)",
    )
    add(
        "--cluster",
        metavar="tcp://HOST:PORT",
        help="with --runner dask: the scheduler of a running cluster (default: a cluster of --workers on this machine)",
    )
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
    from musicgen.data_prep.dataset.shards import ShardError
    from musicgen.data_prep.errors import PrepError

    if arguments.workers is not None and arguments.workers < 0:
        raise BadInput(f"--workers must be 0 or more, not {arguments.workers}")
    if arguments.codec is not None and arguments.audio_dir is None:
        raise BadInput("--codec encodes audio: give --audio-dir, or leave it out")
    if arguments.style is not None and arguments.midi_dir is None:
        raise BadInput("--style is for MIDI files: give --midi-dir, or leave it out")
    if arguments.leave_out is not None and arguments.midi_dir is None:
        raise BadInput("--leave-out is for MIDI files: give --midi-dir, or leave it out")
    folders = arguments.midi_dir or [arguments.audio_dir]
    for option, given in (("--csv", arguments.csv), ("--style", arguments.style)):
        if given is not None and len(given) != len(folders):
            raise BadInput(
                f"there are {counted(len(folders), 'folder')}, and {option} is given {counted(len(given), 'time')}:"
                " give one for each folder, in the same order, or none"
            )
    try:
        report = _prepare_midi(arguments) if arguments.midi_dir is not None else _prepare_audio(arguments)
    except EngineError as error:
        raise EnvironmentProblem(str(error)) from None
    except (PrepError, ShardError) as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise cannot_write(error.filename or arguments.out, error) from None
    except (KeyboardInterrupt, SystemExit) as stop:
        print("musicgen: stopped; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED
    if arguments.json:
        print(
            json.dumps(report, default=lambda rejected: [{key: e[key] for key in ("name", "reason")} for e in rejected])
        )
    if not arguments.quiet:
        _print_report(report)
    return 0


def _tables(arguments: argparse.Namespace, folders: Sequence[str], column: str) -> list[str | Path | None]:
    """The csv of each folder: that which came with it unless one is asked for, and then a line says so."""
    from musicgen.data_prep.dataset.splits import find_table

    if arguments.csv is not None:
        return list(arguments.csv)
    found = [find_table(folder, column) for folder in folders]
    for table in found:
        if table is not None and not arguments.quiet:
            print(f"musicgen: the splits are those of {table}", file=sys.stderr)
    return list(found)


def _prepare_midi(arguments: argparse.Namespace) -> dict[str, Any]:
    from musicgen.data_prep.dataset import prep

    folders = arguments.midi_dir
    tables, styles = _tables(arguments, folders, "midi_filename"), arguments.style or [None] * len(folders)
    sources = [prep.Source(*each) for each in zip(folders, tables, styles, strict=True)]

    with Progress(0, "files", quiet=arguments.quiet) as progress:

        def show(state: prep.PrepProgress) -> None:
            progress.total = state.total
            rejected = f", {state.rejected} rejected" if state.rejected else ""
            progress.update(state.done, f"{counted(state.notes, 'note')}, {counted(state.tokens, 'token')}{rejected}")

        made = prep.run(sources, arguments.out, leave_out=arguments.leave_out, **_how(arguments), on_progress=show)
    return _describe(made) | ({"sources": dict(made.sources)} if made.sources else {})


def _prepare_audio(arguments: argparse.Namespace) -> dict[str, Any]:
    from musicgen.app.audio.codes_file import encode_set, open_codec
    from musicgen.data_prep.dataset import audio_prep

    codec = open_codec(arguments.codec) if arguments.codec is not None else None
    (table,) = _tables(arguments, [arguments.audio_dir], "audio_filename")
    with Progress(0, "shards", quiet=arguments.quiet) as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.update(done)

        made = audio_prep.run(arguments.audio_dir, arguments.out, csv=table, **_how(arguments), on_progress=show)
    report = _describe(made)
    if codec is None:
        return report
    with Progress(0, "s of sound", quiet=arguments.quiet, realtime=True) as progress:

        def show_seconds(done: float, total: float) -> None:
            progress.total = total
            progress.update(done)

        encoded = encode_set(made.out, made.out / CODES, codec, show_seconds)
    return report | {"codes": _describe(encoded) | {"codec_sha256": codec.sha256}}


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "workers": arguments.workers,
        "runner": arguments.runner,
        "cluster": arguments.cluster,
        "runner_options": arguments.runner_option,
    }


def _describe(made: JobReport) -> dict[str, Any]:
    """What --json prints of a data set."""
    return {
        "out": str(made.out),
        "splits": {split: dict(totals) for split, totals in made.totals.items()},
        "rejected": made.rejected,
        "shards": made.shards,
        "shards_kept": made.shards_kept,
        "wall_seconds": round(made.wall_seconds, 3),
    }


def _print_report(report: dict[str, Any]) -> None:
    kept = f" ({report['shards_kept']} were there already)" if report["shards_kept"] else ""
    shards, seconds = report["shards"], report["wall_seconds"]
    print(f"musicgen: {report['out']}: {counted(shards, 'shard')}{kept} in {seconds:.1f} s", file=sys.stderr)
    for split, totals in report["splits"].items():
        counts = "".join(
            f" {totals[key]:>{width},.0f} {key[:-1] + ' ' if totals[key] == 1 else key}"
            for key, width in WIDTHS.items()
            if key in totals
        )
        print(f"  {split:<10}{counts} {totals['seconds'] / 3600:>7.1f} h", file=sys.stderr)
    for name, source in report.get("sources", {}).items():
        style = f" ({source['style']})" if source["style"] else ""
        pieces = ", ".join(f"{totals['pieces']:,} {split}" for split, totals in source["splits"].items())
        hours = sum(totals["seconds"] for totals in source["splits"].values()) / 3600
        print(f"  {name}{style}: {pieces} pieces, {hours:,.1f} h", file=sys.stderr)
    rejected = report["rejected"]
    if len(rejected):
        are = f"{counted(len(rejected), 'file')} {'is' if len(rejected) == 1 else 'are'}"
        print(f"  {are} not in it (all in {report['out']}/rejects.json):", file=sys.stderr)
        for entry in itertools.islice(rejected, SHOWN_REJECTS):
            print(f"    {entry['name']}: {entry['reason']}", file=sys.stderr)
    if "codes" in report:
        _print_report(report["codes"])
