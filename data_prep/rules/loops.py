"""A stream that has fallen into a loop is made to forget it.

A model that continues what it has itself written copies it, the more surely the more copies it sees: over ten minutes a
fifth of the pieces ended in a few bars again and again, which no pianist plays.  The loop lives in the context, and the
context is ours to choose at every pass: shown the last few seconds alone, the model leaves most loops within two
minutes (benchmarks/loops).
"""

from __future__ import annotations

import numpy as np

from musicgen.data_prep.repetition import most_repeats
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import BOS

LOOKED_AT = 2048  # tokens, about 50 seconds
REPEATS = 8  # of eight chords in a row; in MAESTRO one such stretch in 450 has so many
REMEMBERED = 256  # tokens, about 6 seconds


def context_limit(tokens: np.ndarray) -> int | None:
    """How many of its last tokens a stream int[T] should see from now on; None if it is in no loop."""
    begun = np.flatnonzero(tokens == BOS)
    music = tokens[begun[-1] :] if begun.size else tokens
    return REMEMBERED if most_repeats(decode(music[-LOOKED_AT:])) >= REPEATS else None
