"""What of a data set is done: plans, records beside the shards, the manifest. A restart relies on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen.data_prep import files, shards, splits
from musicgen.data_prep.pieces import SPLIT_ORDER, Item, Prepared, Rejected
from musicgen.data_prep.splits import PrepError
from musicgen.data_prep.tokens import STEPS_PER_SECOND
from musicgen.data_prep.vocabulary import VOCABULARY

ITEMS_PER_SHARD = 64  # about 11 MB of MAESTRO: small enough to redo, large enough that shards are few
ENCODING = 1  # raise it when the same file gives other notes or tokens: old data sets are then refused, not mixed


@dataclass(frozen=True)
class ShardPlan:
    """The pieces that belong in one shard, in order."""

    name: str
    items: tuple[Item, ...] = field(repr=False)


def plan(items: Sequence[Item]) -> list[ShardPlan]:
    """Cut the ordered items of every split into shards of ITEMS_PER_SHARD."""
    plans = []
    for split in SPLIT_ORDER:
        members = [item for item in items if item.split == split]
        for number, start in enumerate(range(0, len(members), ITEMS_PER_SHARD)):
            plans.append(ShardPlan(f"{split}-{number:05d}", tuple(members[start : start + ITEMS_PER_SHARD])))
    return plans


def settings(table: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Everything but the files themselves that decides what a data set contains."""
    return {
        "encoding": ENCODING,
        "vocabulary_size": VOCABULARY.size,
        "steps_per_second": STEPS_PER_SECOND,
        "items_per_shard": ITEMS_PER_SHARD,
        "splits": "hash of the name" if table is None else "csv",
    }


def write_shard(
    out: Path, name: str, outcomes: Sequence[Prepared | Rejected], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one shard and, after it, its record, which is returned. Without the record the shard is not done."""
    kept = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
    data = shards.shard_bytes([p.name for p in kept], [p.performance for p in kept], [p.tokens for p in kept])
    record = {
        "format": shards.FORMAT,
        "settings": dict(chosen),
        "name": name,
        "sha256": shards.sha256(data),
        "bytes": len(data),
        "items": [
            {
                "name": p.name,
                "split": p.split,
                "sha256": p.sha256,
                "tokens_sha256": p.tokens_sha256,
                "notes": len(p.performance),
                "tokens": len(p.tokens),
                "seconds": round(p.performance.duration, 3),
                "shard": name,
                "index": index,
                "remarks": list(p.remarks),
            }
            for index, p in enumerate(kept)
        ],
        "rejected": [vars(outcome) for outcome in outcomes if isinstance(outcome, Rejected)],
    }
    files.write_atomically(out / f"{name}.npz", data)
    files.write_atomically(out / f"{name}.json", shards.json_bytes(record))
    return record


def without_duplicates(outcomes: Iterable[Prepared | Rejected], seen: dict[str, str]) -> list[Prepared | Rejected]:
    """Reject pieces whose music is in ``seen`` (tokens' hash -> name), which grows by the pieces that stay."""
    result: list[Prepared | Rejected] = []
    for outcome in outcomes:
        if isinstance(outcome, Prepared):
            first = seen.setdefault(outcome.tokens_sha256, outcome.name)
            if first != outcome.name:
                reason = f"the same music as {first}"
                outcome = Rejected(outcome.name, outcome.split, reason, outcome.sha256, outcome.tokens_sha256, first)
        result.append(outcome)
    return result


def finished(out: Path, shard: ShardPlan, chosen: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a shard that is done: made from these very files, and undamaged. None if it has to be made."""
    try:
        record = shards.read_json(out / f"{shard.name}.json")
        if record["format"] != shards.FORMAT or record["settings"] != dict(chosen):
            return None
        inputs = {entry["name"]: entry["sha256"] for entry in record["items"] + record["rejected"]}
        if set(inputs) != {item.name for item in shard.items}:
            return None
        if shards.sha256(shards.map_file(out / f"{shard.name}.npz")) != record["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if all(inputs[item.name] == _digest(item) for item in shard.items) else None


def _digest(item: Item) -> str | None:
    try:
        return shards.sha256(item.read())
    except (OSError, PrepError):
        return None


def first_stale(plans: Sequence[ShardPlan], done: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first shard whose choice between equal pieces contradicts the shards before it; None if all agree."""
    seen: dict[str, str] = {}
    for shard in plans:
        record = done[shard.name]
        kept = all(seen.setdefault(entry["tokens_sha256"], entry["name"]) == entry["name"] for entry in record["items"])
        duplicates = [entry for entry in record["rejected"] if entry["duplicate_of"]]
        if not kept or any(seen.get(entry["tokens_sha256"]) != entry["duplicate_of"] for entry in duplicates):
            return shard.name
    return None


def open_folder(out: Path, chosen: Mapping[str, Any]) -> None:
    """Make ``out``, or check that it is an earlier run of the same job. Raises PrepError."""
    if out.exists() and not out.is_dir():
        raise PrepError(f"{out} is a file: give a folder for the data set")
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / shards.MANIFEST
    if not manifest.exists():
        if any(not entry.name.endswith(".tmp") for entry in out.iterdir()):
            raise PrepError(f"{out} is not empty and holds no data set: give a new folder")
        return
    try:
        there = shards.read_json(manifest)
    except shards.ShardError:
        return  # damaged; every shard's own record says whether it is right
    differing = [key for key in chosen if there.get("settings", {}).get(key) != chosen[key]]
    if there.get("format") != shards.FORMAT or differing:
        old = there.get("settings", {})
        what = ", ".join(f"{key} {old.get(key)!r} there, {chosen[key]!r} now" for key in differing)
        raise PrepError(f"{out} was made with other settings ({what or there.get('format')}): give a new folder")


def begin(out: Path, chosen: Mapping[str, Any]) -> None:
    """Say in the manifest that the data set is being made, so that nobody reads half of one."""
    unfinished = {"format": shards.FORMAT, "complete": False, "settings": dict(chosen)}
    files.write_atomically(out / shards.MANIFEST, shards.json_bytes(unfinished))


def finish(
    out: Path, chosen: Mapping[str, Any], records: Sequence[Mapping[str, Any]], unlisted: Sequence[Rejected]
) -> None:
    """Write rejects.json and the manifest, and remove shards of an earlier, longer list."""
    records = sorted(records, key=lambda record: record["name"])
    items = [entry for record in records for entry in record["items"]]
    rejected = [entry for record in records for entry in record["rejected"]] + [vars(entry) for entry in unlisted]
    rejected.sort(key=lambda entry: entry["name"])
    manifest = {
        "format": shards.FORMAT,
        "complete": True,
        "settings": dict(chosen),
        "splits": totals(items),
        "rejected": len(rejected),
        "shards": [{key: record[key] for key in ("name", "sha256", "bytes")} for record in records],
        "items": items,
    }
    files.write_atomically(out / shards.REJECTS, shards.json_bytes(rejected))
    files.write_atomically(out / shards.MANIFEST, shards.json_bytes(manifest))
    current = {record["name"] for record in records}
    ours = [path for split in splits.SPLITS for path in out.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].*")]
    for path in ours + list(out.glob("*.json.*.tmp")):
        if path.name.split(".")[0] not in current or path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def totals(items: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per split: pieces, notes, tokens, seconds."""
    return {
        split: {"pieces": sum(entry["split"] == split for entry in items)}
        | {
            key: round(sum(entry[key] for entry in items if entry["split"] == split), 3)
            for key in ("notes", "tokens", "seconds")
        }
        for split in splits.SPLITS
    }
