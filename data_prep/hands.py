"""Which hand plays what, where a file does not say: a line between them, found moment by moment.

At each onset the notes struck within `AROUND` seconds are split at the pitch that leaves the two sides most compact
(Otsu's split, 1979: the least sum of squared distances to the means of their sides), with a pull towards middle C that
decides where one hand rests.  Of neighbouring lines the median is taken, so that a single note does not move it.
"""

from __future__ import annotations

import numpy as np

AROUND = 1.0  # seconds
MIDDLE_C = 60
PULL = 0.1  # of a squared semitone of distance from middle C, a note
SMOOTHED = 9  # moments


def split_line(onset: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the line lies: f64[k] seconds, in order, and i64[k] the lowest key of the right hand from there on.

    onset: f64[n] seconds, in order.  pitch: i64[n].
    """
    if not len(onset):
        return np.zeros(1), np.full(1, MIDDLE_C)
    moments = np.unique(onset)
    first, past = np.searchsorted(onset, moments - AROUND), np.searchsorted(onset, moments + AROUND, side="right")
    keys = np.arange(129)
    before = np.zeros((len(onset) + 1, 129))  # how often each key was struck before each note, and its sums below a key
    np.cumsum(pitch[:, None] == keys, axis=0, out=before[1:])
    counts = before[past] - before[first]  # [k, 129]
    weights = [counts * keys**power for power in range(3)]
    below = [np.cumsum(weight, axis=1) - weight for weight in weights]  # each key

    def spread(number: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
        return squares - total**2 / np.maximum(number, 1)

    above = [sums[:, -1:] - sums for sums in below]  # no note is at key 128
    cost = spread(*below) + spread(*above) + PULL * below[0][:, -1:] * (keys - MIDDLE_C) ** 2
    lines = np.argmin(cost, axis=1)
    padded = np.pad(lines, SMOOTHED // 2, mode="edge")
    return moments, np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED), axis=1).astype(np.int64)


def line_at(line: tuple[np.ndarray, np.ndarray], seconds: np.ndarray) -> np.ndarray:
    """i64: the lowest key of the right hand at these times; before the first moment as there."""
    moments, lowest = line
    return lowest[np.maximum(np.searchsorted(moments, seconds, side="right") - 1, 0)]
