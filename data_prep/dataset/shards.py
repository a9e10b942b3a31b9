"""Shards: the prepared data set on disk, notes and tokens of many pieces in a few files.

A data set is a folder::

    train-00000.npz   notes and tokens of up to 64 pieces, concatenated (the arrays are listed in ``shard_bytes``)
    train-00000.json  what is in it: every piece with its hashes, every rejected file with its reason
    ...
    manifest.json     the whole: settings, totals per split, every shard with its hash, every piece with its place
    rejects.json      every file that is not in the data set, and why

All files appear whole or not at all: they are written beside, flushed to disk and renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from musicgen.data_prep import limits
from musicgen.data_prep.dataset.splits import SPLITS
from musicgen.data_prep.files import npz_bytes, open_regular, read_regular
from musicgen.data_prep.performance import Performance

FORMAT = "musicgen-shards/1"
MANIFEST = "manifest.json"
REJECTS = "rejects.json"
OPEN_SHARDS = 200  # mapped at a time: each holds a file descriptor
_ZIP_LOCAL_HEADER = 30  # bytes before the name in a zip member's local header
_NO_PEDAL = np.zeros((0, 2))


class ShardError(ValueError):
    """A data set cannot be read: one line that names the file, says what is wrong and what to do."""


def json_parts(value: Any) -> Iterator[bytes]:
    """The one JSON form of everything here: same value, same bytes.

    Bit by bit, and an iterator in it is a list that is never whole: a manifest may have a million entries.
    """
    for part in _parts(value, "\n"):
        # A file name that is not UTF-8 holds lone surrogates; "backslashreplace" writes them as JSON's own escapes.
        yield part.encode("utf-8", "backslashreplace")
    yield b"\n"


def _parts(value: Any, margin: str) -> Iterator[str]:
    """As json.dumps(value, indent=1, ensure_ascii=False) has it."""
    rows: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        (first, last), rows = "{}", ((f"{json.dumps(key, ensure_ascii=False)}: ", each) for key, each in value.items())
    elif isinstance(value, list | tuple | Iterator):
        (first, last), rows = "[]", (("", each) for each in value)
    else:
        yield json.dumps(value, ensure_ascii=False)
        return
    before = first
    for key, each in rows:
        yield f"{before}{margin} {key}"
        yield from _parts(each, f"{margin} ")
        before = ","
    yield f"{margin}{last}" if before == "," else first + last


def shard_bytes(names: Sequence[str], performances: Sequence[Performance], tokens: Sequence[np.ndarray]) -> bytes:
    """An uncompressed .npz of P pieces, the same bytes on every machine.

    Arrays: onset f64[notes] and end f64[notes] in seconds (the end is the pedal's, not the key's), pitch u8[notes],
    velocity u8[notes], note_offsets i64[P+1], tokens i16[all] without BOS and EOS, token_offsets i64[P+1], names U[P].
    """

    def joined(parts: list[np.ndarray], dtype: str) -> np.ndarray:
        return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)

    def offsets(parts: Sequence[Any]) -> np.ndarray:
        return np.cumsum([0] + [len(part) for part in parts]).astype("<i8")

    arrays = {
        "onset": joined([p.onset for p in performances], "<f8"),
        "end": joined([p.end for p in performances], "<f8"),
        "pitch": joined([p.pitch for p in performances], "|u1"),
        "velocity": joined([p.velocity for p in performances], "|u1"),
        "note_offsets": offsets(performances),
        "tokens": joined(list(tokens), "<i2"),
        "token_offsets": offsets(tokens),
        "names": np.array(list(names), dtype=np.str_) if names else np.zeros(0, "<U1"),
    }
    return npz_bytes(arrays)


def sha256(data: bytes | memoryview | mmap.mmap) -> str:
    return hashlib.sha256(data).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Raises ShardError if the file is missing, unreadable or not a JSON object."""
    try:
        value = json.loads(read_regular(path, limits.MANIFEST_BYTES))
    except FileNotFoundError:
        raise ShardError(f"{path} does not exist: make the data set with `musicgen prep`") from None
    except (OSError, ValueError) as error:
        raise ShardError(f"{path} cannot be read ({error}): run `musicgen prep` again") from None
    if not isinstance(value, dict):
        raise ShardError(f"{path} is not a JSON object: run `musicgen prep` again")
    return value


