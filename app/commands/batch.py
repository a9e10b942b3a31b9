"""`musicgen generate --batch jobs.jsonl --out-dir DIR`: the part of the main command that makes pieces from a list."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import INTERRUPTED, TERMINATED, BadInput, EnvironmentProblem
from musicgen.app.output import alone, make_folder
from musicgen.app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from musicgen.app.batch.jobs import Job
    from musicgen.app.batch.making import Made
    from musicgen.checkpoints import Released

SHOWN = 10  # complaints
RUNNERS = ("local", "dask")
REFUSED = ("out", "audio", "codec", "soundfont", "audio_model", "seed")  # each line has, or is, its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The list, and where it is worked off."""
    add = parser.add_argument
    add(
        "--batch",
        metavar="jobs.jsonl",
        help='instead of primes: a list of pieces for --out-dir, one per line, such as {"out": "new", "prime": "bach",'
        ' "seed": 7, "seconds": 60}; finished pieces are skipped',
    )
    add("--runner", choices=RUNNERS, default="local", help="where a --batch is made (default: local)")
    add(
        "--cluster",
        metavar="tcp://HOST:PORT",
        help="with --runner dask: the scheduler of a running cluster (default: a cluster on this machine)",
    )


def asked_for(arguments: argparse.Namespace) -> bool:
    """Whether there is a list."""
    if arguments.batch is None and (arguments.runner != "local" or arguments.cluster is not None):
        raise BadInput("--runner and --cluster go with --batch: give a list of pieces, or leave them out")
    return arguments.batch is not None


