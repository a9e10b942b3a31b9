"""Six corpora of MIDI files -> notes.bin (all training pieces; training_files.txt says which), validation.npz (some of
each validation split), and the splits whole, to be scored once: whole-validation.npz.xz and whole-test.npz.xz.

    python runs/piano/pack.py FOLDER --out RUN

FOLDER holds maestro-v3.0.0, pijama, supra, asap, emopia and pop909, each with its csv, as `musicgen prep` takes them;
the splits are theirs, and no validation or test piece goes into notes.bin, nor what left_out.txt names.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import lzma
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import corpora
import numpy as np

from musicgen.checkpoints.training_files import write_training_files
from musicgen.data_prep.dataset.gaps import in_steps
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.performance import Performance, apply_pedal

FOLDERS = {name: "maestro-v3.0.0" if name == "maestro" else name for name in corpora.STYLES}
LEFT_OUT = Path(__file__).with_name("left_out.txt")  # what `musicgen duplicates` finds
EVERY = {"maestro": 4, "pijama": 8, "supra": 1, "asap": 3, "emopia": 1, "pop909": 1}  # validation pieces taken
LZMA = {"format": lzma.FORMAT_XZ, "filters": [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]}


class Piece(NamedTuple):
    """One file: its split, its notes, which of them the file calls melody, its mood (0: none), its SHA-256."""

    split: str
    notes: Performance
    melody: np.ndarray
    mood: int
    sha256: str


def melody_of(path: str, notes: Performance) -> np.ndarray:
    """bool[n]: the notes that begin with one of the track called MELODY, to within 7.5 ms."""
    import mido

    file = mido.MidiFile(path)
    changes = [(0, 500_000)]
    struck: list[tuple[int, int]] = []
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                changes.append((tick, message.tempo))
            elif message.type == "note_on" and message.velocity and track.name.strip().upper() == "MELODY":
                struck.append((tick, message.note))
    ticks, tempos = np.array(sorted(changes, key=lambda change: change[0])).T
    seconds = np.concatenate([[0], np.cumsum(np.diff(ticks) * tempos[:-1])]) / file.ticks_per_beat / 1e6
    at, pitch = np.array(struck, np.int64).reshape(-1, 2).T
    last = np.searchsorted(ticks, at, side="right") - 1
    onset = seconds[last] + (at - ticks[last]) * tempos[last] / file.ticks_per_beat / 1e6
    known = set(zip(np.rint(onset * 200).astype(int).tolist(), pitch.tolist(), strict=True))
    own = zip(np.rint(notes.onset * 200).astype(int).tolist(), notes.pitch.tolist(), strict=True)
    return np.array([any((step + d, key) in known for d in (-1, 0, 1)) for step, key in own], bool)


def read(job: tuple[str, str, str]) -> Piece | None:
    """The piece of (corpus, split, path), or none if the file holds no notes."""
    corpus, split, path = job
    try:
        notes = apply_pedal(read_midi(path)[0])
    except ValueError as error:
        print(f"{path}: {error}")
        return None
    melody = melody_of(path, notes) if corpus == "pop909" else np.zeros(len(notes), bool)
    mood = int(Path(path).name[1]) if corpus == "emopia" else 0
    return Piece(split, notes, melody, mood, hashlib.sha256(Path(path).read_bytes()).hexdigest())


def pieces_of(folder: Path, corpus: str, workers: int) -> list[Piece]:
    """All pieces of a corpus, in the order of their names."""
    place = folder / FOLDERS[corpus]
    table = next(place.glob("*.csv")).read_text(encoding="utf-8-sig")
    left_out = set(LEFT_OUT.read_text().splitlines())
    rows = sorted(csv.DictReader(io.StringIO(table)), key=lambda row: row["midi_filename"])
    rows = [row for row in rows if f"{corpus}/{row['midi_filename']}" not in left_out]
    jobs = [(corpus, row["split"], str(place / row["midi_filename"])) for row in rows]
    with Pool(workers) as pool:
        return [piece for piece in pool.map(read, jobs, chunksize=8) if piece is not None]


def planes_of(pieces: list[Piece]) -> dict[str, np.ndarray]:
    """Byte planes of all notes: onsets as differences within a piece, lengths, pitches, velocities, melody as bits."""
    delta, length = [], []
    for piece in pieces:
        onset, end = (np.rint(x * corpora.GRID).astype(np.int64) for x in (piece.notes.onset, piece.notes.end))
        delta.append(np.minimum(np.diff(onset, prepend=0), 65_535))
        length.append(np.clip(end - onset, 1, 65_535))
    d, u = np.concatenate(delta), np.concatenate(length)
    planes = {"d0": d & 255, "d1": d >> 8, "u0": u & 255, "u1": u >> 8}
    planes["p"] = np.concatenate([piece.notes.pitch for piece in pieces])
    planes["v"] = np.concatenate([piece.notes.velocity for piece in pieces])
    planes["m"] = np.packbits(np.concatenate([piece.melody for piece in pieces]))
    return {name: x.astype(np.uint8) for name, x in planes.items()}


def held_out(corpus: str, pieces: list[Piece]) -> dict[str, np.ndarray]:
    """Notes in steps, by corpus, number and kind."""
    arrays = {}
    for i, piece in enumerate(pieces):
        notes = in_steps(piece.notes)
        arrays[f"{corpus}.{i:03}.d"] = np.diff(notes.start, prepend=0).astype(np.uint16)
        arrays[f"{corpus}.{i:03}.u"] = (notes.end - notes.start).astype(np.uint16)
        arrays[f"{corpus}.{i:03}.p"], arrays[f"{corpus}.{i:03}.b"] = notes.pitch.astype("u1"), notes.bin.astype("u1")
    return arrays


def pack(folder: Path, out: Path, workers: int) -> None:
    """Write the files."""
    meta: dict[str, object] = {}
    packed: dict[str, bytes] = {}
    held: dict[str, np.ndarray] = {}
    whole: dict[str, dict[str, np.ndarray]] = {"validation": {}, "test": {}}
    heard: list[str] = []
    for corpus in corpora.STYLES:
        pieces = pieces_of(folder, corpus, workers)
        training = [piece for piece in pieces if piece.split == "train"]
        heard += [piece.sha256 for piece in training]
        planes = planes_of(training)
        with ThreadPoolExecutor(workers) as pool:
            squeezed = pool.map(lambda x: lzma.compress(x.tobytes(), **LZMA), planes.values())
            packed.update(zip((f"{corpus}.{name}" for name in planes), squeezed, strict=True))
        meta[corpus] = {"counts": [len(p.notes) for p in training], "mood": [p.mood for p in training]}
        validation = [piece for piece in pieces if piece.split == "validation"]
        held |= held_out(corpus, validation[:: EVERY[corpus]])
        whole["validation"] |= held_out(corpus, validation)
        whole["test"] |= held_out(corpus, [piece for piece in pieces if piece.split == "test"])
        print(f"{corpus}: {len(training)} training pieces, {sum(len(p.notes) for p in training)} notes")
    meta["planes"] = {name: len(data) for name, data in packed.items()}
    head = lzma.compress(json.dumps(meta).encode())
    out.mkdir(parents=True, exist_ok=True)
    (out / "notes.bin").write_bytes(b"".join([len(head).to_bytes(8, "little"), head, *packed.values()]))
    np.savez_compressed(out / "validation.npz", **held)
    write_training_files(out, heard)
    for split, arrays in whole.items():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        (out / f"whole-{split}.npz.xz").write_bytes(lzma.compress(buffer.getvalue()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pack(options.folder, options.out, options.workers)
