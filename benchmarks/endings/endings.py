"""Do pieces made with --end end like real ones?

    python benchmarks/endings/endings.py SHARDS [--pieces 32] [--seconds 60] [--closings 1,8] > result.jsonl

Real pieces of the validation split against pieces from nothing that were asked to end, and pieces that were cut. A JSON
line for each set, quantiles over its pieces: `eos`, nats the model gives to EOS where the piece ends (what it thinks of
the ending); `ring`, seconds from the last onset to the end; `density` and `velocity`, notes a second and mean velocity
of the last ten seconds relative to the whole; `seconds` of the piece. And a share: `tonic`, the lowest note of the last
chord is the tonic of the last minute's best fitting major scale or of its relative minor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen.app import best_ending as closing
from musicgen.app.generate import Model, begin, draw, open_model, open_weights
from musicgen.app.join import close_at, trim_to_eos
from musicgen.app.settings import Settings
from musicgen.data_prep import PAD, decode
from musicgen.data_prep.dataset.loader import evaluation_pieces
from musicgen.data_prep.evaluation.measures import major_keys, pitch_classes
from musicgen.data_prep.performance import Performance, cut
from musicgen.data_prep.vocabulary import BOS, EOS

START = np.array([BOS], np.int16)
LAST = 10.0  # seconds


def described(music: Performance) -> dict[str, float]:
    """The ending of a piece in numbers."""
    start, stop = float(music.onset[0]), music.duration
    last = music.onset > stop - LAST
    chord = music.onset > music.onset[-1] - 0.05
    minute = cut(music, max(stop - 60, 0), stop)
    tonic = int(np.argmax(np.round(major_keys(pitch_classes(minute)), 9)))
    bass = int(music.pitch[chord].min()) % 12
    return {
        "ring": stop - float(music.onset[-1]),
        "density": float(last.sum() / LAST / (len(music) / (stop - start))),
        "velocity": float(music.velocity[last].mean() / music.velocity.mean()) if last.any() else np.nan,
        "tonic": float(bass in (tonic, (tonic + 9) % 12)),
        "seconds": stop,
    }


def told(name: str, streams: Sequence[np.ndarray], model: Model, settings: Settings, **more: Any) -> dict[str, Any]:
    """A line of the result: streams [T] with BOS, without EOS, judged at the model's full view of them."""
    assert settings.latents is not None and settings.context is not None
    view = {"latents": settings.latents // 2, "context": settings.context}
    rows = [described(decode(stream)) | {"eos": model.engine.nats(stream, EOS, **view)} for stream in streams]
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    quantiles = {
        key: [round(float(q), 3) for q in np.nanquantile(values[key], (0.05, 0.25, 0.5, 0.75, 0.95))]
        for key in values
        if key != "tonic"
    }
    return {"set": name, "pieces": len(rows), **more, "tonic": round(float(values["tonic"].mean()), 3), **quantiles}


def generated(model: Model, settings: Settings, seed: int) -> np.ndarray:
    """New tokens [T] of a piece, with an EOS in it or long enough to be cut."""
    limit = settings.seconds + (closing.RINGS_ON if settings.end else 0.0)
    row = draw(begin(model, [START], settings, seed), 1, limit, lambda seconds: None).rows[0]
    return row[row != PAD]


def numbers(text: str) -> list[int]:
    """1,8 -> [1, 8]."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("shards")
    add("--pieces", type=int, default=32)
    add("--seconds", type=float, default=60.0)
    add("--closings", type=numbers, default=[closing.CANDIDATES], help="endings drawn for a piece (%(default)s)")
    add("--every", type=int, default=1, help="every K-th real piece (%(default)s)")
    add("--seed", type=int, default=0)
    add("--checkpoint", help="NAME or folder")
    add("--latents", type=int)
    add("--context", type=int)
    arguments = parser.parse_args()
    model = open_model(open_weights(arguments.checkpoint))
    settings = Settings(seconds=arguments.seconds, latents=arguments.latents, context=arguments.context)
    settings = settings.resolve(model.latents, model.context)
    real = [tokens[:-1] for _, tokens in evaluation_pieces(arguments.shards, "validation")][:: arguments.every]
    print(json.dumps(told("real", real, model, settings)), flush=True)
    seeds = range(arguments.seed, arguments.seed + arguments.pieces)
    rows = [generated(model, settings, seed) for seed in seeds]
    streams = [np.append(START, close_at(row, START, arguments.seconds)) for row in rows]
    print(json.dumps(told("cut", streams, model, settings)), flush=True)
    for closings in arguments.closings:
        closing.CANDIDATES = closings
        began = time.perf_counter()
        rows = [trim_to_eos(generated(model, dataclasses.replace(settings, end=True), seed)) for seed in seeds]
        more = {"closings": closings, "wall_seconds": round(time.perf_counter() - began, 1)}
        print(json.dumps(told("end", [np.append(START, row) for row in rows], model, settings, **more)), flush=True)


if __name__ == "__main__":
    main()
