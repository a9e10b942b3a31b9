"""The training pieces of six corpora -> memorisation.npz, with which `musicgen` compares what it generates.

    python runs/piano/index.py CORPORA --out checkpoints/piano/memorisation.npz

CORPORA is the folder that pack.py takes.  Pieces are named CORPUS/FILE.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

import corpora
import pack

from musicgen.data_prep.evaluation.memorisation import measure_background
from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes, title_of
from musicgen.data_prep.performance import Performance

EVERY = 8  # test piece that is compared


def names_of(folder: Path, split: str) -> Iterator[tuple[str, str, str]]:
    """(path, name, title) of every piece of a split of all corpora."""
    for corpus in corpora.STYLES:
        place = folder / pack.FOLDERS[corpus]
        table = next(place.glob("*.csv")).read_text(encoding="utf-8-sig")
        for row in csv.DictReader(io.StringIO(table)):
            if row["split"] == split:
                title = title_of(row["canonical_composer"], row["canonical_title"])
                yield str(place / row["midi_filename"]), f"{corpus}/{row['midi_filename']}", title


def read(path: str) -> Performance | None:
    """The notes of a file, or none if it holds none."""
    piece = pack.read(("", "", path))
    return None if piece is None else piece.notes


def write_index(folder: Path, out: Path, workers: int) -> None:
    """Index the training pieces; some of the test pieces tell how long matches are by chance."""
    left_out = set(pack.LEFT_OUT.read_text().splitlines())
    trained = (piece for piece in names_of(folder, "train") if piece[1] not in left_out)
    paths, names, titles = zip(*trained, strict=True)
    tests = [path for path, *_ in names_of(folder, "test")][::EVERY]
    with Pool(workers) as pool:
        notes = pool.imap(read, paths, chunksize=8)
        index = build_index((n, t, x) for n, t, x in zip(names, titles, notes, strict=True) if x is not None)
        background = measure_background((x for x in pool.imap(read, tests, chunksize=8) if x is not None), index)
    content = index_bytes(dataclasses.replace(index, background=background))
    out.write_bytes(content)
    print(f"{out}: {len(index.names):,} pieces, {len(index.interval):,} notes, {len(content) / 2**20:.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    write_index(options.folder, options.out, options.workers)
