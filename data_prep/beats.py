"""Where the beats are in music that does not say so.

Strokes have accents: louder, lower, fuller and longer ones more.  The autocorrelation of the accents around each second
says which beat lengths are likely there, Viterbi's algorithm chooses among them so that the tempo moves slowly, and
dynamic programming lays beats on accents at about that distance (Ellis, 2007).  How clear a beat is, the strokes
between tell: they lie on halves, thirds, quarters or sixths of it, or anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAME = 0.01  # seconds
BLUR = 0.02  # seconds: how exactly a beat is played
TOGETHER = 0.035  # seconds within which notes are one stroke
AROUND = 2.0  # seconds on both sides with which a stroke is compared
LENGTHS = np.arange(25, 151)  # frames of a beat
WINDOW, HOP = 1200, 100  # frames of an autocorrelation, and between two
STIFF_TEMPO, STIFF_BEAT = 8.0, 60.0  # what a change of the tempo costs, and a beat that comes early or late
LIKELY = 0.6  # seconds: the beat that people prefer
SPREAD = 0.9  # octaves
WITHIN = 0.07  # seconds: what counts as the same beat
PLACES = (2, 3, 4, 6)  # into which a beat may be divided
# How clear a beat is that is one: of strokes at random times, the fewer they are the clearer it seems, one in twenty
# reaches this; see benchmarks/beats.
CLEAR, BY_CHANCE = 0.42, 1.7  # and this over the square root of their number more


@dataclass(frozen=True)
class Beats:
    """The beats of a piece.

    seconds: f64[n], in order.
    clarity: from 0 to 1, how well all strokes lie on places that divide them.
    strokes: how many there are.
    """

    seconds: np.ndarray
    clarity: float
    strokes: int

    @property
    def heard(self) -> bool:
        """Whether there is a beat at all, as far as can be told."""
        return self.clarity >= CLEAR + BY_CHANCE / np.sqrt(self.strokes)


def find_beats(onset: np.ndarray, pitch: np.ndarray, velocity: np.ndarray) -> Beats | None:
    """The likeliest beats of notes, [n] each in order of onset in seconds; None of fewer than four strokes."""
    moments, accents = strokes(onset, pitch, velocity)
    if len(moments) < 4:
        return None
    begin = moments[0] - 1.0
    curve = np.zeros(int((moments[-1] - begin) / FRAME) + 200)
    np.maximum.at(curve, np.rint((moments - begin) / FRAME).astype(np.int64), accents)
    bell = np.exp(-0.5 * (np.arange(-6, 7) * FRAME / BLUR) ** 2)
    curve = np.convolve(curve, bell, "same")
    beats = begin + FRAME * _lay(curve, _lengths(curve))
    return Beats(beats, _clarity(beats, moments, accents), len(moments)) if len(beats) > 1 else None


def _clarity(beats: np.ndarray, moments: np.ndarray, accents: np.ndarray) -> float:
    inside = (moments >= beats[0] - WITHIN) & (moments <= beats[-1] + WITHIN)
    place = np.interp(moments[inside], beats, np.arange(len(beats)))
    weight = accents[inside] / accents[inside].sum()
    return max(float(np.abs(np.sum(weight * np.exp(2j * np.pi * parts * place)))) for parts in PLACES)


def strokes(onset: np.ndarray, pitch: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f64[k] seconds of what is struck at one moment, and f64[k] how much of an accent it is."""
    if not len(onset):
        return np.zeros(0), np.zeros(0)
    first = np.flatnonzero(np.diff(onset, prepend=-np.inf) > TOGETHER)
    moments = onset[first]
    count = np.diff(first, append=len(onset))
    low = np.minimum.reduceat(pitch.astype(np.float64), first)
    loud = np.maximum.reduceat(velocity.astype(np.float64), first)
    wait = np.diff(moments, append=moments[-1] + 1.0)
    past, behind = np.searchsorted(moments, moments - AROUND), np.searchsorted(moments, moments + AROUND, side="right")
    usual = np.array([np.median(low[a:b]) for a, b in zip(past, behind, strict=True)])

    def as_usual(values: np.ndarray) -> np.ndarray:
        sums = np.append(0.0, np.cumsum(values))
        return (sums[behind] - sums[past]) / (behind - past)

    accents = 0.5 * np.minimum(count - 1, 4) + np.clip((usual - low) / 12, 0, 2) + loud / as_usual(loud)
    return moments, accents + np.minimum(wait, 1.0) / np.maximum(as_usual(wait), 0.1)


def _lengths(curve: np.ndarray) -> np.ndarray:
    """f64[T]: how long a beat is likely to be at each frame."""
    salience = []
    for middle in range(0, len(curve), HOP):
        part = curve[max(0, middle - WINDOW // 2) : middle + WINDOW // 2]
        part = part - part.mean()
        spectrum = np.fft.rfft(part, 2 * len(part))
        own = np.fft.irfft(np.abs(spectrum) ** 2)[: len(part)]
        own = np.pad(own / (own[0] + 1e-9), (0, max(0, 4 * LENGTHS[-1] + 1 - len(own))))
        salience.append(own[LENGTHS] + 0.5 * own[2 * LENGTHS] + 0.17 * own[3 * LENGTHS] + 0.25 * own[4 * LENGTHS])
    change = STIFF_TEMPO * np.abs(np.log(LENGTHS[:, None] / LENGTHS[None, :]))
    weight = np.exp(-0.5 * (np.log2(LENGTHS * FRAME / LIKELY) / SPREAD) ** 2)
    path = _smoothest(np.array(salience) * weight, change)
    return np.repeat(LENGTHS[path], HOP)[: len(curve)].astype(np.float64)


def _smoothest(salience: np.ndarray, change: np.ndarray) -> np.ndarray:
    """i64[k]: the way through f64[k, n] that collects most, less what the changes f64[n, n] between columns cost."""
    value, came = salience[0], []
    for row in salience[1:]:
        arriving = value[:, None] - change
        came.append(arriving.argmax(axis=0))
        value = arriving.max(axis=0) + row
    path = [int(value.argmax())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _lay(curve: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """i64[n]: frames that lie on accents, at about these distances."""
    accents = (curve / (curve.std() or 1.0)).tolist()
    value, before = np.zeros(len(curve)), np.full(len(curve), -1)
    for now, accent in enumerate(accents):
        length = lengths[now]
        near, far = now - int(0.55 * length), max(0, now - int(1.8 * length))
        value[now] = accent
        if near >= far:
            gone = np.arange(far, near + 1)
            worth = value[far : near + 1] - STIFF_BEAT * np.log((now - gone) / length) ** 2
            best = int(worth.argmax())
            if worth[best] > 0:
                value[now] += worth[best]
                before[now] = far + best
    end = max(0, len(curve) - 300)
    now = end + int(value[end:].argmax())
    found = []
    while now >= 0:
        found.append(now)
        now = int(before[now])
    return np.array(found[::-1])


def agree(one: np.ndarray, other: np.ndarray) -> float:
    """The F-measure of beats against others: the share that are the same to 70 ms, from 0 to 1."""
    if not len(one) or not len(other):
        return 0.0
    place = np.clip(np.searchsorted(one, other), 1, max(1, len(one) - 1))
    near = np.minimum(np.abs(one[place - 1] - other), np.abs(one[np.minimum(place, len(one) - 1)] - other))
    return float(2 * np.count_nonzero(near <= WITHIN) / (len(one) + len(other)))