def map_file(path: Path) -> mmap.mmap:
    """The file as read-only bytes that are read when they are used. Raises OSError, or ValueError if it is empty."""
    with open_regular(path) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def npz_views(mapped: mmap.mmap) -> dict[str, np.ndarray]:
    """Arrays of an intact, uncompressed .npz as read-only views of the mapped file (np.load would read them whole)."""
    arrays = {}
    with zipfile.ZipFile(mapped) as archive:  # type: ignore[call-overload]  # a mmap reads, seeks and tells like a file
        members = archive.infolist()
    for member in members:
        name_and_extra = mapped[member.header_offset + 26 : member.header_offset + _ZIP_LOCAL_HEADER]
        start = member.header_offset + _ZIP_LOCAL_HEADER
        start += int.from_bytes(name_and_extra[:2], "little") + int.from_bytes(name_and_extra[2:], "little")
        header = io.BytesIO(mapped[start : start + 4096])
        npy.read_magic(header)
        shape, _, dtype = npy.read_array_header_1_0(header)
        view = np.frombuffer(mapped, dtype, count=int(np.prod(shape)), offset=start + header.tell())
        arrays[member.filename.removesuffix(".npy")] = view.reshape(shape)
    return arrays


def read_manifest(folder: Path, split: str, format: str, otherwise: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest of a finished data set of this format, and its entries of one split.

    Raises ShardError, which of another format says that the folder `otherwise`.
    """
    if split not in SPLITS:
        raise ShardError(f"{split!r} is not a split: choose one of {', '.join(SPLITS)}")
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != format:
        raise ShardError(f"{folder} {otherwise}")
    if not manifest.get("complete", True):  # codes are written at one go, their manifest last, and do not say
        raise ShardError(f"{folder} is unfinished: run the same job again to finish it")
    return manifest, [item for item in manifest["items"] if item["split"] == split]


class ShardSet:
    """The pieces of one split of a prepared data set, in a fixed order, read when asked for.

    styles: the kind of music of each of its corpora, by name; {} in a data set that does not tell them apart.
    The first touch of a shard checks its hash. A ShardSet can be pickled: a worker process maps the files itself.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str) -> None:
        """Raises ShardError if ``folder`` is not a finished data set or has no such split."""
        self.folder, self.split = Path(folder), split
        otherwise = f"is no data set of the format {FORMAT}: run `musicgen prep` into a new folder"
        manifest, self.items = read_manifest(self.folder, split, FORMAT, otherwise)
        self.settings: dict[str, Any] = manifest["settings"]
        self.styles: dict[str, str | None] = {name: x["style"] for name, x in manifest.get("sources", {}).items()}
        self._hashes: dict[str, str] = {shard["name"]: shard["sha256"] for shard in manifest["shards"]}
        self._open: dict[str, dict[str, np.ndarray]] = {}
        self._intact: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """Relative path of the file that piece ``i`` came from."""
        return str(self.items[i]["name"])

    def source(self, i: int) -> str:
        """Which corpus piece ``i`` is of; "" in a data set that does not tell them apart."""
        return str(self.items[i].get("source", ""))

    def token_counts(self) -> np.ndarray:
        """i64[pieces]: tokens of every piece, without BOS and EOS. Reads no shard."""
        return np.array([item["tokens"] for item in self.items], np.int64)

    def note_counts(self) -> np.ndarray:
        """i64[pieces]: notes of every piece. Reads no shard."""
        return np.array([item["notes"] for item in self.items], np.int64)

    def notes(self, i: int, part: slice = slice(None)) -> Performance:
        """The notes of piece ``i``, or some of them; ends are the pedal's, so that ``pedal`` is empty."""
        arrays, index = self._arrays(i)
        whole = slice(*arrays["note_offsets"][index : index + 2].tolist())
        onset, end, pitch, velocity = (arrays[key][whole][part].copy() for key in ("onset", "end", "pitch", "velocity"))
        return Performance(onset, end, pitch, velocity, _NO_PEDAL)

    def tokens(self, i: int) -> np.ndarray:
        """i16[T]: the tokens of piece ``i``, without BOS and EOS."""
        arrays, index = self._arrays(i)
        return arrays["tokens"][slice(*arrays["token_offsets"][index : index + 2].tolist())].copy()

    def _arrays(self, i: int) -> tuple[dict[str, np.ndarray], int]:
        item = self.items[i]
        shard = item["shard"]
        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                del self._open[next(iter(self._open))]
            self._open[shard] = self._open_shard(shard)
        return self._open[shard], item["index"]

    def _open_shard(self, shard: str) -> dict[str, np.ndarray]:
        path = self.folder / f"{shard}.npz"
        remedy = "run the same `musicgen prep` again, it rewrites only what is damaged"
        try:
            mapped = map_file(path)
        except FileNotFoundError:
            raise ShardError(f"{path} is missing: {remedy}") from None
        except (OSError, ValueError) as error:
            raise ShardError(f"{path} cannot be read ({error}): {remedy}") from None
        if shard not in self._intact and sha256(mapped) != self._hashes.get(shard):
            raise ShardError(f"{path} is damaged (its contents do not match the manifest): {remedy}")
        self._intact.add(shard)
        return npz_views(mapped)
