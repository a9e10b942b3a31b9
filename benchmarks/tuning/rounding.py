"""What it costs to keep what was taught in 8 or 4 bits: nats a token of pieces, beside those of the sums as they are.

python benchmarks/tuning/rounding.py MODEL FOLDER --out rounding.json
MODEL: from `musicgen train --from`.  FOLDER: MIDI files that it was not taught.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from musicgen import checkpoints
from musicgen.app.evaluation.likelihood import score
from musicgen.checkpoints import BASE, Name, quantize
from musicgen.data_prep import encode
from musicgen.data_prep.dataset.loader import with_ends
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.performance import apply_pedal
from musicgen.model import low_rank
from musicgen.model.storage import dequantize

TOKENS = 2_000  # of each piece


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("rounding.json"))
    asked = parser.parse_args()
    taught = checkpoints.load(asked.model)
    trained = checkpoints.read_weights(checkpoints.read_verified(asked.model))
    base = checkpoints.load(Name(taught.about[BASE]["name"]))
    whole = {**dequantize(base.weights), **low_rank.changes(base.weights, trained)}
    files = sorted(asked.folder.glob("*.mid*"))
    pieces = [with_ends(encode(apply_pedal(read_midi(file.read_bytes())[0])))[:TOKENS] for file in files]
    found: dict[str, float | int] = {"pieces": len(pieces)}
    kinds = {"base": base.weights, "32": {name: np.float32(x) for name, x in whole.items()}}
    kinds |= {"8": quantize(whole), "4": quantize(whole, 4)}
    for name, weights in kinds.items():
        scored = score(dataclasses.replace(taught, weights=weights), pieces)
        assert scored is not None
        found |= {name: scored.nats_per_token, "tokens": scored.tokens}
        print(name, scored.nats_per_token, flush=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
