"""What can be counted in one piano piece: the measures that generated and real music are compared on (`compare`).

Every piece is first brought to what a model could have written: pedal applied, first note at 0 s, times on the grid of
10 ms, velocities in the 32 bins of the tokens (the round trip `decode(encode(...))`). So real and generated pieces
differ by their music, not by their resolution. Only the two measures of the pedal need the pedal itself: they are NaN
for music without it, which is all generated music and all that comes from the shards of `musicgen prep`, where the
pedal is in the notes' ends already; give folders of MIDI files to see them.

Sources: [mgeval] Yang and Lerch, "On the evaluation of generative models in music", Neural Computing and Applications
32 (2020); [muspy] Dong et al., "MusPy: a toolkit for symbolic music generation", ISMIR 2020; [jazz] Wu and Yang, "The
Jazz Transformer on the front line", ISMIR 2020. Where no source is named the definition is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen.data_prep.events import STEPS_PER_SECOND, VELOCITY_BIN
from musicgen.data_prep.performance import PEDAL_DOWN, Performance, apply_pedal, cut, shift_time
from musicgen.data_prep.repetition import most_repeats
from musicgen.data_prep.tokens import decode, encode

UNITS = {
    "seconds": "s",
    "pitch_class_entropy": "bits",
    "scale_consistency": "share",
    "pitch": "MIDI",
    "pitch_range": "semitones",
    "pitches_used": "keys",
    "notes_per_second": "1/s",
    "inter_onset": "s",
    "duration": "s",
    "velocity": "1..127",
    "velocity_spread": "1..127",
    "polyphony": "notes",
    "pedal_down": "share",
    "pedal_presses": "1/min",
    "self_similarity_10s": "cosine",
    "self_similarity_60s": "cosine",
    "self_similarity_120s": "cosine",
    "longest_silence": "s",
    "silence_over_3s": "pieces",
    "most_repeats": "times",
    "repeats_over_16": "pieces",
    "notes_per_second_drift": "1/s/min",
    "pitch_class_entropy_drift": "bits/min",
    "velocity_drift": "1/min",
    "polyphony_drift": "notes/min",
    "most_repeats_drift": "times/min",
    "longest_silence_drift": "s/min",
}
"""Name of every number of a piece, and its unit. Those in `pieces` are 0 or 1: their mean is a share of pieces."""

COUNTED_AGAIN = ("notes_per_second", "pitch_class_entropy", "velocity", "polyphony", "most_repeats")
BY_MINUTE = (*COUNTED_AGAIN, "longest_silence")
"""What is measured again in every whole minute of a piece."""

MINUTE = 60.0
DRIFT_MINUTES = 3  # a slope wants three points at the least
LONG_SILENCE = 3.0  # seconds
MANY_REPEATS = 16
FRAME = 2.0  # seconds
FRAMES_BACK = 60
FEWEST_PAIRS = 5
SIMILARITY_SPANS = {"self_similarity_10s": (1, 5), "self_similarity_60s": (6, 30), "self_similarity_120s": (31, 60)}
MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])


def _log_edges(longest: int) -> np.ndarray:
    """Borders between whole steps of 10 ms, closer for short times, in seconds; the first bin is below one step."""
    steps = np.unique(np.rint(np.geomspace(1, longest, 28)))
    return np.concatenate([[0.0], (steps - 0.5) / STEPS_PER_SECOND])


EDGES = {
    "pitch_classes": np.arange(13.0),
    "inter_onset": _log_edges(500),
    "duration": _log_edges(3000),
    "velocity": np.arange(1.0, 130.0, VELOCITY_BIN),
}
"""Histogram bins by name. What lies beyond the last edge counts in the last bin."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One piece in numbers.

    values: every name of UNITS; NaN where the piece has nothing to measure. histograms: every name of EDGES, each sums
    to 1 (0 if there is nothing to count). similarity: f64[60], see `self_similarity`. minutes: f64[whole minutes, 6],
    columns as in BY_MINUTE.
    """

    values: dict[str, float]
    histograms: dict[str, np.ndarray]
    similarity: np.ndarray
    minutes: np.ndarray


def measure(performance: Performance, seconds: float = np.inf) -> Measured:
    """Measure a piece, or its first ``seconds`` from the first note on. Raises ValueError if it has no notes."""
    if not len(performance):
        raise ValueError("a piece without notes cannot be measured")
    start = float(performance.onset[0])
    played = cut(performance, start, start + seconds)
    notes = quantize(played)
    silence, repeats = longest_silence(notes), most_repeats(notes)
    similarity, minutes = self_similarity(notes), by_minute(notes)
    down, presses = pedal_use(played)
    values = {
        "seconds": float(notes.end.max()),
        "scale_consistency": scale_consistency(notes),
        "pitch": float(notes.pitch.mean()),
        "pitch_range": float(np.ptp(notes.pitch)),
        "pitches_used": float(len(np.unique(notes.pitch))),
        "inter_onset": float(np.diff(notes.onset).mean()) if len(notes) > 1 else np.nan,
        "duration": float((notes.end - notes.onset).mean()),
        "velocity_spread": float(notes.velocity.std()),
        "pedal_down": down,
        "pedal_presses": presses,
        "longest_silence": silence,
        "silence_over_3s": float(silence > LONG_SILENCE),
        "repeats_over_16": float(repeats > MANY_REPEATS),
        **dict(zip(COUNTED_AGAIN, _recount(notes, float(notes.end.max())), strict=True)),
        **{name: _mean(similarity[a - 1 : b]) for name, (a, b) in SIMILARITY_SPANS.items()},
        **{f"{name}_drift": _slope(minutes[:, column]) for column, name in enumerate(BY_MINUTE)},
    }
    return Measured({name: values[name] for name in UNITS}, _histograms(notes), similarity, minutes)


def quantize(performance: Performance) -> Performance:
    """The notes as tokens can say them: pedal applied, first onset at 0, times in 10 ms, velocity 1, 5, 9, ... 125."""
    if not len(performance):
        return apply_pedal(performance)
    notes = decode(encode(shift_time(apply_pedal(performance), -float(performance.onset[0]))))
    # `decode` tells onsets of one step apart by microseconds; here they are one moment.
    onset, end = (np.rint(times * STEPS_PER_SECOND) / STEPS_PER_SECOND for times in (notes.onset, notes.end))
    return Performance(onset, end, notes.pitch, notes.velocity, notes.pedal)


def pitch_classes(notes: Performance) -> np.ndarray:
    """f64[12]: share of the notes in each pitch class, C first [mgeval, total pitch class histogram]."""
    return np.bincount(notes.pitch % 12, minlength=12) / max(len(notes), 1)


def entropy(shares: np.ndarray) -> float:
    """Shannon entropy in bits of shares that sum to 1; NaN if they are all 0."""
    there = shares[shares > 0]
    return float(-(there * np.log2(there)).sum()) + 0.0 if there.size else np.nan


def major_keys(shares: np.ndarray) -> np.ndarray:
    """f64[12]: the share of notes that lie in the major scale on C, C sharp, ... B."""
    return np.array([np.roll(MAJOR, tonic) @ shares for tonic in range(12)])


def scale_consistency(notes: Performance) -> float:
    """Share of the notes in the best fitting major scale, or its relative minor [muspy]."""
    return float(major_keys(pitch_classes(notes)).max())


def sounding_seconds(notes: Performance) -> float:
    """Seconds during which at least one note sounds."""
    reach = np.maximum.accumulate(notes.end)
    gaps = np.maximum(notes.onset[1:] - reach[:-1], 0)
    return float(reach[-1] - notes.onset[0] - gaps.sum()) if len(notes) else 0.0


def polyphony(notes: Performance) -> float:
    """Mean number of notes that sound, over the time in which any sounds [muspy, without its grid]."""
    return float((notes.end - notes.onset).sum() / sounding_seconds(notes)) if len(notes) else np.nan


def longest_silence(notes: Performance) -> float:
    """The longest time, in seconds, between the first onset and the last end in which nothing sounds; 0 for none."""
    return float(silences(notes)[:, 1].max(initial=0.0))


def silences(notes: Performance) -> np.ndarray:
    """f64[silences, 2]: when each begins and how long it is, in seconds, between the first onset and the last end."""
    reach = np.maximum.accumulate(notes.end)[:-1]
    gaps = notes.onset[1:] - reach
    return np.stack([reach, gaps], axis=1)[gaps > 0]


def pedal_use(performance: Performance) -> tuple[float, float]:
    """(share of the piece with the pedal down, presses a minute), from first onset to last end; NaN without pedal."""
    seconds = performance.duration - float(performance.onset[0]) if len(performance) else 0.0
    if not len(performance.pedal) or seconds <= 0:
        return np.nan, np.nan
    start, stop = float(performance.onset[0]), performance.duration
    down = performance.pedal[:, 1] >= PEDAL_DOWN
    times = np.clip(np.append(performance.pedal[:, 0], stop), start, stop)
    presses = int((down & ~np.append(False, down[:-1])).sum())
    return float(np.diff(times)[down].sum() / seconds), presses * 60 / seconds


def chroma(notes: Performance) -> np.ndarray:
    """f64[whole frames of 2 s, 12]: seconds that each pitch class sounds in each frame, all octaves together."""
    borders = np.arange(int(notes.end.max() / FRAME + 1e-9) + 1) * FRAME if len(notes) else np.zeros(1)
    sounding = np.empty((len(borders), 12))
    for name in range(12):
        mine = notes.pitch % 12 == name
        sounding[:, name] = _since(notes.onset[mine], borders) - _since(notes.end[mine], borders)
    return np.diff(sounding, axis=0)


def _since(moments: np.ndarray, now: np.ndarray) -> np.ndarray:
    """f64[len(now)]: the sum over all past moments of the time since."""
    moments = np.sort(moments)
    past = np.searchsorted(moments, now)
    return past * now - np.append(0.0, np.cumsum(moments))[past]


def self_similarity(notes: Performance) -> np.ndarray:
    """f64[60]: how alike the harmony is 2, 4, ... 120 s apart, after the self-similarity matrix of [jazz].

    The mean cosine between the chroma of all frames of 2 s that lie so far apart; frames without sound are left out
    and a distance with fewer than 5 pairs is NaN.
    """
    frames = chroma(notes)
    loud = np.sqrt((frames**2).sum(axis=1))
    loud[loud < 1e-9] = np.nan
    frames = frames / loud[:, None]
    curve = np.full(FRAMES_BACK, np.nan)
    for back in range(1, min(FRAMES_BACK, len(frames) - FEWEST_PAIRS) + 1):
        cosines = (frames[:-back] * frames[back:]).sum(axis=1)
        if np.isfinite(cosines).sum() >= FEWEST_PAIRS:
            curve[back - 1] = _mean(cosines)
    return curve


def by_minute(notes: Performance) -> np.ndarray:
    """f64[whole minutes, 6]: BY_MINUTE for the notes that begin in each minute, their ends cut at the minute's; the
    longest of the silences that begin in it."""
    minutes = int(notes.end.max() / MINUTE + 1e-9) if len(notes) else 0
    parts = [cut(notes, k * MINUTE, (k + 1) * MINUTE) for k in range(minutes)]
    counted = np.array([_recount(part, MINUTE) for part in parts]).reshape(minutes, len(COUNTED_AGAIN))
    gaps = silences(notes)
    longest = [gaps[gaps[:, 0] // MINUTE == k, 1].max(initial=0.0) for k in range(minutes)]
    return np.column_stack([counted, longest])


def _recount(notes: Performance, seconds: float) -> tuple[float, ...]:
    """The measures of COUNTED_AGAIN, in its order."""
    velocity = float(notes.velocity.mean()) if len(notes) else np.nan
    density = len(notes) / seconds
    return density, entropy(pitch_classes(notes)), velocity, polyphony(notes), most_repeats(notes)


def _histograms(notes: Performance) -> dict[str, np.ndarray]:
    """Shares of the notes, or of the steps from each note to the next, in the bins of EDGES."""
    counted = {
        "pitch_classes": notes.pitch % 12,
        "inter_onset": np.diff(notes.onset),
        "duration": notes.end - notes.onset,
        "velocity": notes.velocity,
    }
    made = {}
    for name, edges in EDGES.items():
        bins = np.histogram(np.minimum(counted[name], edges[-1]), edges)[0]
        made[name] = bins / max(bins.sum(), 1)
    return made


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN if there is nothing."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else np.nan


def _slope(values: np.ndarray) -> float:
    """Change a minute by least squares; NaN for fewer than three minutes."""
    minute = np.flatnonzero(np.isfinite(values))
    if len(minute) < DRIFT_MINUTES:
        return np.nan
    centred = minute - minute.mean()
    return float(centred @ values[minute] / (centred @ centred))
