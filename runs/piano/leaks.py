"""Training pieces that play what a held-out piece of MAESTRO plays -> left_out.txt, which pack.py heeds.

    python runs/piano/leaks.py CORPORA --out runs/piano/left_out.txt

MAESTRO's own splits share no composition; those of the corpora beside it may hold another performance of one.  A piece
is listed if two minutes of it share LENGTH notes with a held-out piece, in any transposition and tempo; a few are
listed by chance.
"""

from __future__ import annotations

import argparse
from multiprocessing import Pool
from pathlib import Path

import index
import numpy as np

from musicgen.data_prep.evaluation.memorisation import BACKGROUND_SECONDS, longest_match
from musicgen.data_prep.evaluation.memorisation_index import Index, build_index
from musicgen.data_prep.performance import cut

LENGTH = 32
SEARCHED = ("asap/", "supra/")  # of every third test piece the longest match was never with jazz or pop
held: Index  # in every process


def leaks(path: str) -> bool:
    """Whether the file is one to leave out."""
    notes = index.read(path)
    starts = [] if notes is None else np.arange(0, notes.onset[-1], BACKGROUND_SECONDS)
    matches = (longest_match(cut(notes, start, start + BACKGROUND_SECONDS), held) for start in starts)
    return any(match is not None and match.length >= LENGTH for match in matches)


def main() -> None:
    global held
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pieces = [piece for split in ("validation", "test") for piece in index.names_of(options.folder, split)]
    tested = ((name, title, index.read(path)) for path, name, title in pieces if name.startswith("maestro/"))
    held = build_index((name, title, notes) for name, title, notes in tested if notes is not None)
    training = [piece for piece in index.names_of(options.folder, "train") if piece[1].startswith(SEARCHED)]
    with Pool(options.workers) as pool:
        found = pool.map(leaks, [path for path, *_ in training], chunksize=4)
    listed = sorted(name for (_, name, _), leak in zip(training, found, strict=True) if leak)
    options.out.write_text("".join(f"{name}\n" for name in listed))
    print(f"{options.out}: {len(listed)} of {len(training)} pieces")


if __name__ == "__main__":
    main()
