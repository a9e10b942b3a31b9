"""A latent for every code or for every frame: which is better after the same time?  Small, on a CPU, without a codec.

    python benchmarks/codes/kinds.py MAESTRO FOLDER --seconds 240

Renders the first two minutes of some pieces, quantises their log spectra (64 bands, 75 frames a second) with residual
k-means, 8 codebooks of 64 entries, and trains a small model of each kind for the same time on them.  FOLDER gets the
codes and kinds.jsonl: nats/token of test pieces and how many codes each has seen.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
from render_pieces import spectra

from musicgen.data_prep.dataset.code_rows import CodeRows, flattened, frames_of
from musicgen.data_prep.vocabulary import SPECIALS
from musicgen.model.config import ModelConfig
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.training.optimizer import OptimizerConfig
from musicgen.model.training.train import TrainConfig, train

Q, S, RATE = 8, 64, 75
SCORED = 20  # seconds of each test piece
PIECES = {"train": 20, "test": 4}
COMMON = {"vocab_size": S + SPECIALS, "channels": Q, "width": 128, "heads": 4, "kv_heads": 2, "code_width": 32}
MODELS = {
    "flat": ModelConfig(**COMMON, local_layers=0, cross_attends=1, layers=5, context=4096, latents=256),
    "frames": ModelConfig(
        **COMMON,
        local_layers=1,
        local_window=32,
        cross_attends=1,
        layers=3,
        context=512,
        latents=128,
        depth_layers=2,
        depth_width=96,
    ),
}
ROWS = {"flat": 8, "frames": 8}


def residual_kmeans(x: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Codebooks f32 [S, D], each of what the ones before it leave of x [n, D]; ten rounds of Lloyd's algorithm."""
    books = []
    for _ in range(Q):
        book = x[rng.choice(len(x), S, replace=False)]
        for _ in range(10):
            near = nearest(x, book)
            for s in range(S):
                mine = x[near == s]
                book[s] = mine.mean(axis=0) if len(mine) else x[rng.integers(len(x))]
        books.append(book)
        x = x - book[nearest(x, book)]
    return books


def nearest(x: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Which entry is nearest to each row."""
    return np.argmin((book**2).sum(axis=1) - 2 * x @ book.T, axis=1)


def encode(x: np.ndarray, books: list[np.ndarray]) -> np.ndarray:
    """x [F, D] -> codes int16 [F, Q]."""
    codes = []
    for book in books:
        codes.append(nearest(x, book))
        x = x - book[codes[-1]]
    return np.stack(codes, axis=1).astype(np.int16)


def codes_of(maestro: Path, folder: Path) -> dict[str, list[np.ndarray]]:
    """The codes of every piece by split, from FOLDER if they are there."""
    file = folder / "codes.npz"
    if not file.exists():
        rng = np.random.default_rng(0)
        with (maestro / "maestro-v3.0.0.csv").open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
        found = {}
        for split, count in PIECES.items():
            mine = [row["midi_filename"] for row in rows if row["split"] == split]
            found |= {f"{split}-{i}": spectra(maestro / mine[i * len(mine) // count]) for i in range(count)}
        heard = np.concatenate([x for name, x in found.items() if name.startswith("train")])
        books = residual_kmeans(heard[rng.choice(len(heard), 20_000)], rng)
        np.savez(file, **{name: encode(x, books) for name, x in found.items()})
    saved = np.load(file)
    return {split: [saved[name] for name in saved.files if name.startswith(split)] for split in PIECES}


def run(kind: str, codes: dict[str, list[np.ndarray]], folder: Path, seconds: float) -> dict[str, object]:
    """Train one kind until the time is over, not counting its compilation; constant rates, so that any end is fair."""
    model = MODELS[kind]
    frames = model.context if kind == "frames" else model.context // Q
    config = TrainConfig(
        model,
        OptimizerConfig(learning_rate=4e-3, adam_learning_rate=4e-3, warmup_steps=20, decay=0.0),
        steps=100_000,
        batch=ROWS[kind],
        steps_per_dispatch=5,
        dropout=0.0,
        compute="float32",
        checkpoint_every=10**9,
    )
    rows = CodeRows(codes["train"], batch=config.batch, frames=frames, seed=0, flat=kind == "flat")
    train(config, rows, folder / kind, stop_after=0)  # compiles
    began = time.process_time()
    state = train(config, rows, folder / kind, stop_after=seconds)
    steps, used = int(state.step), time.process_time() - began
    pieces = [frames_of(piece[: SCORED * RATE]) for piece in codes["test"]]
    pieces = pieces if kind == "frames" else [flattened(piece) for piece in pieces]
    told: dict[str, object] = {"kind": kind, "steps": steps, "codes": (steps - 5) * config.batch * model.latents}
    if kind == "frames":
        told["codes"] = (steps - 5) * config.batch * model.latents * Q
    told["cpu_seconds"] = round(used)
    N, M = model.context, model.latents
    scored = list(nats_of_pieces(model, state.params, pieces, latents=M, context=N, stride=M // 2, batch=4))
    return told | {"nats": float(sum(x.sum() for x in scored) / sum(x.size for x in scored))}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maestro", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    codes = codes_of(arguments.maestro, arguments.folder)
    print({split: [len(piece) for piece in pieces] for split, pieces in codes.items()}, file=sys.stderr)
    for kind in MODELS:
        told = run(kind, codes, arguments.folder, arguments.seconds)
        with (arguments.folder / "kinds.jsonl").open("a") as file:
            print(json.dumps(told), file=file, flush=True)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
