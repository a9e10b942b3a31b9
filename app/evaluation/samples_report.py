"""`musicgen evaluate --samples DIR`: a folder of pieces against a reference set, as a table, JSON and pictures."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import number
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write
from musicgen.app.output import replacing
from musicgen.app.progress import Progress
from musicgen.data_prep import MidiError, Performance, read_midi

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicgen.data_prep.dataset.pieces import Item
    from musicgen.data_prep.evaluation.measures import Measured

COLOURS = {"samples": "tab:orange", "reference": "tab:blue"}
TICKS = (-1000, -300, -100, -30, -10, -3, -2, -1, 0, 1, 2, 3, 10, 30, 100, 300, 1000)
PICTURES = ("measures.png", "histograms.png", "self-similarity.png", "minutes.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What belongs to --samples alone."""
    add = parser.add_argument_group("music instead of likelihood").add_argument
    add(
        "--samples",
        metavar="DIR",
        help="compare the pieces in this folder with those of --midi-dir or --data, without a model "
        "(with --limit: that many of them, evenly spaced)",
    )
    add("--samples-split", metavar="NAME", help="use only this split of --samples, a data set or a folder with a csv")
    add(
        "--seconds",
        type=number,
        metavar="S",
        help="compare only the first S seconds of every piece (default: all of it)",
    )
    add("--plots", metavar="DIR", help="draw the comparison into this folder (needs matplotlib)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap intervals (default: %(default)s)")


def asked_for(arguments: argparse.Namespace) -> bool:
    """Whether --samples is given. Raises BadInput if only what belongs to it is."""
    if arguments.samples is not None:
        return True
    for option in ("samples_split", "seconds", "plots"):
        if getattr(arguments, option) is not None:
            raise BadInput(f"--{option.replace('_', '-')} belongs to --samples DIR, which is missing")
    return False


def run(arguments: argparse.Namespace) -> int:
    """Measure both sets, compare, report."""
    from musicgen.data_prep.dataset.prep import PrepError
    from musicgen.data_prep.dataset.shards import ShardError
    from musicgen.data_prep.evaluation.compare import compare

    seconds = math.inf if arguments.seconds is None else arguments.seconds
    if not seconds > 0:
        raise BadInput(f"--seconds must be more than 0, not {arguments.seconds:g}")
    if arguments.seed < 0:
        raise BadInput(f"--seed must not be negative, not {arguments.seed}")
    plots = _plots_folder(arguments.plots)
    sources = {
        "samples": (arguments.samples, arguments.samples_split, None, arguments.limit, False),
        "reference": (arguments.data or arguments.midi_dir, arguments.split, arguments.csv, None, bool(arguments.data)),
    }
    measured, left_out = {}, {}
    try:
        with Progress(0, "pieces", quiet=arguments.quiet) as progress:
            for name, source in sources.items():
                measured[name], left_out[name] = _measured(_pieces(*source), seconds, progress)
        report = {
            "folders": {name: source[0] for name, source in sources.items()},
            "splits": {name: source[1] for name, source in sources.items()},
            "seconds": arguments.seconds,
            "pieces": {name: len(pieces) for name, pieces in measured.items()},
            "left_out": left_out,
            **compare(measured["samples"], measured["reference"], seed=arguments.seed),
        }
    except (ShardError, PrepError) as error:
        raise BadInput(str(error)) from None
    if plots is not None:
        draw(report, plots)
        if not arguments.quiet:
            print(f"musicgen: {', '.join(PICTURES)} are in {plots}", file=sys.stderr)
    print(json.dumps(report) if arguments.json else text(report))
    return 0


Piece = tuple[str, Performance | str]  # name, and music or the reason why there is none


