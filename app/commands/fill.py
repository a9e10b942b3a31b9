"""`musicgen fill song.mid --from 0:12 --to 0:18 --out new.mid`: a passage written anew; accompany and vary share it."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import add_checkpoint, add_flags, whole
from musicgen.app.controls import AVOID_COPIES, SAMPLING, SEED, control
from musicgen.app.errors import BadInput
from musicgen.app.output import MIDI_SUFFIXES, STDOUT, check_output, numbered, write_bytes
from musicgen.app.settings import MOST_SAMPLES, Settings, check_seed, complaints
from musicgen.model.stop import AT_ONCE, Stop

if TYPE_CHECKING:
    from musicgen.app.fill import Fill, FillRequest, FillResult

CHOSEN = (*SAMPLING, *(control(name) for name in ("style", "latents", "context", "num_samples")), SEED, AVOID_COPIES)
KEYS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
TIME = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d*)?)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The song, the region, and what stays in it."""
    add_song(parser, "song.mid", "the MIDI file, - for standard input, or a bundled opening by name")
    add = parser.add_argument
    add_region(parser, "the passage begins", "the passage ends")
    add(
        "--pitches",
        type=keys,
        default=(0, 127),
        metavar="LOW-HIGH",
        help="rewrite only these keys, such as 21-59 (middle C is 60); all others stay",
    )
    add(
        "--hand",
        choices=("left", "right"),
        help="rewrite only this hand; which notes it plays is estimated moment by moment",
    )
    add("--keep", metavar="FILE.mid", help="keep the notes of the passage that are also in this file")
    add("--keep-track", metavar="NAME", help="keep the notes of the track of this name")
    add_pedal(parser)
    add_drawing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the passage anew."""
    keep = _bytes(arguments.keep, "--keep") if arguments.keep is not None else None
    more = {name: getattr(arguments, name) for name in ("pitches", "hand", "keep_track", "pedal")}
    return make(arguments, "request_fill", keep=keep, **more)


def add_song(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """The song, and where it goes."""
    parser.add_argument("song", metavar=name, help=text)
    parser.add_argument(
        "-o",
        "--out",
        metavar="new.mid",
        help="where it goes; several become new-1.mid, new-2.mid ..., the likeliest first",
    )


def add_region(parser: argparse.ArgumentParser, first: str, last: str) -> None:
    """From where to where; the words say of what."""
    add = parser.add_argument
    add("--from", dest="start", type=moment, metavar="TIME", help=f"when {first}, such as 0:12 or 12.5")
    add("--to", dest="stop", type=moment, metavar="TIME", help=f"when {last}")


def add_pedal(parser: argparse.ArgumentParser) -> None:
    """What becomes of the pedal."""
    parser.add_argument(
        "--pedal",
        choices=("keep", "new"),
        help="keep the pedal in the passage, or write it anew (default: keep it where notes stay)",
    )


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """How it is drawn, by which weights, and how it is reported."""
    add_flags(parser, *CHOSEN)
    add = parser.add_argument
    add("--best-of", type=whole, metavar="K", help="make K, and keep the likeliest --num-samples of them")
    add_checkpoint(parser)
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def make(arguments: argparse.Namespace, asked: str, **more: Any) -> int:
    """Check everything that can be checked at once, then make the fills; asked: which function of app/fill.py asks."""
    began = time.perf_counter()
    settings, kept = _settings(arguments)
    outs = _outputs(arguments, kept)
    seed = check_seed(arguments.seed) if arguments.seed is not None else None
    data = _bytes(arguments.song, "the song")
    from musicgen.app import fill as filling
    from musicgen.app.generate import new_seed

    request: FillRequest = getattr(filling, asked)(
        data,
        start=arguments.start,
        stop=arguments.stop,
        settings=settings,
        seed=seed if seed is not None else new_seed(),
        name=str(arguments.song)[:200],
        **more,
    )
    with Stop() as stop:
        result = _fill(arguments, request, stop)
    fills = result.fills[:kept]
    for fill, out in zip(fills, outs, strict=True):
        write_bytes(out, fill.midi)
    _report(arguments, result, list(fills), outs, time.perf_counter() - began, began)
    return stop.exit_code


def _settings(arguments: argparse.Namespace) -> tuple[Settings, int]:
    """The settings, and how many of the fills are kept."""
    names = [one.name for one in CHOSEN if one not in (SEED, AVOID_COPIES)]
    with complaints():
        AVOID_COPIES.check(arguments.avoid_copies)
    kept, best = arguments.num_samples, arguments.best_of
    if best is not None and not kept <= best <= MOST_SAMPLES:
        raise BadInput(f"--best-of must be from --num-samples ({kept}) to {MOST_SAMPLES}, not {best}")
    values = {name: getattr(arguments, name) for name in names}
    return Settings.of(**(values | {"num_samples": best or kept})), kept


def _outputs(arguments: argparse.Namespace, count: int) -> list[Path]:
    if arguments.out is None:
        raise BadInput("--out says where it goes: --out new.mid")
    outs = [check_output(out, MIDI_SUFFIXES, "--out") for out in numbered(Path(arguments.out), count)]
    if STDOUT in outs and arguments.json:
        raise BadInput("--out - writes the song to standard output: --json needs --out new.mid")
    song = Path(arguments.song)
    for out in outs:
        if song.exists() and out.exists() and out.samefile(song):
            raise BadInput(f"--out {out} is the song itself: choose another name")
    return outs


def _bytes(path: str, what: str) -> bytes:
    from musicgen.app.bundled import find_prime
    from musicgen.app.prime import read_bytes

    return read_bytes(find_prime(path) if what == "the song" else Path(path))


def _fill(arguments: argparse.Namespace, request: FillRequest, stop: Stop) -> FillResult:
    from musicgen.app.evaluation.memorisation_report import open_index
    from musicgen.app.fill import fill
    from musicgen.app.generate import open_model, open_weights
    from musicgen.app.novelty import fill_avoiding_copies, training_set
    from musicgen.app.progress import Progress

    weights, limit = arguments.checkpoint, arguments.avoid_copies

    def make() -> tuple[FillResult, str | None]:
        progress.note("loading the model ...")
        model = open_model(open_weights(weights))
        index, remark = training_set(weights) if limit is None else (open_index(None, weights), None)
        progress.note("reading the song ...")
        score = request.settings.num_samples > 1 or arguments.json
        one = functools.partial(
            fill, model=model, on_progress=progress.update, should_stop=stop.asked, score=score, index=index
        )
        return one(request) if limit is None else fill_avoiding_copies(request, limit, one, stop.asked), remark

    with Progress(request.settings.seconds, "s of music", quiet=arguments.quiet, realtime=True) as progress:
        result, remark = stop.wait_for(make, patience=AT_ONCE, keeps=lambda: progress.begun)
    if remark is not None and not arguments.quiet:
        print(f"musicgen: {remark}", file=sys.stderr)
    return result


def _report(
    arguments: argparse.Namespace, result: FillResult, fills: list[Fill], outs: list[Path], wall: float, began: float
) -> None:
    """The JSON object on stdout, or a line for a person on stderr."""
    first, region = fills[0].provenance, result.request.region
    from musicgen.data_prep.errors import counted

    notes = sum(len(fill.notes) for fill in fills)
    if arguments.json:
        report = {
            "out": [str(out) for out in outs],
            "seed": result.seed,
            "checkpoint": first.checkpoint,
            "checkpoint_sha256": first.checkpoint_sha256,
            "backend": first.backend,
            "from": region.start,
            "to": region.stop,
            "pedal": result.request.pedal,
            "removed": len(result.request.removed),
            "notes": [len(fill.notes) for fill in fills],
            "nats_per_note": [fill.nats for fill in fills],
            "nats_per_note_before": result.real_nats,
            "seams": [[one and dataclasses.asdict(one) for one in fill.seams] for fill in fills],
            "memorisation": [fill.provenance.memorisation for fill in fills],
            "wall_seconds": round(wall, 3),
            "tokens_per_second": round(result.tokens_per_second, 2),
            "first_note_seconds": round(result.first_note_at - began, 3) if notes else None,
            "latents": first.settings.latents,
            "context": first.settings.context,
        }
        print(json.dumps(report | ({"stopped": True} if first.asked is not None else {})))
    if not arguments.quiet:
        names = ", ".join(map(str, outs))
        stopped = "stopped; " if first.asked is not None else ""
        upto = region.start + first.settings.seconds  # less than was asked if it was stopped
        print(
            f"musicgen: {stopped}{names}: {region.start:g} to {upto:g} s,"
            f" {counted(notes, 'new note')} for {len(result.request.removed):,}, seed {result.seed},"
            f" {first.checkpoint}, {wall:.1f} s",
            file=sys.stderr,
        )
        _warn(fills, outs)


def _warn(fills: list[Fill], outs: list[Path]) -> None:
    """A line for every fill that does not join its song as music does, or has too much of a training piece."""
    from musicgen.app import novelty
    from musicgen.app.evaluation.memorisation_report import THRESHOLD
    from musicgen.app.fill_score import unusual

    for fill, out in zip(fills, outs, strict=True):
        if odd := unusual(fill.seams):
            print(f"musicgen: {out} has {' and '.join(odd)}, which is rare in real music", file=sys.stderr)
        if novelty.length(fill) >= THRESHOLD:
            shares, title = novelty.nearest_piece(fill)
            said = f"shares {shares} notes with {title}: --avoid-copies {THRESHOLD} avoids that"
            print(f"musicgen: {out} {said}", file=sys.stderr)


def moment(text: str) -> float:
    """Seconds of 12.5, 0:12 or 1:02:03."""
    found = TIME.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no time: write 12.5, 0:12 or 1:02:03")
    seconds = 0.0
    for part in found.groups():
        seconds = seconds * (60 if part else 1) + float(part or 0)
    return seconds


def keys(text: str) -> tuple[int, int]:
    """The lowest and the highest key of 21-59, or of 60 alone."""
    found = KEYS.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no range of keys: write 21-59, the lower one first")
    return int(found[1]), int(found[2] or found[1])
