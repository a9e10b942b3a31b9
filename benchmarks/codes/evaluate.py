"""nats/token of released weights over codes, at several contexts: every code of the recordings scored once.

    python benchmarks/codes/evaluate.py CODES WEIGHTS OUT.jsonl --contexts 8192,16384,32768,65536 --splits test

One line of JSON for each split and context, written as it comes; started again, it does what is missing.  Contexts
count codes.  Windows advance by half the latents.  Also per codebook, and the bits a second.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.dataset.code_rows import frames_of
from musicgen.data_prep.dataset.codes import CodeSet
from musicgen.model.evaluate import nats_of_pieces


def score(released: checkpoints.Released, pieces: list[np.ndarray], context: int, batch: int) -> dict[str, Any]:
    """The figures at a context of so many codes, with the weights' own latents or, if it is less, the context."""
    config, Q = released.config, released.config.channels
    N = context // Q
    M = min(config.latents, N)
    rows = [frames_of(piece) for piece in pieces]
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    total, count, began = np.zeros(Q), 0, time.monotonic()
    for nats in nats_of_pieces(
        config, released.params, rows, latents=M, context=N, stride=M // 2, batch=batch, dtype=dtype
    ):
        total += nats.reshape(-1, Q).sum(axis=0, dtype=np.float64)
        count += nats.size // Q
    per_codebook = total / count
    return {
        "context": context,
        "latents": M * Q,
        "nats_per_token": float(per_codebook.mean()),
        "bits_per_second": float(per_codebook.sum() * released.tokenizer["frame_rate"] / math.log(2)),
        "per_codebook": [round(float(x), 4) for x in per_codebook],
        "tokens": count * Q,
        "pieces": len(pieces),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--contexts", default="8192,16384,32768,65536")
    parser.add_argument("--splits", default="validation,test")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of each recording, from its beginning")
    parser.add_argument("--pieces", type=int, help="the first so many recordings (all)")
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    released = checkpoints.load(arguments.weights)
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    for split in arguments.splits.split(","):
        codes = CodeSet(arguments.data, split)
        seconds = min(arguments.seconds, 1e6)
        longest = round(seconds * codes.manifest["frame_rate"])
        pieces = [codes.codes(i)[:longest] for i in range(len(codes))][: arguments.pieces]
        for context in map(int, arguments.contexts.split(",")):
            if any((line["split"], line["context"]) == (split, context) for line in done):
                continue
            line = {"split": split, **score(released, pieces, context, arguments.batch), "seconds": arguments.seconds}
            with arguments.out.open("a") as file:
                print(json.dumps(line), file=file, flush=True)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
