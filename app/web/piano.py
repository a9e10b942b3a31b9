"""The piano for the browser: every third key of the shipped soundfont, as a piece of one note each."""

from __future__ import annotations

import numpy as np

from musicgen.data_prep import Performance

PITCHES = tuple(range(21, 109, 3))  # the browser bends each to its two neighbours
VELOCITY = 84
LONGEST, SHORTEST = 7.0, 1.5  # seconds: low strings ring longer than high ones


def key(pitch: int) -> Performance:
    """One key, held until it has mostly died away."""
    share = (pitch - PITCHES[0]) / (PITCHES[-1] - PITCHES[0])
    seconds = LONGEST + (SHORTEST - LONGEST) * share
    return Performance(np.zeros(1), np.array([seconds]), np.array([pitch]), np.array([VELOCITY]), np.zeros((0, 2)))
