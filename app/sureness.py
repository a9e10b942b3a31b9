"""How far the notes that were heard in a recording are to be trusted: how much of its sound they explain.

A note explains the energy near its first partials while it is held and a moment longer.  What is left is noise, hum,
another instrument, or notes that were missed (benchmarks/transcription has figures of each).
"""

from __future__ import annotations

import numpy as np

from musicgen.data_prep import Performance
from musicgen.data_prep.audio import SAMPLE_RATE

WINDOW, HOP = 4096, 2048  # samples
PARTIALS = 10
STIFFNESS = 2e-4  # of a middle string: its partials are higher than multiples by this times the square of their number
NEAR = 0.012  # of a partial's frequency, or 1.5 bins: so far its energy reaches
RINGS = 1.0  # seconds after its end: in the room, or held by a pedal that was not heard
BAND = (25.0, 6000.0)  # hertz that are looked at
SURE, DOUBTFUL = 0.85, 0.6  # shares; pianos alone reach 0.9, other notes than those played 0.4
HANDS, OFTEN = 10, 0.01  # keys that two hands hold, and the share of the time in which more are too many
BLOCK = 512  # windows at once


def energy(sound: np.ndarray, notes: np.ndarray, start: float, stop: float) -> tuple[float, float]:
    """The energy that notes explain, and all of it, in the part of a sound from ``start`` to ``stop``.

    sound: f32 [n], one channel at `SAMPLE_RATE`.  notes: f64 [m, 3 or more], onset, end and pitch, in its seconds.
    """
    count = max(0, 1 + (len(sound) - WINDOW) // HOP)
    middles = (np.arange(count) * HOP + WINDOW / 2) / SAMPLE_RATE
    chosen = np.flatnonzero((middles >= start) & (middles < stop))
    near, kept, shape = _near_partials(), _band(), np.hanning(WINDOW).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] if count else np.zeros((0, WINDOW))
    explained = total = 0.0
    half = WINDOW / 2 / SAMPLE_RATE
    for part in np.split(chosen, range(BLOCK, len(chosen), BLOCK)):
        power = np.square(np.abs(np.fft.rfft(windows[part] * shape, axis=1)))[:, kept]
        at = middles[part, None]
        sounding = (at >= notes[:, 0] - half) & (at <= notes[:, 1] + RINGS)
        keys = np.zeros((len(part), 128), np.float32)
        for note, pitch in enumerate(notes[:, 2].astype(int)):
            keys[sounding[:, note], pitch] = 1.0
        explained += float(power[(keys @ near) > 0].sum())
        total += float(power.sum())
    return explained, total


def judge(music: Performance, explained: float, total: float) -> tuple[str, ...]:
    """Remarks on how sure notes are that explain so much of all energy, each a part of a line."""
    share = explained / total if total > 0 else 0.0
    told = f"the notes explain {100 * share:.0f} % of the sound"
    if share < DOUBTFUL:
        told += ": hardly a piano alone, so listen before you rely on them"
    elif share < SURE:
        told += ": the rest may be noise, hum, another instrument, or notes that were missed"
    most, longer = _held(music)
    if longer > OFTEN:
        return told, f"up to {most} keys are held at once: more than one pianist?"
    return (told,)


def _held(music: Performance) -> tuple[int, float]:
    """The most keys that are held at once, and in which share of the time they are more than two hands can hold."""
    times = np.concatenate([music.onset, music.end])
    order = np.argsort(times, kind="stable")
    held = np.cumsum(np.repeat([1, -1], len(music))[order])
    spans = np.diff(times[order], append=times[order][-1:])
    return int(held.max(initial=0)), float(spans[held > HANDS].sum() / max(spans.sum(), 1e-9))


def _band() -> np.ndarray:
    bins = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    return (bins >= BAND[0]) & (bins < BAND[1])


def _near_partials() -> np.ndarray:
    """f32 [128, bins]: 1 where a bin of the band is near a partial of that key."""
    bins = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)[_band()]
    number = np.arange(1, PARTIALS + 1)
    lowest = 440.0 * 2.0 ** ((np.arange(128)[:, None] - 69) / 12)
    partials = lowest * number * np.sqrt(1 + STIFFNESS * number**2)
    reach = np.maximum(NEAR * partials, 1.5 * SAMPLE_RATE / WINDOW)
    near = np.abs(bins[None, None, :] - partials[:, :, None]) <= reach[:, :, None]
    return np.asarray(near.any(axis=1), np.float32)
