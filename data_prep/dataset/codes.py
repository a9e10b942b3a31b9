"""A codec's codes of many recordings: what a model of codes is trained on.  F frames, Q codebooks.

A data set is a folder::

    train-00000.npy   int16 [F, Q], the recordings of this shard one after the other
    train-00000.json  what is in it: every recording with the hash of its samples, its first frame and their number
    manifest.json     the whole: the codec (its config and the hash of its weights), every recording with its shard

Column q is codebook q: the first columns alone are the codec at a lower bitrate.  `run` makes it from an audio data set
and, started again after a kill, goes on behind the last shard that is whole.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep import files
from musicgen.data_prep.dataset import shards
from musicgen.data_prep.dataset.audio_shards import AudioSet
from musicgen.data_prep.dataset.manifest import Entry, JobReport, JobState, Plans, ShardPlan, Totals
from musicgen.data_prep.dataset.shards import MANIFEST, ShardError, read_manifest
from musicgen.data_prep.dataset.splits import SPLIT_ORDER
from musicgen.data_prep.table import Table

CODES_FORMAT = "musicgen-codes/1"
RECORDINGS_PER_SHARD = 64  # nine hours of MAESTRO: what a killed job loses at the most
CODEC_KEYS = ("codec", "codec_sha256", "frame_rate", "codebooks", "codebook_size")


@dataclass(frozen=True)
class Source:
    """A recording to encode: int16 [T] samples, which may be a view of a file, and their hash."""

    name: str
    split: str
    sha256: str
    samples: np.ndarray = field(repr=False, compare=False)


def sources_of(audio: str | os.PathLike[str]) -> list[Source]:
    """The recordings of an audio data set in its order.  Raises ShardError if the folder is none."""
    sets = [AudioSet(audio, split) for split in SPLIT_ORDER]
    return [
        Source(each.name(i), each.split, each.items[i]["samples_sha256"], each.samples(i))
        for each in sets
        for i in range(len(each))
    ]


def run(
    sources: Sequence[Source],
    out: str | os.PathLike[str],
    encode: Callable[[Sequence[np.ndarray]], Iterable[np.ndarray]],
    codec: Mapping[str, Any],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> JobReport:
    """Encode recordings into the data set `out`; started again, it encodes only what is missing.

    Args:
        sources: ordered by split.
        out: a new folder, or one of an earlier run with the same codec.
        encode: int16 [T] samples of some recordings -> their codes [F, Q], in their order.
        codec: the `CODEC_KEYS`: config as a dictionary, hash of the weights, frames a second, codebooks, their size.
        on_progress: gets (samples done, samples), at first and after every shard.

    Raises PrepError if the folder holds something else, OSError if the disk refuses.
    """
    began = time.perf_counter()
    settings = {"codec_sha256": codec["codec_sha256"], "recordings_per_shard": RECORDINGS_PER_SHARD, "encoding": 1}
    job = JobState(Path(out), settings, CODES_FORMAT, ".npy")
    plans = Plans(sources, RECORDINGS_PER_SHARD)
    rejected: Table[Entry] = Table()
    with job.alone():
        there = job.resume(plans, lambda source: source.sha256)
        samples = {shard.name: sum(len(each.samples) for each in shard.items) for shard in plans}
        done, total = sum(samples[name] for name, whole in there.items() if whole), sum(samples.values())
        on_progress(done, total)
        for shard in plans:
            if not there[shard.name]:
                made = encode([source.samples for source in shard.items])
                _write_shard(job, shard, list(made), codec["frame_rate"])
                done += samples[shard.name]
                on_progress(done, total)
        totals = Totals("recordings", "seconds")
        for record in job.records(there):
            for entry in record["items"]:
                totals.add(entry)
        job.write_manifest(there, rejected, totals.told(), {key: codec[key] for key in CODEC_KEYS})
        seconds = time.perf_counter() - began
        return JobReport(job.out, totals.told(), rejected, len(there), sum(there.values()), seconds)


def _write_shard(job: JobState, shard: ShardPlan[Source], made: Sequence[np.ndarray], rate: float) -> Entry:
    """Write the codes of a shard's recordings and then its record, which is returned."""
    items: list[Entry] = []
    first = 0
    for source, codes in zip(shard.items, made, strict=True):
        entry = {"name": source.name, "split": source.split, "sha256": source.sha256, "shard": shard.name}
        items.append(entry | {"first": first, "frames": len(codes), "seconds": round(len(codes) / rate, 3)})
        first += len(codes)
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(made).astype("<i2"))
    data = buffer.getvalue()
    files.write_atomically(job.out / f"{shard.name}.npy", data)
    return job.record(shard.name, shards.sha256(data), len(data), items, [])


class CodeSet:
    """The recordings of one split, mapped and not read."""

    def __init__(self, folder: str | os.PathLike[str], split: str) -> None:
        """Raises ShardError if `folder` holds no codes or has no such split."""
        self.folder, self.split = Path(folder), split
        otherwise = "holds no codes: `musicgen prep --audio-dir DIR --codec piano` makes them"
        self.manifest, self.items = read_manifest(self.folder, split, CODES_FORMAT, otherwise)
        self._codes = {name: self._map(name) for name in sorted({self._shard(item) for item in self.items})}

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """Name of the recording that codes i were made from."""
        return str(self.items[i]["name"])

    def codes(self, i: int) -> np.ndarray:
        """int16 [F, Q], recording i; a view of the file."""
        item = self.items[i]
        return self._codes[self._shard(item)][item["first"] : item["first"] + item["frames"]]

    def _shard(self, item: Entry) -> str:
        return str(item.get("shard", self.split))  # at first a whole split was one file

    def _map(self, shard: str) -> np.ndarray:
        path = self.folder / f"{shard}.npy"
        try:
            with files.open_regular(path):  # a pipe would wait for ever
                mapped: np.ndarray = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ShardError(f"{path} cannot be read ({error}): encode the audio again") from None
        if len(mapped) != sum(item["frames"] for item in self.items if self._shard(item) == shard):
            raise ShardError(f"{path} is of another job than {MANIFEST}: encode the audio again")
        return mapped
