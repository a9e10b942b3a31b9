"""How much of what nobody trained on does each corpus share with the training set?

    python benchmarks/memorisation/corpora.py SHARDS checkpoints/piano/memorisation.npz > corpora.json

SHARDS is a data set of several folders (`musicgen prep`).  Every two minutes of the held-out pieces of a folder are
compared, a shorter piece as a whole.  What generated pieces of a kind share is to be read beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np

from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.data_prep import Performance, cut
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.evaluation.memorisation import BACKGROUND_SECONDS, longest_match
from musicgen.data_prep.evaluation.memorisation_index import read_index


def parts(piece: Performance) -> Iterator[Performance]:
    """Every two minutes, but for what is left of less than one; at least the first."""
    last = max(piece.onset[-1] - BACKGROUND_SECONDS / 2, BACKGROUND_SECONDS / 2)
    for start in np.arange(0, last, BACKGROUND_SECONDS):
        if len(part := cut(piece, start, start + BACKGROUND_SECONDS)):
            yield part


def main(folder: str, file: str) -> None:
    index, found = read_index(file), {}
    for split in ("validation", "test"):
        pieces = ShardSet(folder, split)
        lengths: dict[str, list[int]] = {}
        for i in range(len(pieces)):
            matches = [longest_match(part, index) for part in parts(pieces.notes(i))]
            lengths.setdefault(pieces.source(i), []).extend(match.length if match else 0 for match in matches)
        for source, of in lengths.items():
            quantiles = np.quantile(of, [0.5, 0.95, 1]).tolist()
            found[f"{source} {split}"] = {
                "parts": len(of),
                "median, 95 %, most": quantiles,
                f"of {THRESHOLD} notes or more": sum(length >= THRESHOLD for length in of),
            }
            print(source, split, found[f"{source} {split}"], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
