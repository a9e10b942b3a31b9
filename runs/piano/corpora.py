"""The six corpora in one file of 47 MB: notes on a grid of 2 ms, byte planes under lzma; and rows for scoring."""

from __future__ import annotations

import io
import json
import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from musicgen.app.recipes import NOTES
from musicgen.data_prep.dataset.gaps import Steps, in_steps
from musicgen.data_prep.dataset.mixture import Corpus
from musicgen.data_prep.performance import NO_PEDAL, Performance

GRID = 500  # a second
STYLES = {
    "maestro": "classical",
    "asap": "classical",
    "supra": "roll",
    "pijama": "jazz",
    "emopia": "pop",
    "pop909": "arrangement",
}
WEIGHTS, GAP_WEIGHTS = (
    {name.split("-")[0]: share for name, share in shares.items()}
    for shares in (NOTES["piano"].shares, NOTES["piano"].gap_shares)
)
ON_A_GRID = ("pop909",)


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
                GAP_WEIGHTS[name],
                onset / GRID,
                (onset + length) / GRID,
                planes[f"{name}.p"],
                planes[f"{name}.v"],
                melody,
                offsets,
                np.array(meta[name]["mood"]),
                name in ON_A_GRID,
            )
        )
    return made


def held_out(path: Path) -> dict[str, list[Steps]]:
    """The pieces of validation.npz, or of a split whole, by corpus."""
    pieces: dict[str, list[Steps]] = {}
    data = path.read_bytes()
    with np.load(io.BytesIO(lzma.decompress(data) if path.suffix == ".xz" else data)) as held:
        for key in sorted(name for name in held.files if name.endswith(".d")):
            stem = key[:-2]
            start = np.cumsum(held[key].astype(np.int64))
            notes = Steps(
                start, start + held[f"{stem}.u"], held[f"{stem}.p"].astype(np.int64), held[f"{stem}.b"].astype(np.int64)
            )
            pieces.setdefault(stem.split(".")[0], []).append(notes)
    return pieces


def learnt(corpora: list[Corpus], count: int) -> dict[str, list[Steps]]:
    """Beginnings of so many training pieces of each corpus, as they were played."""
    pieces = {}
    for name, corpus in zip(STYLES, corpora, strict=True):
        starts = corpus.offsets[:-1][:: max(1, (len(corpus.offsets) - 1) // count)][:count]
        parts = [slice(i, min(i + 2_000, corpus.offsets[1:][corpus.offsets[1:] > i][0])) for i in starts.tolist()]
        pieces[f"trained {name}"] = [
            in_steps(Performance(corpus.onset[p], corpus.end[p], corpus.pitch[p], corpus.velocity[p], NO_PEDAL))
            for p in parts
        ]
    return pieces
