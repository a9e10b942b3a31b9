"""A codec's codes of many recordings: what a model of codes is trained on.  F frames, Q codebooks.

A data set is a folder::

    train.npy      int16 [F, Q], the recordings of a split one after the other, in the order of the manifest
    manifest.json  the codec (its config and the hash of its weights), and every recording with its split, its first
                   frame and the number of its frames; written last

Column q is codebook q: the first columns alone are the codec at a lower bitrate.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep import files
from musicgen.data_prep.dataset.shards import MANIFEST, ShardError, json_bytes, manifest_of

CODES_FORMAT = "musicgen-codes/1"


def write_split(folder: Path, split: str, recordings: Iterable[tuple[str, np.ndarray]], rate: float) -> list[Any]:
    """Write the (name, codes [F, Q]) of a split; returns their entries of the manifest.  `rate`: frames a second."""
    items: list[dict[str, Any]] = []
    first, parts = 0, []
    for name, codes in recordings:
        seconds = round(len(codes) / rate, 3)
        items.append({"name": name, "split": split, "first": first, "frames": len(codes), "seconds": seconds})
        parts.append(np.asarray(codes, np.int16))
        first += len(codes)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{split}.npy.tmp"
    with beside.open("wb") as file:
        np.save(file, np.concatenate(parts) if parts else np.zeros((0, 1), np.int16))
    beside.replace(folder / f"{split}.npy")
    return items


def write_manifest(folder: Path, codec: Mapping[str, Any], facts: Mapping[str, Any], items: list[Any]) -> None:
    """`codec`: the config as a dictionary; `facts`: frame_rate, codebooks, codebook_size, codec_sha256."""
    manifest = {"format": CODES_FORMAT, "codec": dict(codec), **facts, "items": items}
    files.write_atomically(folder / MANIFEST, json_bytes(manifest))


class CodeSet:
    """The recordings of one split, mapped and not read."""

    def __init__(self, folder: str | os.PathLike[str], split: str) -> None:
        """Raises ShardError if `folder` holds no codes or has no such split."""
        self.folder, self.split = Path(folder), split
        otherwise = "holds no codes: encode audio into a new folder"
        self.manifest, self.items = manifest_of(self.folder, split, CODES_FORMAT, otherwise)
        path = self.folder / f"{split}.npy"
        try:
            self._codes: np.ndarray = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ShardError(f"{path} cannot be read ({error}): encode the audio again") from None
        if len(self._codes) != sum(item["frames"] for item in self.items):
            raise ShardError(f"{path} is of another job than {MANIFEST}: encode the audio again")

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """Name of the recording that codes i were made from."""
        return str(self.items[i]["name"])

    def codes(self, i: int) -> np.ndarray:
        """int16 [F, Q], recording i; a view of the file."""
        item = self.items[i]
        return self._codes[item["first"] : item["first"] + item["frames"]]
