"""Which sampling settings give music as dense as pianists play?  A first look, before `musicgen evaluate --samples`.

    python benchmarks/sampling/defaults.py [--rows 8] [--tokens 1200] > result.jsonl

Rows from nothing at N = 1024, M = 512.  One JSON line a setting: share of notes longer than 4 and 10 s, mean sounding
notes, notes a second.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import BOS
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.sampler import Sampling

SETTINGS = [
    (None, Sampling()),
    (None, Sampling(top_p=0.98)),
    (None, Sampling(min_p=0.01)),
    (8.0, Sampling()),
    (8.0, Sampling(top_p=0.98)),
    (8.0, Sampling(temperature=0.95)),
    (8.0, Sampling(temperature=0.95, top_p=0.98)),
]


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1200)
    args = parser.parse_args()
    released = checkpoints.load()
    for longest, sampling in SETTINGS:
        rules = NoteLimits(1e4, 1e4) if longest is None else NoteLimits(longest)
        engine = JaxEngine(released.config, released.params, rules, preamble())
        start = [np.array([BOS], np.int16)] * args.rows
        stream = engine.start(start, latents=512, context=1024, sampling=sampling, seed=5)
        blocks = [next(stream)]
        while sum(block.shape[1] for block in blocks) < args.tokens:
            blocks.append(next(stream))
        pieces = [decode(row) for row in np.concatenate(blocks, axis=1)]
        lengths = [piece.end - piece.onset for piece in pieces]
        every = np.concatenate(lengths)
        told = {
            "longest": longest,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "notes": len(every),
            "over_4_s": round(float((every > 4).mean()), 4),
            "over_10_s": round(float((every > 10).mean()), 4),
            "sounding": round(float(np.mean([n.sum() / p.duration for n, p in zip(lengths, pieces, strict=True)])), 2),
            "notes_per_second": round(float(np.mean([len(piece) / piece.duration for piece in pieces])), 2),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
