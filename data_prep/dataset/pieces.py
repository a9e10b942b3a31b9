"""One piece of a data set: where it is, and the pure function that prepares it, the same for every runner."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from musicgen.data_prep.dataset import shards, splits
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.midi import MidiError, read_midi
from musicgen.data_prep.performance import Performance, apply_pedal
from musicgen.data_prep.tokens import encode

LARGEST_FILE = 64 << 20  # bytes read at the most; what a MIDI file may hold is decided by the parser


@dataclass(frozen=True)
class Source:
    """A corpus: a folder of MIDI files, or one TFRecord file of NoteSequences.

    table: the csv that names its splits; without one they come from hashes of the names.  style: the kind of its music,
    one of vocabulary.STYLES, if it is known.
    """

    path: str | os.PathLike[str]
    table: str | os.PathLike[str] | None = None
    style: str | None = None

    @property
    def name(self) -> str:
        """What its pieces' names begin with in a data set of several corpora."""
        return Path(self.path).absolute().name


@dataclass(frozen=True)
class Item:
    """One piece to prepare: where its bytes are, their form ("midi" or "notesequence"), the split it belongs to."""

    name: str
    split: str
    path: str
    form: str = "midi"
    start: int = 0
    size: int | None = None  # None: to the end of the file
    data: bytes | None = None  # filled in by a runner that has read the file already

    def read(self) -> bytes:
        """The bytes of the piece. Raises OSError, or PrepError if there are too many."""
        if self.data is not None:
            return self.data
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise PrepError("not a regular file")  # reading a pipe would wait for ever
        with open(self.path, "rb") as file:
            file.seek(self.start)
            data = file.read(LARGEST_FILE + 1 if self.size is None else self.size)
        if len(data) > LARGEST_FILE:
            raise PrepError(f"larger than {LARGEST_FILE >> 20} MiB, which no piece of music is")
        return data


@dataclass(frozen=True, eq=False)
class Prepared:
    """A piece ready for a shard: notes with pedal-extended ends, and their tokens i16[T] without BOS and EOS."""

    name: str
    split: str
    sha256: str
    performance: Performance
    tokens: np.ndarray
    tokens_sha256: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A file that is not in the data set, and why. ``sha256`` is None if it was not read: the next run tries again."""

    name: str
    split: str
    reason: str
    sha256: str | None = None
    tokens_sha256: str | None = None
    duplicate_of: str | None = None


def prepare(item: Item) -> Prepared | Rejected:
    """Bytes of one piece -> notes and tokens, or why not. Never raises: one bad file must not end the job."""
    digest = None
    try:
        data = item.read()
        digest = shards.sha256(data)
        if item.form == "notesequence":
            from musicgen.data_prep import noteseq  # the `data` extra: only needed for NoteSequences

            played, remarks = noteseq.parse(data)
        else:
            played, remarks = read_midi(data)
        performance = apply_pedal(played)
        tokens = encode(performance)
    except OSError as error:
        return Rejected(item.name, item.split, f"cannot be read: {error.strerror or error}")
    except (MidiError, PrepError) as error:
        return Rejected(item.name, item.split, str(error), digest)
    except Exception as error:  # a fault of ours on a strange file: reported with its kind, and the other files go on
        return Rejected(item.name, item.split, f"unexpected {type(error).__name__}: {error}", digest)
    if not len(performance):
        return Rejected(item.name, item.split, "no notes", digest)
    return Prepared(item.name, item.split, digest, performance, tokens, shards.sha256(tokens.tobytes()), tuple(remarks))


def find_items(source: str | os.PathLike[str], table: str | os.PathLike[str] | None) -> list[Item]:
    """Pieces of a folder of MIDI files, or of one TFRecord file of NoteSequences, in the order of the data set.

    Raises PrepError.
    """
    found = (item for item in walk_items(source, table) if isinstance(item, Item))
    return sorted(found, key=lambda item: splits.place(item.split, item.name))


def walk_items(source: str | os.PathLike[str], table: str | os.PathLike[str] | None) -> Iterator[Item | Rejected]:
    """`find_items` one by one, in any order, and the files that the csv does not name, as rejected."""
    path = Path(source).absolute()
    if path.is_file():
        from musicgen.data_prep import noteseq

        places = noteseq.index_records(path)
        found = (Item(name, "", str(path), "notesequence", start, size) for name, start, size in places)
    else:
        names = splits.walk_files(path, splits.MIDI_SUFFIXES, "MIDI")
        found = (Item(name, "", os.path.join(path, name)) for name in names)
    for item, split in splits.assign(found, table):
        if split is None:
            yield Rejected(item.name, "", f"not named in {Path(str(table)).name}")
        else:
            yield replace(item, split=split)


def walk_all(sources: Sequence[Source]) -> Iterator[Item | Rejected]:
    """`walk_items` of several corpora; the names of a corpus' pieces begin with its own.  Raises PrepError."""
    names = [source.name for source in sources]
    if again := {name for name in names if names.count(name) > 1}:
        raise PrepError(f"two folders are called {min(again)}, and a corpus is known by that name: rename one")
    for source in sources:
        for found in walk_items(source.path, source.table):
            yield replace(found, name=f"{source.name}/{found.name}")
