"""Piano music as frozen arrays: what hands and feet did, in seconds.

A `Performance` knows keys and pedal, not tokens and not files. Times are in seconds from the start of the piece, an
end is the release of the key; `apply_pedal` turns the pedal into longer notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PEDAL_DOWN = 64
"""CC64 values from here on mean that the pedal is down."""


@dataclass(frozen=True, eq=False)
class Performance:
    """The notes and the sustain pedal of one piece.

    onset: f64[n], seconds; notes are kept in order of (onset, pitch), whatever order they come in (a stable sort).
    end: f64[n], seconds of the key's release, never before its onset.
    pitch: u8[n], MIDI 0..127. velocity: u8[n], 1..127.
    pedal: f64[p, 2], (seconds, CC64 value 0..127) in order of time.

    The arrays are copied where needed and read-only. Raises ValueError on anything else.
    """

    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    pedal: np.ndarray

    def __post_init__(self) -> None:
        onset, end = _check_times(self.onset, "onset"), _check_times(self.end, "end")
        pitch, velocity = _check_seven_bit(self.pitch, "pitch", 0), _check_seven_bit(self.velocity, "velocity", 1)
        if not onset.shape == end.shape == pitch.shape == velocity.shape:
            raise ValueError(
                "a note has one onset, end, pitch and velocity, "
                f"not {onset.size}, {end.size}, {pitch.size} and {velocity.size} of them"
            )
        if np.any(end < onset):
            raise ValueError(f"note {int(np.argmax(end < onset))} ends before it begins")
        pedal = np.asarray(self.pedal, np.float64)
        if pedal.size == 0:
            pedal = pedal.reshape(0, 2)
        if pedal.ndim != 2 or pedal.shape[1] != 2:
            raise ValueError(f"pedal holds pairs of (seconds, value), not shape {pedal.shape}")
        _check_times(pedal[:, 0], "pedal")
        if not np.all((pedal[:, 1] >= 0) & (pedal[:, 1] <= 127)):  # so that NaN is none, too
            raise ValueError("a pedal value lies in 0..127")
        if np.any(np.diff(pedal[:, 0]) < 0):
            pedal = pedal[np.argsort(pedal[:, 0], kind="stable")]
        if not _is_sorted(onset, pitch):
            order = np.lexsort((pitch, onset))
            onset, end, pitch, velocity = onset[order], end[order], pitch[order], velocity[order]
        fields = {"onset": onset, "end": end, "pitch": pitch, "velocity": velocity, "pedal": pedal}
        for name, array in fields.items():
            given = getattr(self, name)
            if array.flags.writeable and (array is given or array.base is not None):
                array = array.copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """The number of notes."""
        return int(self.onset.size)

    @cached_property
    def duration(self) -> float:
        """Seconds until the last note falls silent, pedal applied; 0 for no notes."""
        return float(apply_pedal(self).end.max()) if len(self) else 0.0

    def equals(self, other: Performance) -> bool:
        """Whether both hold exactly the same notes and pedal."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("onset", "end", "pitch", "velocity", "pedal")
        )


def _check_times(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has one dimension, not {array.ndim}")
    if array.size and not (np.isfinite(array).all() and array.min() >= 0):
        raise ValueError(f"{name} holds finite seconds, none negative")
    return array


def _check_seven_bit(values: np.ndarray, name: str, lowest: int) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has one dimension, not {array.ndim}")
    if array.size and not (array.min() >= lowest and array.max() <= 127):
        raise ValueError(f"{name} lies in {lowest}..127")
    return array.astype(np.uint8, copy=False)


def _is_sorted(onset: np.ndarray, pitch: np.ndarray) -> bool:
    later = np.diff(onset)
    return bool(np.all((later > 0) | ((later == 0) & (pitch[1:] >= pitch[:-1]))))


NO_PEDAL = np.zeros((0, 2))
NO_PEDAL.flags.writeable = False


def empty() -> Performance:
    """A performance without notes."""
    return Performance(np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), np.zeros(0, np.uint8), NO_PEDAL)


