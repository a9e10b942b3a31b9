"""Which pieces there are, and which of them train, validate or test a model.

Official splits come from a csv with the columns ``midi_filename`` and ``split`` (MAESTRO's own file), which is looked
for in the folder itself. Any other folder is split by a hash of each piece's name: no list is needed, and adding files
never moves a piece to another split.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from musicgen.data_prep import limits
from musicgen.data_prep.errors import PrepError, counted
from musicgen.data_prep.files import open_regular, read_regular

SPLITS = ("train", "validation", "test")
SPLIT_ORDER = ("test", "validation", "train")  # of a data set: of equal pieces the first stays, see `prep`
MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".smf", ".rmi")
TABLES = "*.[cC][sS][vV]"
MOST_NAMED = 6  # of them, in a line
VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05


def find_midi(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of all MIDI files under ``folder``, see ``find_files``."""
    return find_files(folder, MIDI_SUFFIXES, "MIDI")


def find_files(folder: str | os.PathLike[str], suffixes: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Names of all files under ``folder`` that end so: relative paths with forward slashes, sorted.

    Raises PrepError if the folder is missing or holds no such file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PrepError(f"{root} is not a folder: give the folder that holds the {kind} files")
    names = tuple(name for name in _walk(root) if _is_meant(name, suffixes))
    if not names:
        raise PrepError(f"no {_either(suffixes)} file in {root} or its subfolders: is this the right folder?")
    return names


def find_others(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...], apart: Sequence[str | os.PathLike[str] | None]
) -> list[dict[str, Any]]:
    """Entries, as of rejected files, of all files that `find_files` passes over; none of a source that is a file.

    apart: files and folders that are no part of the source, such as the csv and the data set itself.
    """
    root = Path(folder)
    known = [Path(path).resolve() for path in apart if path is not None]
    here = root.resolve()
    return [
        {"name": name, "split": "", "sha256": None, "reason": f"its name does not end in {_either(suffixes)}"}
        for name in _walk(root)
        if not _is_meant(name, suffixes) and not any((here / name).is_relative_to(path) for path in known)
    ]


def _walk(root: Path) -> list[str]:
    return sorted(
        (Path(parent) / file).relative_to(root).as_posix() for parent, _, files in os.walk(root) for file in files
    )


def _is_meant(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not PurePosixPath(name).name.startswith("._")  # macOS metadata


def _either(suffixes: tuple[str, ...]) -> str:
    if len(suffixes) > MOST_NAMED:
        return f"{', '.join(suffixes[:MOST_NAMED])} ..."
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


def split_by_hash(name: str) -> str:
    """Split of a piece from its name alone: about 90 % train, 5 % validation, 5 % test.

    The extension, the case and the Unicode form of the name do not matter, so that a copy on another system stays put.
    """
    stem = PurePosixPath(name).with_suffix("").as_posix()
    digest = hashlib.sha256(unicodedata.normalize("NFC", stem).casefold().encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def read_splits(path: str | os.PathLike[str], column: str = "midi_filename") -> dict[str, str]:
    """A csv with the columns ``column`` and split as {name: split}. Raises PrepError if it is anything else."""
    table = Path(path)
    try:
        text = read_regular(table, limits.TABLE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise PrepError(f"{table} does not exist: give the csv that names the splits, or leave --csv out") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PrepError(f"{table} cannot be read as text: {error}") from None
    rows = csv.DictReader(io.StringIO(text), delimiter=_delimiter(text))
    missing = {column, "split"} - set(rows.fieldnames or ())
    if missing:
        raise PrepError(f"{table} has no column {' or '.join(sorted(missing))}: is it the csv of the data set?")
    splits: dict[str, str] = {}
    for row in rows:
        name, split = row[column] or "", row["split"]
        if split not in SPLITS:
            raise PrepError(f"{table} line {rows.line_num}: split is {split!r}, it must be one of {', '.join(SPLITS)}")
        if splits.setdefault(name, split) != split:
            raise PrepError(f"{table} line {rows.line_num}: {name} is in two splits, {splits[name]} and {split}")
    if not splits:
        raise PrepError(f"{table} names no file")
    return splits


def find_table(folder: str | os.PathLike[str], column: str = "midi_filename") -> Path | None:
    """The csv of splits that came with the data set in ``folder``; None if there is none.

    Raises PrepError if there are several, or if one lies above or below ``folder``: then the names of its files do not
    fit, and pieces that others test with would train.
    """
    root = Path(folder)
    if not root.is_dir():
        return None
    here = [path for path in sorted(root.glob(TABLES)) if _has_splits(path, column)]
    if len(here) > 1:
        raise PrepError(f"{root} holds several csv with splits ({', '.join(p.name for p in here)}): choose with --csv")
    if here:
        return here[0]
    elsewhere = [*sorted(root.absolute().parent.glob(TABLES)), *sorted(root.glob(f"*/{TABLES}"))]
    for path in elsewhere:
        if _has_splits(path, column) and _names_files_of(path, column, root):
            raise PrepError(f"{path} says which of these files are in which split: give its folder, {path.parent}")
    return None


def _has_splits(path: Path, column: str) -> bool:
    try:
        with open_regular(path) as file:
            first = file.readline(limits.TABLE_LINE_BYTES).decode("utf-8-sig")
            return {column, "split"} <= set(next(csv.reader(io.StringIO(first), delimiter=_delimiter(first)), ()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _delimiter(text: str) -> str:
    """What stands between the columns: a comma, or what spreadsheets of other countries write."""
    return max(",;\t", key=text.partition("\n")[0].count)


def _names_files_of(path: Path, column: str, root: Path) -> bool:
    """Whether a csv names a file that lies in this folder."""
    try:
        named = [path.parent.absolute() / name for name in read_splits(path, column)]
    except PrepError:
        return False
    return any(file.is_relative_to(root.absolute()) and file.is_file() for file in named)


def assign(
    names: tuple[str, ...], table: str | os.PathLike[str] | None, column: str = "midi_filename"
) -> tuple[dict[str, str], tuple[str, ...]]:
    """({name: split}, names the csv does not list) for the given pieces; without a csv, by hash.

    Raises PrepError if the csv lists names that are not among ``names``.
    """
    if table is None:
        return {name: split_by_hash(name) for name in names}, ()
    splits = read_splits(table, column)
    there = set(names)
    absent = sorted(set(splits) - there)
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise PrepError(
            f"{len(absent):,} of the {counted(len(splits), 'file')} in {table} cannot be found ({shown}): is this its"
            " folder?"
        )
    return splits, tuple(name for name in names if name not in splits)
