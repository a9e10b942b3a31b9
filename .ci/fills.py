"""Makes the pictures of docs/fill.md: a passage before and after, and an accompaniment.

python .ci/fills.py docs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from musicgen.app import roll
from musicgen.app.bundled import FOLDER
from musicgen.app.cli import main
from musicgen.data_prep import Performance, read_midi, write_midi

FILL = "fill bach --from 0:05 --to 0:10 --seed 1 --best-of 4 --out"  # as in docs/fill.md
MELODY_FROM = 60  # the key above which Beethoven's sonata has its upper notes


def run(*words: object) -> None:
    """A command of musicgen."""
    if main([*map(str, words), "--quiet"]):
        raise SystemExit(f"musicgen {' '.join(map(str, words))} failed")


def upper_notes(music: Performance) -> Performance:
    """Those of a melody's keys."""
    upper = np.flatnonzero(music.pitch >= MELODY_FROM)
    columns = (getattr(music, name)[upper] for name in ("onset", "end", "pitch", "velocity"))
    return Performance(*columns, np.zeros((0, 2)))


def make_pictures(folder: Path) -> None:
    """Write fill-before.png, fill-after.png and fill-accompaniment.png."""
    with tempfile.TemporaryDirectory() as room:
        new, melody, both = (Path(room) / f"{name}.mid" for name in ("new", "melody", "both"))
        run(*FILL.split(), new)
        melody.write_bytes(write_midi(upper_notes(read_midi(FOLDER / "beethoven.mid")[0])))
        run("accompany", melody, "--hand", "left", "--seed", 1, "--out", both)
        for name, piece in (("after", new), ("accompaniment", both)):
            run("roll", piece, "--out", folder / f"fill-{name}.png")
    before = read_midi(FOLDER / "bach.mid")[0]
    (folder / "fill-before.png").write_bytes(roll.png(roll.draw(before, given=np.ones(len(before), bool))))


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1]))