def run(arguments: argparse.Namespace) -> int:
    """Check the whole list, make what is not there yet, report."""
    began = time.perf_counter()
    _refuse(arguments)
    _check_runner(arguments)
    from musicgen.app.generate import open_weights

    released = open_weights(arguments.checkpoint)
    folder = make_folder(arguments.out_dir, "--out-dir").absolute()
    made: list[Made] = []
    try:
        with alone(folder):
            jobs, left = _read(arguments, released, folder)
            for some in _make(arguments, released, folder, left):
                made += some
    except (KeyboardInterrupt, SystemExit) as stop:
        print("musicgen: stopped; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED
    failed = [one for one in made if one.problem is not None]
    report = _describe(made, len(jobs) - len(left), time.perf_counter() - began)
    report = {"out_dir": arguments.out_dir, "checkpoint": released.name, "checkpoint_sha256": released.sha256} | report
    if arguments.json:
        print(json.dumps(report))
    if not arguments.quiet:
        _print(report)
    if failed:
        _complain([f"{arguments.batch}:{one.line}: {one.problem}" for one in failed])
        raise BadInput(f"{len(failed)} of {len(jobs)} pieces could not be made; the others are in {arguments.out_dir}")
    return 0


def _refuse(arguments: argparse.Namespace) -> None:
    if arguments.prime:
        raise BadInput('--batch takes primes from its list: {"out": "new", "prime": "bach"} in a line')
    if arguments.out_dir is None:
        raise BadInput("--batch makes many pieces: give --out-dir DIR")
    for name in REFUSED:
        if getattr(arguments, name) not in (None, False):
            raise BadInput(f"--{name.replace('_', '-')} does not go with --batch: leave it out")
    if arguments.num_samples != 1:
        raise BadInput("each line of --batch is one piece: leave --num-samples out")


def _check_runner(arguments: argparse.Namespace) -> None:
    from musicgen.data_prep.dataset.runners import Runner
    from musicgen.data_prep.errors import EngineError, PrepError

    try:
        Runner(arguments.runner, arguments.cluster).check()
    except EngineError as error:
        raise EnvironmentProblem(str(error)) from None
    except PrepError as error:
        raise BadInput(str(error)) from None


def _read(arguments: argparse.Namespace, released: Released, folder: Path) -> tuple[list[Job], list[Job]]:
    """All jobs, and those that are not done.  Raises BadInput, after lines that say why, if one cannot be."""
    from musicgen.app.batch.jobs import FIELDS, is_there, read_jobs
    from musicgen.app.evaluation.memorisation_report import open_index
    from musicgen.app.styles import styles_of, told

    styles = styles_of(released.tokenizer, released.about)

    def resolve(settings: Settings) -> Settings:
        told(settings.style, styles, released.name)
        return settings.resolve(released.config.latents, released.config.context)

    usual = {name: getattr(arguments, name) for name in FIELDS if name not in ("out", "prime", "seed")}
    jobs, problems = read_jobs(Path(arguments.batch), usual, resolve)
    left = []
    for job in jobs:
        try:
            if not is_there(job, folder, released.sha256):
                left.append(job)
        except BadInput as error:
            problems.append(f"{arguments.batch}:{job.line}: {error}")
    if problems:
        _complain(problems)
        lines = "line" if len(problems) == 1 else "lines"
        raise BadInput(f"{len(problems)} {lines} of {arguments.batch} cannot be used: nothing was made")
    if any(job.avoid_copies is not None for job in left):
        open_index(None, arguments.checkpoint)  # complain before the slow part
    return jobs, left


def _complain(problems: list[str]) -> None:
    for problem in problems[:SHOWN]:
        print(f"musicgen: error: {problem}", file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"musicgen: error: and {len(problems) - SHOWN} more", file=sys.stderr)


def _make(arguments: argparse.Namespace, released: Released, folder: Path, jobs: list[Job]) -> Iterator[list[Made]]:
    """What became of the jobs, batch by batch, with a line of progress."""
    from musicgen.app.batch import making
    from musicgen.app.progress import Progress
    from musicgen.data_prep.errors import EngineError, PrepError

    if not jobs:
        return
    seconds = {job.line: job.settings.seconds for job in jobs}
    pieces, finished = 0, 0.0
    batches = making.plan(jobs)
    rows = max(len(batch) for batch in batches)
    with Progress(sum(seconds.values()), "s of music", quiet=arguments.quiet, realtime=True) as progress:

        def show(more: float = 0.0) -> None:
            progress.update(finished + more, f"{pieces:,} of {len(jobs):,} pieces")

        progress.note("loading the model ...")
        where = (arguments.checkpoint, released.sha256, folder, batches)
        try:
            if arguments.runner == "local":
                results = making.make_here(*where, lambda each: show(each * rows))
            else:
                results = making.make_on_cluster(*where, arguments.cluster)
            show()
            for some in results:
                pieces += len(some)
                finished += sum(seconds[one.line] for one in some)
                show()
                yield some
        except EngineError as error:
            raise EnvironmentProblem(str(error)) from None
        except PrepError as error:
            raise BadInput(str(error)) from None


def _describe(made: list[Made], kept: int, wall: float) -> dict[str, Any]:
    """What --json prints of what became of the list."""
    whole = [one for one in made if one.problem is None]
    tokens = sum(one.tokens for one in whole)
    return {
        "pieces": len(whole),
        "kept": kept,
        "failed": [
            {"line": one.line, "out": one.out, "problem": one.problem} for one in made if one.problem is not None
        ],
        "seconds": round(sum(one.seconds for one in whole), 3),
        "notes": sum(one.notes for one in whole),
        "tokens": tokens,
        "wall_seconds": round(wall, 3),
        "tokens_per_second": round(tokens / wall, 2),
    }


def _print(report: dict[str, Any]) -> None:
    from musicgen.data_prep.errors import counted

    kept = f" ({report['kept']:,} were there already)" if report["kept"] else ""
    print(
        f"musicgen: {report['out_dir']}: {counted(report['pieces'], 'new piece')}{kept},"
        f" {report['seconds']:,.0f} s of music, {counted(report['notes'], 'note')}, {report['wall_seconds']:,.1f} s",
        file=sys.stderr,
    )
