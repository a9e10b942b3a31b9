"""Piano music as frozen arrays: what hands and feet did, in seconds.

A `Performance` knows keys and pedal, not tokens and not files. Times are in seconds from the start of the piece, an
end is the release of the key; `apply_pedal` turns the pedal into longer notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from musicgen.data_prep.source import END_PLACE, PEDAL_PLACE, Source, join_sources, no_source, renumber

PEDAL_DOWN = 64
"""CC64 values from here on mean that the pedal is down."""


@dataclass(frozen=True, eq=False)
class Performance:
    """The notes and the sustain pedal of one piece.

    onset: f64[n], seconds; notes are kept in order of (onset, pitch, velocity), whatever order they come in.
    end: f64[n], seconds of the key's release, never before its onset.
    pitch: u8[n], MIDI 0..127. velocity: u8[n], 1..127.
    pedal: f64[p, 2], (seconds, CC64 value 0..127) in order of time; events of one moment keep their order.
    source: what else a file said, and in which order, or None: then at one moment the pedal moves before keys are
        released.

    The arrays are copied where needed and read-only. Raises ValueError on anything else.
    """

    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    pedal: np.ndarray
    source: Source | None = None

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
        source = self.source
        if source is not None and (len(source.end_place), len(source.pedal_place)) != (len(onset), len(pedal)):
            raise ValueError("a source belongs to the notes and the pedal of its performance")
        if np.any(np.diff(pedal[:, 0]) < 0):
            order = np.lexsort((np.zeros(len(pedal)) if source is None else source.pedal_place, pedal[:, 0]))
            pedal, source = pedal[order], source and source.take(np.arange(len(onset)), order)
        if not _is_sorted(onset, pitch, velocity):
            order = np.lexsort((velocity, pitch, onset))
            onset, end, pitch, velocity = onset[order], end[order], pitch[order], velocity[order]
            source = source and source.take(order, np.arange(len(pedal)))
        object.__setattr__(self, "source", source)
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


def _is_sorted(onset: np.ndarray, pitch: np.ndarray, velocity: np.ndarray) -> bool:
    same, rises = np.diff(onset) == 0, np.diff(pitch.astype(np.int64) * 128 + velocity) >= 0
    return bool(np.all((np.diff(onset) > 0) | (same & rises)))


NO_PEDAL = np.zeros((0, 2))
NO_PEDAL.flags.writeable = False


def empty() -> Performance:
    """A performance without notes."""
    return Performance(np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), np.zeros(0, np.uint8), NO_PEDAL)


def next_onset(performance: Performance) -> np.ndarray:
    """f64[n]: when each note's key is struck again, inf if never. Of notes of one pitch and one onset the last counts
    as later."""
    following = _next_strike(performance)
    return np.append(performance.onset, np.inf)[following]


def _next_strike(performance: Performance) -> np.ndarray:
    """i64[n]: the note that strikes each note's key again, n if none does."""
    following = np.full(len(performance), len(performance))
    by_pitch = np.argsort(performance.pitch, kind="stable")  # notes are in order of onset already
    same = performance.pitch[by_pitch[1:]] == performance.pitch[by_pitch[:-1]]
    following[by_pitch[:-1][same]] = by_pitch[1:][same]
    return following


def _last_release(performance: Performance, following: np.ndarray) -> np.ndarray:
    """i64[n]: of the notes of each note's key up to this one, that which is released last. following: `next_onset`."""
    count = len(performance)
    if not np.any(performance.end >= following):
        return np.arange(count)
    place = performance.source.end_place if performance.source is not None else np.zeros(count)
    by_end = np.lexsort((place, performance.end))
    rank = np.empty(count, np.int64)
    rank[by_end] = np.arange(count)
    by_pitch = np.argsort(performance.pitch, kind="stable")
    # Pitches are in ascending blocks here, so the running maximum begins anew with each of them.
    highest = np.maximum.accumulate(performance.pitch[by_pitch].astype(np.int64) * count + rank[by_pitch])
    last = np.empty(count, np.int64)
    last[by_pitch] = by_end[highest % count]
    return last


def remove_overlaps(performance: Performance) -> Performance:
    """Each key sounds once at a time: a repeated pitch ends the earlier note, which goes if nothing of it is left, and
    sounds until the last of them is released."""
    if not len(performance):
        return performance
    following = next_onset(performance)
    last = _last_release(performance, following)
    source = performance.source
    if source is not None:
        # A stroke that stands for several of one moment comes where the last of them does.
        first = np.flatnonzero(np.append(True, following[:-1] != performance.onset[:-1]))
        together = np.repeat(first, np.diff(first, append=len(performance)))
        onset_place = np.maximum.reduceat(source.onset_place, first)[np.searchsorted(first, together)]
        source = replace(source.ending_as(last), onset_place=onset_place)
    end = np.minimum(performance.end[last], following)
    notes = _replace_ends(performance, end, performance.pedal, source)
    if notes.source is None:
        return notes
    strike = _next_strike(notes)
    again = np.flatnonzero(notes.end >= np.append(notes.onset, np.inf)[strike])
    place = notes.source.end_place.copy()
    place[again] = np.minimum(place[again], notes.source.onset_place[strike[again]])
    return replace(notes, source=replace(notes.source, end_place=place))


