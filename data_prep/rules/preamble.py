"""What a model should see before a piece begins: the end of another one.

Training windows that reach back beyond a BOS hold the end of another piece there (loader.py), so a BOS with nothing
before it is a thing no model has seen: the first 256 tokens of a piece then cost the released model 529 nats, after
this cadence 498 (23 validation pieces; with the ends of real pieces 497).
"""

from __future__ import annotations

import functools

import numpy as np

from musicgen.data_prep.performance import Performance
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import EOS


@functools.cache
def preamble() -> np.ndarray:
    """A quiet cadence of two chords and EOS, i16[38]."""
    dominant, tonic = (43, 55, 59, 62, 65), (36, 48, 55, 60, 64)
    pitch = np.array(dominant + tonic)
    onset = np.concatenate([np.arange(5) / 100, 1.6 + np.arange(5) / 100])  # from the lowest key to the highest
    end = np.repeat([1.4, 5.1], 5)
    music = Performance(onset, end, pitch, np.repeat([56, 44], 5), np.zeros((0, 2)))
    tokens = np.append(encode(music), EOS).astype(np.int16)
    tokens.flags.writeable = False
    return tokens
