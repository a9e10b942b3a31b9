"""What of a data set is done: plans, records beside the shards, the manifest. A restart relies on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from musicgen.data_prep import files
from musicgen.data_prep.dataset import shards, splits
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.events import STEPS_PER_SECOND
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


@dataclass(frozen=True)
class ShardPlan(Generic[P]):
    """The pieces that belong in one shard, in order."""

    name: str
    items: tuple[P, ...] = field(repr=False)


def plan_shards(items: Sequence[P], most: int) -> list[ShardPlan[P]]:
    """Cut the ordered items of every split into shards of ``most``."""
    plans = []
    for split in splits.SPLIT_ORDER:
        members = [item for item in items if item.split == split]
        for number, start in enumerate(range(0, len(members), most)):
            plans.append(ShardPlan(f"{split}-{number:05d}", tuple(members[start : start + most])))
    return plans


@dataclass(frozen=True)
class JobReport:
    """What a finished job made.

    totals: per split how much of what, seconds of music among it.  rejected: the entries of rejects.json.
    shards_kept: how many of the shards an earlier run had made.  sources: of several corpora, the style and the totals
    of each.
    """

    out: Path
    totals: Mapping[str, Mapping[str, float]]
    rejected: tuple[Entry, ...]
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

    def resume(self, plans: Sequence[ShardPlan[P]], digest: Callable[[P], str | None]) -> dict[str, Entry]:
        """The records, by name, of the shards that are done: made from these very files, and undamaged.

        If there are more to make, the manifest says so from now on. Raises PrepError for a folder of something else.

        digest: the hash of an item's file, None if it cannot be read.
        """
        self._open()
        self._refuse_other_sources(plans, digest)
        read = ((shard.name, self._record_of(shard, digest)) for shard in plans)
        records = {name: record for name, record in read if record is not None}
        if len(records) < len(plans):
            self._begin()
        return records

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

    def _refuse_other_sources(self, plans: Sequence[ShardPlan[P]], digest: Callable[[P], str | None]) -> None:
        """Raise PrepError if there are shards of a source, and nothing that they were made from is among these."""
        there: dict[str | None, set[str]] = {}
        for path in self.out.glob("*-[0-9][0-9][0-9][0-9][0-9].json"):
            with contextlib.suppress(shards.ShardError, KeyError, TypeError):
                record = shards.read_json(path)
                for entry in record["items"] + record["rejected"]:
                    if entry["sha256"] is not None:
                        there.setdefault(self.source_of(entry["name"]), set()).add(entry["sha256"])
        items = [item for plan in plans for item in plan.items]
        for source, files_there in there.items():
            if not any(digest(item) in files_there for item in items if self.source_of(item.name) == source):
                of = f" of {source}" if source else ""
                raise PrepError(
                    f"{self.out} was made from other files{of}, of which none is left here: give a new folder"
                )

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

    def write_manifest(
        self,
        records: Sequence[Mapping[str, Any]],
        items: Sequence[Mapping[str, Any]],
        rejected: Sequence[Mapping[str, Any]],
        totals: Mapping[str, Mapping[str, float]],
        more: Mapping[str, Any] = {},
    ) -> None:
        """Write rejects.json and the manifest, with `more` in it, and remove shards of an earlier, longer list."""
        rejected = sorted(rejected, key=lambda entry: str(entry["name"]))
        manifest = {
            "format": self.format,
            "complete": True,
            "settings": dict(self.settings),
            **more,
            "splits": totals,
            "rejected": len(rejected),
            "shards": [{key: record[key] for key in ("name", "sha256", "bytes")} for record in records],
            "items": items,
        }
        files.write_atomically(self.out / shards.REJECTS, shards.json_parts(rejected))
        files.write_atomically(self.out / shards.MANIFEST, shards.json_parts(manifest))
        current = {record["name"] for record in records}
        ours = [path for split in splits.SPLITS for path in self.out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].*")]
        for path in ours + list(self.out.glob("*.json.*.tmp")):
            if path.name.split(".")[0] not in current or path.suffix == ".tmp":
                path.unlink(missing_ok=True)


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
    records: Sequence[Mapping[str, Any]], key: str, reject: Callable[[Entry, str], Entry]
) -> tuple[list[Entry], list[Entry]]:
    """(items, rejected) of shards in the order test, validation, train; copies of earlier items are rejected.

    The copies lie in their shards, but no item of the manifest leads there.

    key: where an entry holds the hash that copies share.  reject: (entry, name of the first) -> the entry of a copy.
    """
    first: dict[str, str] = {}
    items: list[Entry] = []
    rejected: list[Entry] = []
    for record in records:
        out = list(record["rejected"])
        for entry in record["items"]:
            earlier = first.setdefault(entry[key], entry["name"])
            if earlier == entry["name"]:
                items.append(entry)
            else:
                out.append(reject(entry, earlier))
        rejected += sorted(out, key=lambda entry: str(entry["name"]))
    return items, rejected
