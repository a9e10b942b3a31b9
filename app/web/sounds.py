"""The piano for the browser: every third key of the shipped soundfont, a short MP3 made when it is first wanted."""

from __future__ import annotations

import functools
import tempfile
import threading
from pathlib import Path

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.render import render
from musicgen.data_prep import Performance

PITCHES = tuple(range(21, 109, 3))  # the browser bends each to its two neighbours
VELOCITY = 84
LONGEST, SHORTEST = 7.0, 1.5  # seconds: low strings ring longer than high ones

_one_at_a_time = threading.Lock()


def key_sample(pitch: int) -> bytes:
    """The MP3 of one key held until it has mostly died away.  Raises BadInput for a key that is not sampled."""
    if pitch not in PITCHES:
        raise BadInput(f"there is no sample of key {pitch}: there are {PITCHES[0]}, {PITCHES[1]} ... {PITCHES[-1]}")
    with _one_at_a_time:
        return _made(pitch)


@functools.cache
def _made(pitch: int) -> bytes:
    share = (pitch - PITCHES[0]) / (PITCHES[-1] - PITCHES[0])
    seconds = LONGEST + (SHORTEST - LONGEST) * share
    one = Performance(np.zeros(1), np.array([seconds]), np.array([pitch]), np.array([VELOCITY]), np.zeros((0, 2)))
    with tempfile.TemporaryDirectory(prefix="musicgen-") as folder:
        path = Path(folder) / "key.mp3"
        render(one, path)
        return path.read_bytes()
