"""Training pieces that play what a held-out piece plays -> left_out.txt, which pack.py heeds.

    python runs/piano/leaks.py CORPORA --out runs/piano/left_out.txt

MAESTRO's own splits share no composition; those of the corpora beside it may hold another performance of one, and share
some among themselves.  A piece is listed if two minutes of it share LENGTH notes with a held-out piece, in any
transposition and tempo; a few are listed by chance.
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
CLASSICAL = ("asap", "supra")
# In which training pieces the held-out ones of a corpus are sought: of every third test piece of MAESTRO, SUPRA and
# ASAP the longest match was never with jazz or pop, and none of PiJAMA or POP909 had one.
SEARCHED = {
    "maestro": CLASSICAL,
    "asap": ("maestro", *CLASSICAL),
    "supra": ("maestro", *CLASSICAL),
    "emopia": ("emopia",),
}
held: dict[str, Index]  # of each corpus, in every process


def leaks(path: str, corpus: str) -> bool:
    """Whether the file, a training piece of the corpus, is one to leave out."""
    sought = [pieces for name, pieces in held.items() if corpus in SEARCHED[name]]
    notes = index.read(path) if sought else None
    starts = [] if notes is None else np.arange(0, notes.onset[-1], BACKGROUND_SECONDS)
    parts = [cut(notes, start, start + BACKGROUND_SECONDS) for start in starts]
    matches = (longest_match(part, pieces) for part in parts for pieces in sought)
    return any(match is not None and match.length >= LENGTH for match in matches)


def main() -> None:
    global held
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pieces = [piece for split in ("validation", "test") for piece in index.names_of(options.folder, split)]
    held = {}
    for corpus in SEARCHED:
        own = ((name, title, index.read(path)) for path, name, title in pieces if name.startswith(f"{corpus}/"))
        held[corpus] = build_index((name, title, notes) for name, title, notes in own if notes is not None)
    training = [(path, name) for path, name, _ in index.names_of(options.folder, "train")]
    with Pool(options.workers) as pool:
        found = pool.starmap(leaks, [(path, name.split("/")[0]) for path, name in training], chunksize=4)
    listed = sorted(name for (_, name), leak in zip(training, found, strict=True) if leak)
    options.out.write_text("".join(f"{name}\n" for name in listed))
    print(f"{options.out}: {len(listed)} of {len(training)} pieces")


if __name__ == "__main__":
    main()
