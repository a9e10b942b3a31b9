"""Are passages filled better after teaching?  Nats a note of real passages, as the released weights are scored.

python benchmarks/tuning/fills.py FOLDER MODEL ... --out fills.json
FOLDER: MIDI files that no MODEL was taught.  MODEL: names or folders of weights that fill gaps.

Of each region: "with" what stays and what follows, "without" them, and of whole regions "plain", the ordinary stream
over the same notes (runs/piano/score.py).  "melody" stays while all that is below it is filled.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.dataset.gaps import in_steps
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.performance import apply_pedal
from musicgen.model.storage import dequantize

sys.path.insert(0, str(Path(__file__).parents[2] / "runs" / "piano"))
import score

KINDS = (("whole", 2), ("whole", 5), ("lower", 5), ("upper", 5), ("melody", 5))
N, M, SEED = 1024, 512, 7


def regions_of(folder: Path, count: int) -> score.Scored:
    """So many regions of each kind, drawn from all pieces."""
    files = sorted(folder.glob("*.mid*"))
    pieces = [in_steps(apply_pedal(read_midi(file.read_bytes())[0])) for file in files]
    rows, group, notes, names = [], [], [], []
    for kind, seconds in KINDS:
        for piece, gap, stays in score.regions(pieces, count, seconds, kind, SEED):
            made = score.ways(piece, gap, stays, N, M)
            empty = made.pop("empty", None)
            made.setdefault("without", empty)
            inside = (piece.start >= gap.start) & (piece.start < gap.stop) & ~stays
            if any(row is None for row in made.values()):
                continue
            for way, row in made.items():
                name = f"{kind} {seconds} {way}"
                names += [name] if name not in names else []
                rows.append(row)
                group.append(names.index(name))
                notes.append(int(inside.sum()))
    return score.Scored(np.stack(rows), np.array(group), np.array(notes), names)


def main() -> None:
    """Score each model on the same regions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--regions", type=int, default=32, help="of each kind")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fills.json"))
    asked = parser.parse_args()
    rows = regions_of(asked.folder, asked.regions)
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    for name in asked.models:
        released = checkpoints.load(name)
        config = dataclasses.replace(released.config, context=N, latents=M)
        params = {key: jax.numpy.asarray(x) for key, x in dequantize(released.weights).items()}
        figures = score.score(config, params, rows, mesh, 1, "float32")
        found = {key: round(each["nats_per_note"], 3) for key, each in figures.items()}
        runs.append({"folder": asked.folder.name, "model": released.name, "regions": asked.regions, **found})
        print(json.dumps(runs[-1]), flush=True)
        asked.out.write_text(json.dumps({"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