def next_onset(performance: Performance) -> np.ndarray:
    """f64[n]: when each note's key is struck again, inf if never. Of notes of one pitch and one onset the last counts
    as later."""
    following = np.full(len(performance), np.inf)
    by_pitch = np.argsort(performance.pitch, kind="stable")  # notes are in order of onset already
    same = performance.pitch[by_pitch[1:]] == performance.pitch[by_pitch[:-1]]
    following[by_pitch[:-1][same]] = performance.onset[by_pitch[1:][same]]
    return following


def remove_overlaps(performance: Performance) -> Performance:
    """Each key sounds once at a time: a repeated pitch ends the earlier note, which goes if nothing of it is left."""
    return _replace_ends(performance, np.minimum(performance.end, next_onset(performance)), performance.pedal)


def apply_pedal(performance: Performance) -> Performance:
    """The notes as they sound: the pedal applied to their ends, and gone.

    A note whose key is released while the pedal is down (CC64 from 64 up) rings until the pedal's next release or
    until its own key is struck again; a pedal that is never released holds until the piece's last event. At one and
    the same moment a press comes before a release and both before note ends, as in note-seq. A repeated pitch ends
    the earlier note whether or not the pedal is down.
    """
    if not len(performance):
        return performance if not len(performance.pedal) else empty()
    following = next_onset(performance)
    end = np.minimum(performance.end, following)
    if len(performance.pedal):
        # The state after all events of a moment: a release beats a press. Sorting releases last makes "the last event
        # at or before t" the state at t.
        time, up = performance.pedal[:, 0], performance.pedal[:, 1] < PEDAL_DOWN
        order = np.lexsort((up, time))
        time, up = time[order], up[order]
        last = np.searchsorted(time, end, side="right") - 1
        held = (last >= 0) & ~up[last]
        releases = np.append(time[up], max(performance.end.max(), time[-1]))
        release = releases[np.minimum(np.searchsorted(time[up], end, side="right"), len(releases) - 1)]
        end = np.where(held, np.minimum(np.maximum(release, end), following), end)
    return _replace_ends(performance, end, NO_PEDAL)


def _replace_ends(performance: Performance, end: np.ndarray, pedal: np.ndarray) -> Performance:
    """The notes with new ends, without those whose key is struck again at their very onset: nothing of them is left."""
    keep = next_onset(performance) != performance.onset
    return Performance(performance.onset[keep], end[keep], performance.pitch[keep], performance.velocity[keep], pedal)


def cut(performance: Performance, start: float, stop: float) -> Performance:
    """What is played in [start, stop) seconds, at its own times (see `shift_time`).

    Notes that begin before `start` are left out and those that last beyond `stop` end there. A pedal that is down at
    either border is pressed at `start` or released at `stop`, so the part sounds complete on its own.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"a part goes from its start to a later stop, not from {start} to {stop}")
    keep = (performance.onset >= start) & (performance.onset < stop)
    time, value = performance.pedal[:, 0], performance.pedal[:, 1]
    inside = performance.pedal[(time >= start) & (time < stop)]
    before = value[time < start]
    parts = [inside]
    if len(before) and before[-1] >= PEDAL_DOWN:
        parts.insert(0, np.array([[start, before[-1]]]))
    pedal = np.concatenate(parts)
    if len(pedal) and pedal[-1, 1] >= PEDAL_DOWN and np.isfinite(stop):
        pedal = np.concatenate([pedal, [[stop, 0.0]]])
    return Performance(
        performance.onset[keep],
        np.minimum(performance.end[keep], stop),
        performance.pitch[keep],
        performance.velocity[keep],
        pedal,
    )


def shift_time(performance: Performance, seconds: float) -> Performance:
    """Everything `seconds` later (earlier if negative; ValueError if that is before zero)."""
    pedal = performance.pedal.copy()
    pedal[:, 0] += seconds
    return Performance(
        performance.onset + seconds, performance.end + seconds, performance.pitch, performance.velocity, pedal
    )


def merge(performances: Sequence[Performance]) -> Performance:
    """All notes and pedal events in one performance, each at its own time; nothing is cut."""
    if not performances:
        return empty()
    onset, end, pitch, velocity, pedal = (
        np.concatenate([getattr(p, name) for p in performances])
        for name in ("onset", "end", "pitch", "velocity", "pedal")
    )
    return Performance(onset, end, pitch, velocity, pedal)