def apply_pedal(performance: Performance) -> Performance:
    """The notes as they sound: the pedal applied to their ends, and gone.

    A note whose key is released while the pedal is down (CC64 from 64 up) rings until the pedal's next release or
    until its own key is struck again; a pedal that is never released holds until the piece's last event. At one and
    the same moment things happen in the order of the source; without one the pedal moves, in the order of its events,
    before keys are released. A key that is struck again before it is released sounds until the last release.
    """
    if not len(performance):
        return performance if not len(performance.pedal) else empty()
    following = next_onset(performance)
    last = _last_release(performance, following)
    end = performance.end[last]
    if len(performance.pedal):
        time, down = performance.pedal[:, 0], performance.pedal[:, 1] >= PEDAL_DOWN
        seen = _pedal_before(performance, last)
        held = (seen > 0) & down[seen - 1]
        lifts = np.append(np.flatnonzero(~down), len(time))
        release = np.append(time, max(performance.end.max(), time[-1]))[lifts[np.searchsorted(lifts, seen)]]
        end = np.where(held, np.maximum(release, end), end)
    return _replace_ends(performance, np.minimum(end, following), NO_PEDAL, None)


def _pedal_before(performance: Performance, notes: np.ndarray) -> np.ndarray:
    """i64[k]: the number of pedal events that come before the releases of k notes."""
    time, end, source = performance.pedal[:, 0], performance.end[notes], performance.source
    seen = np.searchsorted(time, end, side="right")
    if source is None:
        return seen
    first, place = np.searchsorted(time, end, side="left"), source.end_place[notes]
    for note in np.flatnonzero(first < seen).tolist():
        moment = source.pedal_place[first[note] : seen[note]]
        seen[note] = first[note] + np.searchsorted(moment, place[note])
    return seen


def without_source(performance: Performance, hair: float) -> Performance:
    """What sounds the same without a source: each key that is released before the pedal moves for the last time at that
    very moment is released a hair, in seconds, earlier."""
    if performance.source is None:
        return performance
    time, everything = performance.pedal[:, 0], np.arange(len(performance))
    first = _pedal_before(performance, everything) < np.searchsorted(time, performance.end, side="right")
    end = np.maximum(performance.end - hair * first, performance.onset)
    return replace(performance, end=end, source=None)


def on_grid(performance: Performance, tick: float) -> Performance:
    """With all times multiples of so many seconds, in the order they were in."""
    old = (performance.onset, performance.end, performance.pedal[:, 0])
    onset, end, time = (np.rint(seconds / tick) * tick for seconds in old)
    source = performance.source
    if source is not None:
        others = np.rint(source.time / tick) * tick
        places = (source.onset_place, source.end_place, source.pedal_place, source.place)
        on, off, foot, place = renumber((*old, source.time), places, (onset, end, time, others))
        score = source.score and source.score.on_grid(tick)
        source = replace(source, onset_place=on, end_place=off, pedal_place=foot, time=others, place=place, score=score)
    pedal = np.stack([time, performance.pedal[:, 1]], axis=1)
    return Performance(onset, end, performance.pitch, performance.velocity, pedal, source)


def _replace_ends(performance: Performance, end: np.ndarray, pedal: np.ndarray, source: Source | None) -> Performance:
    """The notes with new ends, without those whose key is struck again at their very onset: nothing of them is left."""
    keep = next_onset(performance) != performance.onset
    source = source and source.take(keep, np.arange(len(pedal)))
    return Performance(
        performance.onset[keep], end[keep], performance.pitch[keep], performance.velocity[keep], pedal, source
    )


def cut(performance: Performance, start: float, stop: float) -> Performance:
    """What is played in [start, stop) seconds, at its own times (see `shift_time`).

    Notes that begin before `start` are left out and those that last beyond `stop` end there. A pedal that is down at
    either border is pressed at `start` or released at `stop`, so the part sounds complete on its own.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"a part goes from its start to a later stop, not from {start} to {stop}")
    keep = (performance.onset >= start) & (performance.onset < stop)
    time, value = performance.pedal[:, 0], performance.pedal[:, 1]
    inside = np.flatnonzero((time >= start) & (time < stop))
    before = value[time < start]
    parts, source = [performance.pedal[inside]], performance.source
    places = [] if source is None else [source.pedal_place[inside]]
    if len(before) and before[-1] >= PEDAL_DOWN:
        parts.insert(0, np.array([[start, before[-1]]]))
        places.insert(0, np.array([PEDAL_PLACE]))
    pedal = np.concatenate(parts)
    if len(pedal) and pedal[-1, 1] >= PEDAL_DOWN and np.isfinite(stop):
        pedal = np.concatenate([pedal, [[stop, 0.0]]])
        places.append(np.array([PEDAL_PLACE]))
    end = performance.end[keep]
    if source is not None:
        source = source.part(start, stop).take(keep, inside)
        end_place = np.where(end > stop, END_PLACE, source.end_place)
        source = replace(source, end_place=end_place, pedal_place=np.concatenate(places))
    notes = (performance.onset[keep], np.minimum(end, stop), performance.pitch[keep], performance.velocity[keep])
    return Performance(*notes, pedal, source)


def shift_time(performance: Performance, seconds: float) -> Performance:
    """Everything `seconds` later (earlier if negative; ValueError if that is before zero)."""
    pedal, source = performance.pedal.copy(), performance.source
    pedal[:, 0] += seconds
    return replace(
        performance,
        onset=performance.onset + seconds,
        end=performance.end + seconds,
        pedal=pedal,
        source=source and source.shifted(seconds),
    )


def merge(performances: Sequence[Performance]) -> Performance:
    """All notes and pedal events in one performance, each at its own time; nothing is cut."""
    if not performances:
        return empty()
    source = None
    if any(p.source is not None for p in performances):
        source = join_sources([p.source or no_source(len(p), len(p.pedal)) for p in performances])
    onset, end, pitch, velocity, pedal = (
        np.concatenate([getattr(p, name) for p in performances])
        for name in ("onset", "end", "pitch", "velocity", "pedal")
    )
    return Performance(onset, end, pitch, velocity, pedal, source)
