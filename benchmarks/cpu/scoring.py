"""How fast `musicgen evaluate` scores on this machine: python benchmarks/cpu/scoring.py PIECE.mid ... [--checkpoint W]

MUSICGEN_BACKEND=jax times JAX instead, MUSICGEN_FLOATS=1 a processor without AMX.  The weights are read and what is
compiled is ready before: 300 tokens are scored first.  One line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from musicgen.app import backend
from musicgen.app.evaluation.likelihood import lengths, nats_of_pieces
from musicgen.app.generate import open_weights
from musicgen.data_prep.dataset.loader import with_ends
from musicgen.data_prep.dataset.pieces import Item, Rejected, prepare


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", nargs="+", type=Path)
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    if os.environ.get("MUSICGEN_FLOATS"):
        from musicgen.model.cpu import blocks

        blocks.best_dtype = lambda: np.float32
    released = open_weights(arguments.checkpoint)
    M, N, S = lengths(released, None, None, None)
    made = [prepare(Item(path.name, "", str(path))) for path in arguments.pieces]
    pieces = [with_ends(piece.tokens) for piece in made if not isinstance(piece, Rejected)]
    began: list[tuple[float, float]] = []

    def on_window(targets: np.ndarray, nats: np.ndarray) -> None:
        began.append((time.perf_counter(), time.process_time()))

    scored = list(nats_of_pieces(released, [pieces[0][:300], *pieces], M, N, S, on_window))
    nats = np.concatenate(scored[1:]).astype(np.float64)
    wall, processor = time.perf_counter() - began[0][0], time.process_time() - began[0][1]
    report = {"weights": released.name, "backend": backend.chosen(), "tokens": len(nats), "nats": nats.mean()}
    report |= {"seconds": wall, "tokens_per_second": len(nats) / wall, "tokens_per_core_second": len(nats) / processor}
    print(json.dumps({name: round(x, 5) if isinstance(x, float) else x for name, x in report.items()}))


if __name__ == "__main__":
    main()
