"""The six corpora in one file of 47 MB: notes on a grid of 2 ms, byte planes under lzma; and rows for scoring."""

from __future__ import annotations

import json
import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from musicgen.data_prep.dataset.gaps import Steps
from musicgen.data_prep.dataset.mixture import Corpus

GRID = 500  # a second
STYLES = {
    "maestro": "classical",
    "asap": "classical",
    "supra": "roll",
    "pijama": "jazz",
    "emopia": "pop",
    "pop909": "arrangement",
}
WEIGHTS = {"maestro": 0.43, "pijama": 0.31, "supra": 0.08, "asap": 0.08, "emopia": 0.025, "pop909": 0.075}


def unpack(path: Path) -> list[Corpus]:
    """The training pieces of every corpus."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    meta, at, parts = json.loads(lzma.decompress(data[8 : 8 + size])), 8 + size, {}
    for name, length in meta["planes"].items():
        parts[name] = data[at : at + length]
        at += length
    with ThreadPoolExecutor(16) as pool:
        planes = dict(
            zip(parts, pool.map(lambda x: np.frombuffer(lzma.decompress(x), np.uint8), parts.values()), strict=True)
        )
    made = []
    for name, style in STYLES.items():
        delta, length = (planes[f"{name}.{k}0"] + 256 * planes[f"{name}.{k}1"].astype(np.int64) for k in "du")
        counts = np.array(meta[name]["counts"])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        total = np.concatenate([[0], np.cumsum(delta)])
        onset = total[1:] - np.repeat(total[offsets[:-1]], counts)
        melody = np.unpackbits(planes[f"{name}.m"])[: len(onset)].astype(bool)
        made.append(
            Corpus(
                style,
                WEIGHTS[name],
                onset / GRID,
                (onset + length) / GRID,
                planes[f"{name}.p"],
                planes[f"{name}.v"],
                melody,
                offsets,
                np.array(meta[name]["mood"]),
            )
        )
    return made


def write_scored(validation: Path, path: Path, N: int, M: int, count: int) -> None:
    """The rows of score.py, uncompressed, for this N and M."""
    import score

    pieces: dict[str, list[Steps]] = {}
    with np.load(validation) as held:
        for key in sorted(name for name in held.files if name.endswith(".d")):
            stem = key[:-2]
            start = np.cumsum(held[key].astype(np.int64))
            notes = Steps(
                start, start + held[f"{stem}.u"], held[f"{stem}.p"].astype(np.int64), held[f"{stem}.b"].astype(np.int64)
            )
            pieces.setdefault(stem.split(".")[0], []).append(notes)
    scored = score.build(pieces, N, M, count)
    held_path = path.with_suffix(".tmp.npz")
    np.savez(held_path, rows=scored.rows, group=scored.group, notes=scored.notes, names=np.array(scored.names))
    held_path.replace(path)
