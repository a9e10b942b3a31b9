"""What of a data set is done: plans, records beside the shards, the manifest. A restart relies on it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from musicgen.data_prep import files
from musicgen.data_prep.dataset import shards, splits
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.table import Table
from musicgen.data_prep.vocabulary import VOCABULARY

ITEMS_PER_SHARD = 64  # about 11 MB of MAESTRO: small enough to redo, large enough that shards are few
ENCODING = 1  # raise it when the same file gives other notes or tokens: old data sets are then refused, not mixed


Entry = dict[str, Any]  # a record, or one piece of it: JSON


class Assigned(Protocol):
    """Something of a data set: it has a name and belongs to a split."""

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...


P = TypeVar("P", bound=Assigned)
T = TypeVar("T")


@dataclass(frozen=True)
class ShardPlan(Generic[P]):
    """The pieces that belong in one shard, in order."""

    name: str
    items: tuple[P, ...] = field(repr=False)


@dataclass(frozen=True)
class Plans(Generic[P]):
    """The shards of a data set, cut anew whenever they are gone through: there may be more than memory can hold.

    items: in the order of `splits.place`.  most: of them in a shard.  only: names of the shards that are meant.
    """

    items: Iterable[P]
    most: int
    only: Container[str] | None = None

    def __iter__(self) -> Iterator[ShardPlan[P]]:
        for split, members in itertools.groupby(self.items, key=lambda item: item.split):
            for number, some in enumerate(cut(members, self.most)):
                name = f"{split}-{number:05d}"
                if self.only is None or name in self.only:
                    yield ShardPlan(name, some)


def cut(rows: Iterable[T], most: int) -> Iterator[tuple[T, ...]]:
    """The rows in order, no more than so many at a time."""
    rest = iter(rows)
    while some := tuple(itertools.islice(rest, most)):
        yield some


class Totals:
    """Per split: how many there are, notes, tokens, seconds; counted one by one."""

    def __init__(self, unit: str, *keys: str) -> None:
        """unit: what is counted, such as "pieces".  keys: of entries, whose values are added up."""
        self._unit, self._keys = unit, keys
        self._sums: dict[str, dict[str, float]] = {split: dict.fromkeys((unit, *keys), 0) for split in splits.SPLITS}

    def add(self, entry: Entry) -> Entry:
        """Count this one, which is returned."""
        sums = self._sums[entry["split"]]
        sums[self._unit] += 1
        for key in self._keys:
            sums[key] += entry[key]
        return entry

    def told(self) -> dict[str, dict[str, float]]:
        """As they stand in a manifest."""
        return {split: {key: round(value, 3) for key, value in sums.items()} for split, sums in self._sums.items()}


@dataclass(frozen=True)
class JobReport:
    """What a finished job made.

    totals: per split how much of what, seconds of music among it.  rejected: the entries of rejects.json, by name.
    shards_kept: how many of the shards an earlier run had made.  sources: of several corpora, the style and the totals
    of each.
    """

    out: Path
    totals: Mapping[str, Mapping[str, float]]
    rejected: Table[Entry]
    shards: int
    shards_kept: int
    wall_seconds: float
    sources: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """How far the making of one data set has come, of notes or of audio: all of it lies in the data set's folder.

    settings: everything but the files themselves that decides what it contains.  suffix: of its shards' files.
    """

    out: Path
    settings: Mapping[str, Any]
    format: str = shards.FORMAT
    suffix: str = ".npz"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder and keep other jobs out of it. Raises PrepError if one is at work there."""
        if self.out.exists() and not self.out.is_dir():
            raise PrepError(f"{self.out} is a file: give a folder for the data set")
        if self.out.exists():
            self._open()  # nothing is left in a folder of something else
        self.out.mkdir(parents=True, exist_ok=True)
        with files.locked(self.out / files.LOCK) as free:
            if not free:
                raise PrepError(f"another job is making {self.out}: wait for it, or give another folder")
            yield

    def resume(
        self,
        plans: Plans[P],
        digest: Callable[[P], str | None],
        there: Callable[[ShardPlan[P], Entry], None] = lambda shard, record: None,
    ) -> dict[str, bool]:
        """Whether each shard is done, by name and in order: made from these very files, and undamaged.

        If there are more to make, the manifest says so from now on. Raises PrepError for a folder of something else.

        digest: the hash of an item's file, None if it cannot be read.  there: gets those that are done.
        """
        self._open()
        self._refuse_other_sources(plans, digest)
        done: dict[str, bool] = {}
        for shard in plans:
            record = self._record_of(shard, digest)
            done[shard.name] = record is not None
            if record is not None:
                there(shard, record)
        if not all(done.values()):
            self._begin()
        return done

    def _open(self) -> None:
        """Check that the folder is empty, or an earlier run of the same job. Raises PrepError."""
        manifest = self.out / shards.MANIFEST
        if not manifest.exists():
            if any(not entry.name.endswith((".tmp", files.LOCK)) for entry in self.out.iterdir()):
                raise PrepError(f"{self.out} is not empty and holds no data set: give a new folder")
            return
        try:
            there = shards.read_json(manifest)
        except shards.ShardError:
            return  # damaged; every shard's own record says whether it is right
        old, now = there.get("settings", {}), self.settings
        differing = [key for key in now if old.get(key) != now[key]]
        if there.get("format") != self.format or differing:
            what = ", ".join(f"{key} {old.get(key)!r} there, {now[key]!r} now" for key in differing)
            what = what if there.get("format") == self.format else f"{there.get('format')}, not {self.format}"
            raise PrepError(f"{self.out} was made with other settings ({what}): give a new folder")

    def source_of(self, name: str) -> str | None:
        """The corpus that a piece's name begins with; None in a data set of one."""
        return name.partition("/")[0] if isinstance(self.settings.get("splits"), Mapping) else None

    def _refuse_other_sources(self, plans: Plans[P], digest: Callable[[P], str | None]) -> None:
        """Raise PrepError if there are shards of a source, and nothing that they were made from is among these."""
        made: Table[None] = Table()
        unseen: set[str | None] = set()
        for path in self.out.glob("*-[0-9][0-9][0-9][0-9][0-9].json"):
            with contextlib.suppress(shards.ShardError, KeyError, TypeError):
                record = shards.read_json(path)
                for entry in record["items"] + record["rejected"]:
                    if entry["sha256"] is not None:
                        source = self.source_of(entry["name"])
                        made.put(f"{entry['sha256']} {source}", None)
                        unseen.add(source)
        for item in (item for plan in plans for item in plan.items):
            if not unseen:
                return
            source = self.source_of(item.name)
            if source in unseen and f"{digest(item)} {source}" in made:
                unseen.remove(source)
        for source in unseen:
            of = f" of {source}" if source else ""
            raise PrepError(f"{self.out} was made from other files{of}, of which none is left here: give a new folder")

    def _begin(self) -> None:
        """Say in the manifest that the data set is being made, so that nobody reads half of one."""
        unfinished = {"format": self.format, "complete": False, "settings": dict(self.settings)}
        files.write_atomically(self.out / shards.MANIFEST, shards.json_parts(unfinished))

    def record(
        self, name: str, sha256: str, size: int, items: Sequence[Mapping[str, Any]], rejected: Sequence[Any]
    ) -> Entry:
        """Write the record of a shard whose file of so many bytes is there. Without it the shard is not done."""
        record = {"format": self.format, "settings": dict(self.settings), "name": name, "sha256": sha256, "bytes": size}
        record |= {"items": list(items), "rejected": list(rejected)}
        files.write_atomically(self.out / f"{name}.json", shards.json_parts(record))
        return record

    def _record_of(self, shard: ShardPlan[P], digest: Callable[[P], str | None]) -> Entry | None:
        try:
            record = shards.read_json(self.out / f"{shard.name}.json")
            if record["format"] != self.format or record["settings"] != dict(self.settings):
                return None
            if any(entry.get("duplicate_of") for entry in record["rejected"]):
                return None  # earlier versions left copies out of the shard itself, and the choice may have changed
            inputs = {entry["name"]: entry["sha256"] for entry in record["items"] + record["rejected"]}
            if set(inputs) != {item.name for item in shard.items}:
                return None
            if shards.sha256(shards.map_file(self.out / f"{shard.name}{self.suffix}")) != record["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if all(inputs[item.name] == digest(item) for item in shard.items) else None

    def records(self, names: Iterable[str]) -> Iterator[Entry]:
        """The records of shards that are done.  Raises ShardError."""
        return (shards.read_json(self.out / f"{name}.json") for name in names)

    def write_manifest(
        self,
        names: Collection[str],
        rejected: Table[Entry],
        totals: Mapping[str, Mapping[str, float]],
        more: Mapping[str, Any] = {},
    ) -> None:
        """Write rejects.json and the manifest, with `more` in it, and remove shards of an earlier, longer list.

        names: of all shards, in order; their items are the data set but for those that are rejected.
        """
        entries = (entry for record in self.records(names) for entry in record["items"])
        items = (entry for entry in entries if entry["name"] not in rejected)
        manifest = {
            "format": self.format,
            "complete": True,
            "settings": dict(self.settings),
            **more,
            "splits": totals,
            "rejected": len(rejected),
            "shards": ({key: record[key] for key in ("name", "sha256", "bytes")} for record in self.records(names)),
            "items": (entry | self._source(entry["name"]) for entry in items),
        }
        files.write_atomically(self.out / shards.REJECTS, shards.json_parts(iter(rejected)))
        files.write_atomically(self.out / shards.MANIFEST, shards.json_parts(manifest))
        ours = [self.out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].*") for split in splits.SPLITS]
        for path in itertools.chain(*ours, self.out.glob("*.json.*.tmp")):
            if path.name.split(".")[0] not in names or path.suffix == ".tmp":
                path.unlink(missing_ok=True)

    def _source(self, name: str) -> Entry:
        source = self.source_of(name)
        return {} if source is None else {"source": source}


def settings(splits: str | Mapping[str, str]) -> dict[str, Any]:
    """Everything but the files themselves that decides what a data set contains.

    splits: where they come from, "csv" or "hash of the name"; of several corpora by their names.
    """
    return {
        "encoding": ENCODING,
        "vocabulary_size": VOCABULARY.size,
        "steps_per_second": STEPS_PER_SECOND,
        "items_per_shard": ITEMS_PER_SHARD,
        "splits": splits,
    }


def reject_copies(
    records: Iterable[Entry], key: str, reject: Callable[[Entry, str], Entry], rejected: Table[Entry]
) -> Iterator[Entry]:
    """The items of shards in the order test, validation, train, without copies of earlier ones, which are rejected.

    The copies lie in their shards, but no item of the manifest leads there.

    key: where an entry holds the hash that copies share.  reject: (entry, name of the first) -> the entry of a copy.
    rejected: gets these, and what was rejected before.
    """
    first: Table[str] = Table()
    for record in records:
        for entry in record["rejected"]:
            rejected.put(entry["name"], entry)
        for entry in record["items"]:
            earlier = first.first(entry[key], entry["name"])
            if earlier == entry["name"]:
                yield entry
            else:
                rejected.put(entry["name"], reject(entry, earlier))
