"""Audio shards: recordings as rows of ten seconds, int16, one channel, 24 kHz.

A data set is a folder::

    train-00000.npy   int16 [chunks, CHUNK], the recordings of this shard one after the other, each from a new row on,
                      its last row filled up with zeros
    train-00000.json  what is in it: every recording with its hash, its rows and its level; every rejected file
    manifest.json     the whole: settings, totals per split, every shard with its hash, every recording with its rows
    rejects.json      every file that is not in the data set, and why
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from musicgen.data_prep.audio import SAMPLE_RATE, to_float, to_int16
from musicgen.data_prep.dataset.random_batches import RandomBatches
from musicgen.data_prep.dataset.shards import ShardError, read_manifest

AUDIO_FORMAT = "musicgen-audio/1"
CHUNK = 10 * SAMPLE_RATE  # samples of a row
_HEADER = 128  # bytes of a .npy header of this kind, whatever the number of rows


def cut_rows(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """f32 blocks of any length -> int16 [CHUNK] rows, the last filled up with zeros."""
    waiting = np.zeros(0, "<i2")
    for block in blocks:
        waiting = np.concatenate([waiting, to_int16(block)])
        while len(waiting) >= CHUNK:
            yield waiting[:CHUNK]
            waiting = waiting[CHUNK:]
    if len(waiting):
        yield np.pad(waiting, (0, CHUNK - len(waiting)))


class RowWriter:
    """Writes a .npy of rows whose number is known only at the end, and hashes what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.rows = file, 0
        self._file.write(bytes(_HEADER))

    def add(self, row: np.ndarray) -> None:
        self._file.write(row.tobytes())
        self.rows += 1

    def take_back(self, rows: int) -> None:
        """Forget all but the first so many rows: the file they came from turned out to be bad."""
        self.rows = rows
        self._file.seek(_HEADER + rows * CHUNK * 2)
        self._file.truncate()

    def finish(self) -> None:
        """Write the header."""
        header = io.BytesIO()
        npy.write_array_header_1_0(header, {"descr": "<i2", "fortran_order": False, "shape": (self.rows, CHUNK)})
        if header.tell() != _HEADER:  # numpy leaves room for a longer shape in all versions known
            raise AssertionError(f"a .npy header of {header.tell()} bytes")
        self._file.seek(0)
        self._file.write(header.getvalue())


class AudioSet:
    """The recordings of one split of a prepared data set, mapped and not read."""

    def __init__(self, folder: str | os.PathLike[str], split: str) -> None:
        """Raises ShardError if `folder` is not a finished audio data set or has no such split."""
        self.folder, self.split = Path(folder), split
        otherwise = "is no audio data set: prepare the audio into a new folder"
        manifest, self.items = read_manifest(self.folder, split, AUDIO_FORMAT, otherwise)
        self._bytes = {shard["name"]: shard["bytes"] for shard in manifest["shards"]}
        self._open: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """Relative path of the file that recording i came from."""
        return str(self.items[i]["name"])

    def samples(self, i: int) -> np.ndarray:
        """int16 [T], recording i; a view of the file."""
        item = self.items[i]
        rows = self._rows(item["shard"])[item["first_row"] : item["first_row"] + item["rows"]]
        return rows.reshape(-1)[: item["samples"]]

    def _rows(self, shard: str) -> np.ndarray:
        if shard not in self._open:
            path = self.folder / f"{shard}.npy"
            if not path.is_file() or path.stat().st_size != self._bytes[shard]:
                raise ShardError(f"{path} is missing or cut off: run the same job again, it makes only what is missing")
            self._open[shard] = np.load(path, mmap_mode="r")
        return self._open[shard]


class Crops(RandomBatches):
    """Endless random pieces of recordings, for training a codec.  Every second of a split is as likely as any other."""

    def __init__(self, recordings: AudioSet, *, batch: int, samples: int, seed: int, loudness: float = 6.0) -> None:
        """Rows [batch, samples]; each made louder or softer by up to `loudness` decibels, but never clipped."""
        super().__init__(seed)
        self.recordings, self.batch, self.length, self.loudness = recordings, batch, samples, loudness
        self._places = np.array([max(item["samples"] - samples + 1, 0) for item in recordings.items], np.float64)
        if not self._places.sum():
            raise ShardError(f"{recordings.folder} has no {recordings.split} recording of {samples} samples")

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """{"wave": f32 [batch, samples], -1..1}."""
        chosen = rng.choice(len(self._places), self.batch, p=self._places / self._places.sum())
        return {"wave": np.stack([self._crop(int(i), rng) for i in chosen])}

    def _crop(self, i: int, rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(int(self._places[i])))
        wave = to_float(self.recordings.samples(i)[start : start + self.length])
        gain = 10 ** (rng.uniform(-self.loudness, self.loudness) / 20)
        peak = float(np.abs(wave).max(initial=0.0))
        return wave * np.float32(min(gain, max(1.0, 0.99 / max(peak, 1e-6))))