def _pieces(folder: str, split: str | None, csv: str | None, limit: int | None, data_set: bool) -> Iterator[Piece]:
    """Every piece of a folder of MIDI files or of a data set, in order of their names, or ``limit`` spread over it."""
    from musicgen.data_prep.dataset.pieces import Item, find_items
    from musicgen.data_prep.dataset.shards import MANIFEST, ShardSet
    from musicgen.data_prep.dataset.splits import find_midi, find_table

    root = Path(folder)
    if data_set or (root / MANIFEST).is_file():
        if not split:
            raise BadInput(f"{folder} is a data set: choose validation or test with --split or --samples-split")
        shards = ShardSet(root, split)
        for i in _spread(len(shards), limit):
            yield shards.name(i), shards.notes(i)
        return
    if not split:
        items = [Item(name, "", str(root.absolute() / name)) for name in find_midi(root)]
    elif root.is_file():
        raise BadInput(f"{folder} is a file: give the folder that holds the MIDI files")
    else:
        table = csv or find_table(root)
        items = [item for item in find_items(root, table) if item.split == split]
        if not items:
            raise BadInput(f"{folder} has no piece in the split {split!r}: choose train, validation or test")
    for i in _spread(len(items), limit):
        yield items[i].name, _read(items[i])


def _spread(count: int, limit: int | None) -> list[int]:
    """``limit`` of ``count`` places at equal distances; all of them without a limit."""
    wanted = count if limit is None else min(limit, count)
    return [i * count // wanted for i in range(wanted)]


def _read(item: Item) -> Performance | str:
    from musicgen.data_prep.dataset.prep import PrepError

    try:
        performance, _ = read_midi(item.read())
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (MidiError, PrepError) as error:
        return str(error)
    return performance if len(performance) else "no notes"


def _measured(pieces: Iterable[Piece], seconds: float, progress: Progress) -> tuple[list[Measured], int]:
    """The pieces in numbers, and how many could not be measured; those are named on stderr."""
    from musicgen.data_prep.evaluation.measures import measure

    made, left_out = [], 0
    for count, (name, music) in enumerate(pieces, start=1):
        if isinstance(music, str):
            left_out += 1
            print(f"musicgen: left out: {name}: {music}", file=sys.stderr)
        else:
            made.append(measure(music, seconds))
        progress.update(count)
    return made, left_out


def text(report: dict[str, Any]) -> str:
    """The report as lines: a row for each measure, a star where the sets differ."""
    pieces, left_out = report["pieces"], report["left_out"]
    lines = [
        f"{pieces['samples']} samples ({left_out['samples']} left out), "
        f"{pieces['reference']} pieces of reference ({left_out['reference']} left out)",
        f"mean [{report['level']} % interval]",
        "",
        f"{'':<27}{'':<11}{'samples':<33}{'reference':<33}  {'overlap':<11}  KL",
    ]
    for name, row in report["measures"].items():
        gap = row["difference"]
        differs = gap["mean"] is not None and (gap["low"] > 0 or gap["high"] < 0)
        sets = "".join(f"{_interval(row[which]):<33}" for which in COLOURS)
        lines.append(f"{name:<27}{row['unit']:<11}{sets}{'* ' if differs else '  '}{_overlap(row)}".rstrip())
    lines += ["", f"{'histogram distance':<38}{'within samples':<33}{'within the reference':<33}{'between':<14}"]
    for name, row in report["histograms"].items():
        distance = row["distance"]
        values = f"{distance['samples']:<33.4g}{distance['reference']:<33.4g}{distance['between']:<14.4g}"
        lines.append(f"{name:<38}{values}{_overlap(row)}".rstrip())
    lines += [
        "",
        _frechet(report["frechet"]),
        "",
        "* the interval of the difference leaves out 0. overlap, KL: distances between the sets against those within",
        "the samples / within the reference (1 and 0 for sets that cannot be told apart).",
    ]
    return "\n".join(lines)


def _interval(report: dict[str, Any]) -> str:
    if report["mean"] is None:
        return "-"
    return f"{report['mean']:.4g} [{report['low']:.4g}, {report['high']:.4g}]"


def _overlap(row: dict[str, Any]) -> str:
    if row.get("overlap") is None:
        return ""
    overlap, kl = row["overlap"], row["kl"]
    return f"{overlap['samples']:.2f} / {overlap['reference']:.2f}  {kl['samples']:.3f} / {kl['reference']:.3f}"


def _frechet(row: dict[str, Any] | None) -> str:
    if row is None:
        return "Frechet distance: too few pieces that have all of its measures"
    chance = row["chance"]
    return (
        f"Frechet distance over {len(row['measures'])} measures: {row['distance']:.4g}; as many pieces of the reference"
        f" itself have {chance['mean']:.4g} [{chance['low']:.4g}, {chance['high']:.4g}]"
    )


def _plots_folder(name: str | None) -> Path | None:
    """The folder for the pictures, after every check that can be made before the work."""
    if name is None:
        return None
    if importlib.util.find_spec("matplotlib") is None:
        raise EnvironmentProblem("--plots needs matplotlib: pip install matplotlib, or leave --plots out")
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--plots {folder} is not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


def draw(report: dict[str, Any], folder: Path) -> None:
    """Draw the report into PICTURES of the folder."""
    for name, painter in zip(PICTURES, (_forest, _histograms, _similarity, _minutes), strict=True):
        figure = painter(report)
        with replacing(folder / name) as temporary:
            figure.savefig(temporary, dpi=120)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _forest(report: dict[str, Any]) -> Figure:
    """The difference of every measure, in interval widths of the reference."""
    figure = _figure(8, 7)
    axes = figure.add_subplot()
    names: list[str] = []
    for name, row in report["measures"].items():
        gap, reference = row["difference"], row["reference"]
        if gap["mean"] is None or reference["high"] <= reference["low"]:
            continue
        width = (reference["high"] - reference["low"]) / 2
        axes.plot([gap["low"] / width, gap["high"] / width], [len(names)] * 2, color="tab:gray")
        axes.plot(gap["mean"] / width, len(names), "o", color=COLOURS["samples"])
        names.append(name)
    axes.axvline(0, color=COLOURS["reference"])
    axes.set_xscale("symlog", linthresh=3)
    ends = axes.get_xlim()
    axes.set_xticks(ticks := [tick for tick in TICKS if ends[0] <= tick <= ends[1]], [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*ends)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"samples - reference, in half widths of the reference's {report['level']} % interval")
    return figure


def _histograms(report: dict[str, Any]) -> Figure:
    """The mean histograms with their intervals."""
    figure = _figure(10, 7)
    for place, (name, row) in enumerate(report["histograms"].items(), start=1):
        axes = figure.add_subplot(2, 2, place)
        bins = list(range(len(row["edges"]) - 1))
        for which in COLOURS:
            _band(axes, bins, row[which], which, "steps-mid")
        marks = bins[:: max(len(bins) // 6, 1)]
        axes.set_xticks(marks, [f"{row['edges'][mark]:g}" for mark in marks])
        axes.set_xlabel(
            {"pitch_classes": "semitones above the best fitting major key", "velocity": name}.get(name, f"{name}, s")
        )
        axes.set_ylabel("share of notes")
        axes.legend()
    return figure


def _similarity(report: dict[str, Any]) -> Figure:
    """The curve of self-similarity."""
    figure = _figure(8, 4)
    axes = figure.add_subplot()
    for which in COLOURS:
        _band(axes, report["self_similarity"]["lag_seconds"], report["self_similarity"][which], which)
    axes.set_xlabel("distance in time, s")
    axes.set_ylabel("cosine of chroma (2 s frames)")
    axes.legend()
    return figure


def _minutes(report: dict[str, Any]) -> Figure:
    """The measures minute by minute."""
    figure = _figure(12, 6)
    for place, (name, row) in enumerate(report["minutes"].items(), start=1):
        axes = figure.add_subplot(2, 3, place)
        for which in COLOURS:
            _band(axes, list(range(1, len(row[which]["mean"]) + 1)), row[which], which)
        axes.set_xlabel("minute")
        axes.set_ylabel(name)
        axes.legend()
    return figure


def _band(axes: Any, x: Sequence[float], row: dict[str, list], label: str, style: str = "default") -> None:
    """A line with its interval; nothing where no piece has a value."""
    mean, low, high = ([math.nan if value is None else value for value in row[key]] for key in ("mean", "low", "high"))
    axes.plot(x, mean, color=COLOURS[label], label=label, drawstyle=style, marker="." if len(x) <= 10 else "")
    step = "mid" if style == "steps-mid" else None
    axes.fill_between(x, low, high, color=COLOURS[label], alpha=0.2, linewidth=0, step=step)
