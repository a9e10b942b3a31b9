"""Which pieces there are, and which of them train, validate or test a model.

Official splits come from a csv with the columns ``midi_filename`` and ``split`` (MAESTRO's own file), which is looked
for in the folder itself. Any other folder is split by a hash of each piece's name: no list is needed, and adding files
never moves a piece to another split.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

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


class Named(Protocol):
    """A piece, by its path in the source."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def find_midi(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of all MIDI files under ``folder``, see ``find_files``."""
    return find_files(folder, MIDI_SUFFIXES, "MIDI")


def find_files(folder: str | os.PathLike[str], suffixes: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Names of all files under ``folder`` that end so: relative paths with forward slashes, sorted.

    Raises PrepError if the folder is missing or holds no such file.
    """
    return tuple(sorted(walk_files(folder, suffixes, kind)))


def walk_files(folder: str | os.PathLike[str], suffixes: tuple[str, ...], kind: str) -> Iterator[str]:
    """`find_files` one by one, in any order."""
    root = Path(folder)
    if not root.is_dir():
        raise PrepError(f"{root} is not a folder: give the folder that holds the {kind} files")
    found = False
    for name in _walk(root):
        if _is_meant(name, suffixes):
            found = True
            yield name
    if not found:
        raise PrepError(f"no {_either(suffixes)} file in {root} or its subfolders: is this the right folder?")


def find_others(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...], apart: Sequence[str | os.PathLike[str] | None]
) -> Iterator[dict[str, Any]]:
    """Entries, as of rejected files, of all files that `find_files` passes over; none of a source that is a file.

    apart: files and folders that are no part of the source, such as the csv and the data set itself.
    """
    root = Path(folder)
    known = [Path(path).resolve() for path in apart if path is not None]
    here = root.resolve()
    for name in _walk(root):
        if not _is_meant(name, suffixes) and not any((here / name).is_relative_to(path) for path in known):
            reason = f"its name does not end in {_either(suffixes)}"
            yield {"name": name, "split": "", "sha256": None, "reason": reason}


def _walk(root: Path) -> Iterator[str]:
    """The files below a folder, of which one may hold a million."""
    folders = [""]
    while folders:
        front = folders.pop()
        with contextlib.suppress(OSError), os.scandir(root / front) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield front + entry.name
                elif not entry.is_symlink():
                    folders.append(f"{front}{entry.name}/")


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


def place(split: str, name: str) -> str:
    """By this the pieces of a data set are ordered."""
    return f"{SPLIT_ORDER.index(split)}{name}"


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
    found: Iterable[N], table: str | os.PathLike[str] | None, column: str = "midi_filename"
) -> Iterator[tuple[N, str | None]]:
    """Each of the named and its split, None if the csv does not list it; without a csv, by hash.

    Raises PrepError, at the end, if the csv lists names that are not among these.
    """
    if table is None:
        yield from ((each, split_by_hash(each.name)) for each in found)
        return
    splits = read_splits(table, column)
    absent = set(splits)
    for each in found:
        absent.discard(each.name)
        yield each, splits.get(each.name)
    if absent:
        shown = ", ".join(sorted(absent)[:3]) + (", ..." if len(absent) > 3 else "")
        raise PrepError(
            f"{len(absent):,} of the {counted(len(splits), 'file')} in {table} cannot be found ({shown}): is this its"
            " folder?"
        )
