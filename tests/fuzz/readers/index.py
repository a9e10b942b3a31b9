"""The index of what weights were trained on: whatever is in the file, an index comes out of it or one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from reader import Reader

from musicgen.app.errors import MusicgenError
from musicgen.app.evaluation.memorisation_report import open_index
from musicgen.data_prep import Performance
from musicgen.data_prep.evaluation.memorisation import longest_match
from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes


def reader() -> Reader:
    """Of memorisation.npz beside weights, and of --index."""
    return Reader(seeds, read, (MusicgenError,))


def seeds() -> list[bytes]:
    made = []
    for notes in (1, 300):
        made.append(index_bytes(build_index([("a.mid", "A", piece(notes)), ("b.mid", "", piece(notes))])))
    return made


def piece(notes: int) -> Performance:
    onset = np.arange(notes) * 0.3
    pitch = np.random.default_rng(0).integers(21, 109, notes)
    return Performance(onset, onset + 0.2, pitch, np.full(notes, 80), np.zeros((0, 2)))


def read(data: bytes, folder: Path) -> None:
    path = folder / "x.npz"
    path.write_bytes(data)
    longest_match(piece(300), open_index(str(path)))
