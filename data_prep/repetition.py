"""How often music comes back to the same bar: a measure of pieces, and by it a sampler sees that it is in a loop."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from musicgen.data_prep.performance import Performance

CHUNK = 8  # chords
CHORD_GAP = 0.03  # seconds; the fastest trills leave twice as much between notes


def most_repeats(notes: Performance) -> float:
    """How often the most frequent bar-like chunk of a piece occurs; 0 for a piece shorter than one.

    Onsets at most 30 ms after the one before make one chord with it; a chunk is 8 chords in a row, and two chunks are
    equal if chord for chord the same keys are struck, whatever their timing, loudness and length. Occurrences that
    overlap count once (taken from left to right). More than 16 of them is `repeats_over_16`.
    """
    first = np.flatnonzero(np.diff(notes.onset, prepend=-np.inf) > CHORD_GAP + 1e-6)
    if len(first) < CHUNK:
        return 0.0
    pitch = notes.pitch.astype(np.uint64)
    bits = np.left_shift(np.uint64(1), pitch % np.uint64(64))
    halves = [np.where(half, bits, np.uint64(0)) for half in (pitch < 64, pitch >= 64)]
    chords = np.stack([np.bitwise_or.reduceat(half, first) for half in halves], axis=1)
    names = np.unique(chords, axis=0, return_inverse=True)[1].ravel()
    _, chunk, counts = np.unique(sliding_window_view(names, CHUNK), axis=0, return_inverse=True, return_counts=True)
    best = 1
    for number in np.argsort(-counts, kind="stable").tolist():
        if counts[number] <= best:
            break
        apart, free = 0, 0
        for place in np.flatnonzero(chunk.ravel() == number).tolist():
            if place >= free:
                apart, free = apart + 1, place + CHUNK
        best = max(best, apart)
    return float(best)
