"""The piano for the browser: every third key of the shipped soundfont, as a piece of one note each.

What one start makes is kept for the next ones.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from musicgen.app.render import PEAK
from musicgen.app.soundfont import find_soundfont
from musicgen.app.web import kept
from musicgen.data_prep import Performance, write_midi

PITCHES = tuple(range(21, 109, 3))  # the browser bends each to its two neighbours
VELOCITY = 84
LONGEST, SHORTEST = 7.0, 1.5  # seconds: low strings ring longer than high ones


def key(pitch: int) -> Performance:
    """One key, held until it has mostly died away."""
    share = (pitch - PITCHES[0]) / (PITCHES[-1] - PITCHES[0])
    seconds = LONGEST + (SHORTEST - LONGEST) * share
    return Performance(np.zeros(1), np.array([seconds]), np.array([pitch]), np.array([VELOCITY]), np.zeros((0, 2)))


def sample(pitch: int, make: Callable[[Performance], bytes]) -> bytes:
    """The MP3 of a key: the one that is kept, else what `make` makes of its piece, which is kept if it can be."""
    music = key(pitch)
    file = _place(music)
    made = kept.read(file)
    if made is None:
        made = make(music)
        kept.keep(file, made)
    return made


def _place(music: Performance) -> Path | None:
    """Where its MP3 is kept, by all that has a say in how it sounds; None if there is no such place."""
    try:
        makers = [f"{name} {importlib.metadata.version(name)}" for name in ("midirenderer", "soundfile")]
        return kept.place("piano", makers, _sha256(find_soundfont()), PEAK, write_midi(music, None))
    except (ImportError, OSError):
        return None


@functools.cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
