"""Does a stream that has fallen into a loop leave it?

    python benchmarks/loops/loops.py PIECES SHARDS [--at 400] [--seconds 120] > result.jsonl

PIECES is a folder of long generated MIDI files (benchmarks/quality draws some).  Those whose minute before second
`--at` holds eight chords in a row eight times or more are gone on with from there, with `data_prep/rules/loops.py` and
without it: a JSON line for each, with the repeats a minute (`repetition.most_repeats`) before and in each minute after.
The last line says how often music that pianists played looks like a loop: in stretches of LOOKED_AT tokens of SHARDS'
validation and test splits.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.app.generate import draw, open_model, open_weights, start
from musicgen.app.settings import Settings
from musicgen.data_prep import PAD, decode, encode, read_midi
from musicgen.data_prep.dataset.loader import evaluation_pieces
from musicgen.data_prep.performance import cut
from musicgen.data_prep.repetition import most_repeats
from musicgen.data_prep.rules.loops import LOOKED_AT, REPEATS, context_limit


def by_minute(music: Any, seconds: float) -> list[int]:
    """The repeats of each whole minute."""
    return [int(most_repeats(cut(music, 60 * minute, 60 * minute + 60))) for minute in range(int(seconds / 60))]


def real(shards: Path) -> dict[str, Any]:
    """How often MAESTRO looks like a loop."""
    pieces = [tokens for split in ("validation", "test") for _, tokens in evaluation_pieces(shards, split)]
    found = [
        [
            context_limit(tokens[end - LOOKED_AT : end]) is not None
            for end in range(LOOKED_AT, len(tokens), LOOKED_AT // 2)
        ]
        for tokens in pieces
    ]
    stretches = np.concatenate([np.array(piece, bool) for piece in found])
    told = {"pieces": len(pieces), "with_one": sum(any(piece) for piece in found), "stretches": len(stretches)}
    return {"set": "real", **told, "looping": int(stretches.sum())}


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("pieces", type=Path)
    add("shards", type=Path)
    add("--at", type=float, default=400.0, metavar="SECONDS", help="%(default)g")
    add("--seconds", type=float, default=120.0, help="%(default)g")
    add("--checkpoint", help="NAME or folder")
    arguments = parser.parse_args()
    at = arguments.at
    looping = {}
    for path in sorted(arguments.pieces.rglob("*.mid")):
        music, _ = read_midi(path)
        repeats = int(most_repeats(cut(music, at - 60, at)))
        if repeats >= REPEATS:
            looping[path.stem] = (repeats, encode(cut(music, 0, at), bos=True))
    model = open_model(open_weights(arguments.checkpoint))
    settings = Settings(seconds=arguments.seconds).resolve(model.latents, model.context)
    for name, rule in (("without", None), ("with", context_limit)):
        model.engine.context_limit = rule  # type: ignore[attr-defined]
        began = time.perf_counter()
        stream = start(model, [tokens for _, tokens in looping.values()], settings, 1)
        rows = draw(stream, len(looping), arguments.seconds, lambda seconds: None).rows
        after = {
            piece: by_minute(decode(row[row != PAD]), arguments.seconds)
            for piece, row in zip(looping, rows, strict=True)
        }
        before = {piece: repeats for piece, (repeats, _) in looping.items()}
        wall = round(time.perf_counter() - began, 1)
        print(json.dumps({"set": name, "before": before, "after": after, "wall_seconds": wall}), flush=True)
    print(json.dumps(real(arguments.shards)))


if __name__ == "__main__":
    main()
