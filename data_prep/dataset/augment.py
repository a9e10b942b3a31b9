"""Augmentation of performances: the same music a little higher, faster or louder. Pure functions; chance comes in as
a generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen.data_prep.performance import Performance

PIANO = (21, 108)
"""The lowest and highest key of a piano."""


@dataclass(frozen=True)
class Augmentation:
    """How far `augment` goes to either side; 0 switches a kind off.

    semitones: of transposition. stretch: of tempo, 0.05 for 5 % slower or faster. loudness: of all velocities together,
    0.1 for 10 %. velocity: added to all velocities alike. jitter: standard deviation, in seconds, of each note's own
    shift.
    """

    semitones: int = 3
    stretch: float = 0.05
    loudness: float = 0.0
    velocity: int = 8
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if min(self.semitones, self.stretch, self.loudness, self.velocity, self.jitter) < 0:
            raise ValueError("augmentation goes to both sides: its settings are not negative")
        if self.stretch >= 1 or self.loudness >= 1:
            raise ValueError("stretch and loudness are fractions below 1")


def transpose(performance: Performance, semitones: int) -> Performance:
    """All pitches `semitones` higher. Raises ValueError if a note would leave 0..127."""
    if not semitones or not len(performance):
        return performance
    pitch = performance.pitch.astype(np.int64) + semitones
    return Performance(performance.onset, performance.end, pitch, performance.velocity, performance.pedal)


def stretch(performance: Performance, factor: float) -> Performance:
    """All times multiplied by `factor` > 0; 2 plays at half the tempo."""
    if not (np.isfinite(factor) and factor > 0):
        raise ValueError(f"time is stretched by a factor above 0, not {factor}")
    return Performance(
        performance.onset * factor,
        performance.end * factor,
        performance.pitch,
        performance.velocity,
        performance.pedal * np.array([factor, 1.0]),
    )


def scale_velocity(performance: Performance, factor: float = 1.0, offset: float = 0.0) -> Performance:
    """All velocities become round(factor * velocity + offset), held within 1..127."""
    velocity = np.clip(np.rint(performance.velocity * float(factor) + offset), 1, 127).astype(np.uint8)
    return Performance(performance.onset, performance.end, performance.pitch, velocity, performance.pedal)


def jitter(performance: Performance, rng: np.random.Generator, deviation: float) -> Performance:
    """Each note moved by its own normally distributed time of `deviation` seconds, its length kept; none before
    zero."""
    onset = np.maximum(performance.onset + rng.normal(0.0, deviation, len(performance)), 0.0)
    end = onset + (performance.end - performance.onset)
    return Performance(onset, end, performance.pitch, performance.velocity, performance.pedal)


def semitone_range(performance: Performance, semitones: int) -> tuple[int, int]:
    """The transpositions up to `semitones` either way that keep the notes on the keys of a piano.

    For music that leaves the piano's range already, those that keep them within MIDI's.
    """
    if not len(performance):
        return 0, 0
    lowest, highest = int(performance.pitch.min()), int(performance.pitch.max())
    bottom, top = PIANO if PIANO[0] <= lowest and highest <= PIANO[1] else (0, 127)
    return max(-semitones, bottom - lowest), min(semitones, top - highest)


def augment(performance: Performance, rng: np.random.Generator, settings: Augmentation) -> Performance:
    """The performance transposed, stretched and played louder or softer by amounts drawn uniformly within the settings.

    Equal generators give equal results. No note is dropped: where the keyboard ends, fewer transpositions are drawn
    from. Tempo and loudness are drawn on a logarithmic scale, so faster and slower are alike.
    """
    low, high = semitone_range(performance, settings.semitones)
    semitones = int(rng.integers(low, high + 1))
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(settings.stretch)))
    loudness = float(np.exp(rng.uniform(-1, 1) * np.log1p(settings.loudness)))
    offset = float(rng.uniform(-settings.velocity, settings.velocity))
    changed = scale_velocity(stretch(transpose(performance, semitones), factor), loudness, offset)
    return jitter(changed, rng, settings.jitter) if settings.jitter else changed
