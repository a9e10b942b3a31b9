"""How long does a passage of five seconds take, in a piece of four minutes?  One, and the likeliest of eight.

python benchmarks/fills/speed.py
"""

from __future__ import annotations

import time

import numpy as np

import musicgen
from musicgen.app.bundled import FOLDER
from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.performance import NO_PEDAL

SECONDS, AT, LENGTH, ROUNDS = 240.0, 120.0, 5.0, 5


def piece() -> Performance:
    """Bach's opening again and again."""
    bach, _ = read_midi(FOLDER / "bach.mid")
    length = float(bach.end.max()) + 0.5
    shifts = np.arange(0, SECONDS, length)
    onset, end = ((column + shifts[:, None]).ravel() for column in (bach.onset, bach.end))
    pitch, velocity = (np.tile(column, len(shifts)) for column in (bach.pitch, bach.velocity))
    return Performance(onset, end, pitch, velocity, NO_PEDAL)


def main() -> None:
    """A line for each."""
    model, song = musicgen.load(), piece()
    for count in (1, 8):
        taken = []
        for seed in range(ROUNDS + 1):
            began, worked = time.perf_counter(), time.process_time()
            model.fill(song, AT, AT + LENGTH, seed=seed, num_samples=count)
            taken.append((time.perf_counter() - began, time.process_time() - worked))
        wall, cpu = np.median(taken[1:], axis=0)  # the first one compiles
        print(f"{count} of {LENGTH:g} s: {wall:.2f} s, {cpu:.2f} CPU s (median of {ROUNDS})")


if __name__ == "__main__":
    main()
