"""How estimated beats form bars: so that low, full and loud strokes fall on the first beats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

AT = 0.07  # seconds around a beat
KINDS = (4, 3)  # beats in a bar; the first where both are alike
BETTER = 1.1  # times as good the second has to be


class Bars(NamedTuple):
    """beats: in each.  first: the number of the beat that begins the first whole one."""

    beats: int
    first: int


def find_bars(beats: np.ndarray, onset: np.ndarray, pitch: np.ndarray, velocity: np.ndarray) -> Bars:
    """The likeliest bars.  beats: f64[k] seconds.  onset: f64[n] seconds, in order; pitch, velocity: i64[n]."""
    weight = np.array(
        [_accent(slice(*np.searchsorted(onset, (beat - AT, beat + AT))), pitch, velocity) for beat in beats]
    )
    weight -= weight.mean()
    best, chosen = 0.0, Bars(KINDS[0], 0)
    for count in KINDS:
        for first in range(min(count, len(beats))):
            ones = weight[first::count]
            value = float(ones.mean() * np.sqrt(len(ones))) / (BETTER if count != KINDS[0] else 1.0)
            if value > best:
                best, chosen = value, Bars(count, first)
    return chosen


def _accent(notes: slice, pitch: np.ndarray, velocity: np.ndarray) -> float:
    struck = pitch[notes]
    if not len(struck):
        return 0.0
    return float(max(0, 60 - int(struck.min())) / 12 + 0.5 * min(len(struck), 4) + velocity[notes].max() / 64)
