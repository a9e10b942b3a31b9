"""`musicgen evaluate --memorisation DIR`: what pieces have in common with the training set, and the index it needs."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.arguments import whole
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_read
from musicgen.app.output import check_output, write_bytes
from musicgen.app.progress import Progress
from musicgen.app.provenance import prime_notes
from musicgen.data_prep import MidiError, Performance, read_midi, read_text

if TYPE_CHECKING:
    from musicgen.data_prep.dataset.pieces import Item
    from musicgen.data_prep.evaluation.memorisation import Match
    from musicgen.data_prep.evaluation.memorisation_index import Index

FILE = "memorisation.npz"  # in the folder of a checkpoint
THRESHOLD = 32  # counted notes; benchmarks/memorisation says why
QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)


def add_arguments(parser: argparse.ArgumentParser, source: argparse._MutuallyExclusiveGroup) -> None:
    """What belongs to --memorisation alone; its two jobs are among the sources of which one is asked for."""
    source.add_argument(
        "--memorisation",
        metavar="DIR",
        help="find the longest passage that each piece of a folder (or data set, with --split) shares with training",
    )
    source.add_argument("--build-index", metavar="DIR", help="index the train split of a data set, for --memorisation")
    add = parser.add_argument_group("memorisation").add_argument
    add("--index", metavar="FILE", help=f"index of the training set (default: {FILE} of --checkpoint)")
    add(
        "--threshold",
        type=whole,
        default=THRESHOLD,
        metavar="K",
        help="notes in common from which a piece counts as a copy (default: %(default)s)",
    )
    add("--out", metavar="FILE.npz", help="where --build-index writes; titles come from --csv")


def run(arguments: argparse.Namespace) -> int:
    """Build an index, or report."""
    from musicgen.data_prep.dataset.shards import ShardError
    from musicgen.data_prep.errors import PrepError

    try:
        if arguments.build_index:
            return _build(arguments)
        if arguments.threshold < 1:
            raise BadInput(f"--threshold must be at least 1, not {arguments.threshold}")
        index = open_index(arguments.index, arguments.checkpoint)
        summary = report(index, _matches(arguments, index), arguments.threshold)
    except (ShardError, PrepError) as error:
        raise BadInput(str(error)) from None
    if not summary["pieces"]:
        raise BadInput("there is nothing to compare: no piece was found")
    print(json.dumps(summary) if arguments.json else text(summary))
    return 0


def find_index(checkpoint: str | None = None) -> Path | None:
    """The index that came with a checkpoint (None: the default one), or None if it has none."""
    from musicgen import checkpoints

    try:
        path = checkpoints.find(checkpoint if checkpoint is not None else checkpoints.DEFAULT) / FILE
    except checkpoints.CheckpointError:
        return None
    return path if path.is_file() else None


def open_index(path: str | None = None, checkpoint: str | None = None) -> Index:
    """The index in a file, or else the one that came with a checkpoint, and with its base if it was taught to one.

    Raises BadInput or EnvironmentProblem.
    """
    from musicgen.checkpoints import base_of
    from musicgen.data_prep.evaluation.memorisation_index import MemorisationError, join, read_index

    found = Path(path) if path is not None else find_index(checkpoint)
    if found is None:
        raise BadInput(_no_index(checkpoint))
    try:
        index = read_index(found)
        base = base_of(found.parent) if path is None else None
        before = find_index(base) if base is not None else None
        return index if before is None else join(index, read_index(before))
    except MemorisationError as error:
        raise (BadInput if path is not None else EnvironmentProblem)(str(error)) from None
    except OSError as error:
        raise cannot_read(found, error, "index") from None


def _no_index(checkpoint: str | None) -> str:
    from musicgen import checkpoints

    try:
        folder = checkpoints.find(checkpoint if checkpoint is not None else checkpoints.DEFAULT)
    except checkpoints.CheckpointError as error:
        return str(error)
    return (
        "these weights come without an index of what they were trained on: make one from their data set with"
        f" musicgen evaluate --build-index DATA --out {folder / FILE}"
    )


def new_notes(content: bytes) -> Performance:
    """The music of a MIDI file without the prime that it continues, by its provenance. Raises MidiError."""
    music, _ = read_midi(content)
    return without_prime(music, prime_notes(read_text(content)))


def without_prime(music: Performance, first: int) -> Performance:
    """The notes of a piece from number ``first`` on."""
    return Performance(music.onset[first:], music.end[first:], music.pitch[first:], music.velocity[first:], music.pedal)


def nearest(music: Performance, index: Index) -> dict[str, Any] | None:
    """The longest match as plain values for a report or a sidecar, None if there is none of 9 notes."""
    from musicgen.data_prep.evaluation.memorisation import longest_match

    match = longest_match(music, index)
    return None if match is None else plain(match)


def plain(match: Match) -> dict[str, Any]:
    """A match as plain values."""
    return dataclasses.asdict(match)


def report(index: Index, matches: Sequence[tuple[str, dict[str, Any] | None]], threshold: int) -> dict[str, Any]:
    """Every piece with its match, and both distributions: of these pieces, and of music that was not trained on."""
    from musicgen.data_prep.evaluation.memorisation import BACKGROUND_SECONDS

    lengths = np.array([match["length"] if match else 0 for _, match in matches], np.int64)
    return {
        **_distribution(lengths, threshold),
        "threshold": threshold,
        "background": {**_distribution(index.background, threshold), "seconds": BACKGROUND_SECONDS},
        "training_pieces": len(index.names),
        "nearest": _nearest_folders(matches, threshold),
        "matches": [{"piece": name, "match": match} for name, match in matches],
    }


def _nearest_folders(matches: Sequence[tuple[str, dict[str, Any] | None]], threshold: int) -> dict[str, dict[str, int]]:
    """By the first folder of the training piece, which of several corpora is the corpus: pieces, and copies of them."""
    counts: dict[str, dict[str, int]] = {}
    for _, match in matches:
        if match is not None:
            folder = counts.setdefault(match["name"].rpartition("/")[0].partition("/")[0], {"pieces": 0, "above": 0})
            folder["pieces"] += 1
            folder["above"] += match["length"] >= threshold
    return dict(sorted(counts.items()))


def _distribution(lengths: np.ndarray, threshold: int) -> dict[str, Any]:
    above = int((lengths >= threshold).sum())
    quantiles = np.quantile(lengths, QUANTILES).tolist() if len(lengths) else [None] * len(QUANTILES)
    return {
        "pieces": len(lengths),
        "above": above,
        "rate": above / len(lengths) if len(lengths) else None,
        "quantiles": dict(zip((f"{q:g}" for q in QUANTILES), quantiles, strict=True)),
    }


def text(summary: dict[str, Any]) -> str:
    """The report as lines, the longest match first."""
    lines = [f"{'length':>6} {'notes':>6} {'seconds':>8} {'at':>8}   piece <- training piece, at"]
    for row in sorted(summary["matches"], key=lambda row: -row["match"]["length"] if row["match"] else 0):
        match = row["match"]
        if match is None:
            lines.append(f"{0:>6} {'-':>6} {'-':>8} {'-':>8}   {row['piece']} <- none of 9 notes")
            continue
        origin = f"{match['name']} ({match['title']})" if match["title"] else match["name"]
        lines.append(
            f"{match['length']:>6} {match['notes']:>6} {match['seconds']:>8.1f} {match['start']:>8.1f}   "
            f"{row['piece']} <- {origin}, {match['from_start']:.1f}, {match['transposition']:+d} semitones"
        )
    background = summary["background"]
    lines += ["", _line("these pieces", summary, summary["threshold"])]
    if len(summary["nearest"]) > 1:
        each = (f"{name or '.'} {of['above']} of {of['pieces']}" for name, of in summary["nearest"].items())
        lines.append(f"by the training piece's folder: {', '.join(each)}")
    if background["pieces"]:
        lines.append(_line(f"untrained music, {background['seconds']:g} s each", background, summary["threshold"]))
    return "\n".join(lines)


def _line(name: str, summary: dict[str, Any], threshold: int) -> str:
    half, most = summary["quantiles"]["0.5"], summary["quantiles"]["1"]
    return (
        f"{name}: {summary['above']} of {summary['pieces']} ({summary['rate']:.1%}) have a match of {threshold} or"
        f" more; median {half:g}, longest {most:g}"
    )


def _matches(arguments: argparse.Namespace, index: Index) -> list[tuple[str, dict[str, Any] | None]]:
    from musicgen.data_prep.errors import PrepError

    matches = []
    pieces = list(_pieces(arguments.memorisation, arguments.split))[: arguments.limit]
    with Progress(len(pieces), "pieces", quiet=arguments.quiet) as progress:
        for count, (name, read) in enumerate(pieces, start=1):
            try:
                matches.append((name, nearest(read(), index)))
            except (MidiError, PrepError) as error:
                print(f"musicgen: left out: {name}: {error}", file=sys.stderr)
            except OSError as error:
                print(f"musicgen: left out: {name}: {error.strerror or error}", file=sys.stderr)
            progress.update(count)
    return matches


def _pieces(folder: str, split: str | None) -> Iterator[tuple[str, Callable[[], Performance]]]:
    """(name, a function that reads the music), in order of the names."""
    from musicgen.data_prep.dataset.pieces import Item
    from musicgen.data_prep.dataset.shards import MANIFEST, ShardSet
    from musicgen.data_prep.dataset.splits import find_midi

    root = Path(folder)
    if (root / MANIFEST).is_file():
        if not split:
            raise BadInput(f"{folder} is a data set: --split says which part of it, validation or test")
        data = ShardSet(root, split)
        yield from ((data.name(i), functools.partial(data.notes, i)) for i in range(len(data)))
        return
    for name in find_midi(root):
        item = Item(name, "", str(root / name))
        yield name, functools.partial(_read, item)


def _read(item: Item) -> Performance:
    return new_notes(item.read())


def _build(arguments: argparse.Namespace) -> int:
    from musicgen.data_prep.dataset.shards import ShardSet
    from musicgen.data_prep.errors import counted
    from musicgen.data_prep.evaluation.memorisation import measure_background
    from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes

    if arguments.out is None:
        raise BadInput(f"--build-index needs --out FILE.npz, such as --out {FILE}")
    out = check_output(arguments.out, (".npz",), "--out")
    titles = _titles(Path(arguments.csv)) if arguments.csv else {}
    train, test = (ShardSet(arguments.build_index, split) for split in ("train", "test"))
    names = [train.name(i) for i in range(len(train))]
    index = build_index((name, titles.get(name, ""), train.notes(i)) for i, name in enumerate(names))
    if not len(index.interval):
        raise BadInput(f"{arguments.build_index} has no notes in its train split: is it the right data set?")
    with Progress(len(test), "pieces of background", quiet=arguments.quiet) as progress:
        background = measure_background((test.notes(i) for i in range(len(test))), index, progress.update)
    content = index_bytes(dataclasses.replace(index, background=background))
    write_bytes(out, content)
    summary = {"index": str(out), "bytes": len(content), "pieces": len(index.names), "notes": len(index.interval)}
    summary["background"] = _distribution(background, arguments.threshold)
    if arguments.json:
        print(json.dumps(summary))
    elif not arguments.quiet:
        size = f"{counted(len(index.names), 'piece')}, {counted(len(index.interval), 'note')}"
        print(f"{out}: {size}, {len(content) / 2**20:.1f} MiB")
    return 0


def _titles(path: Path) -> dict[str, str]:
    """What every piece that the csv of a data set names is called."""
    from musicgen.data_prep.evaluation.memorisation_index import title_of

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise cannot_read(path, error, "csv") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as a csv: {error}") from None
    columns = ("midi_filename", "canonical_composer", "canonical_title")
    if not rows or any(column not in rows[0] for column in columns):
        raise BadInput(f"{path} has no columns {', '.join(columns)}: give the csv of the data set or leave --csv out")
    return {row["midi_filename"]: title_of(row[columns[1]], row[columns[2]]).replace("\0", "") for row in rows}
