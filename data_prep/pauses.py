"""Pauses of a MIDI file in which nothing happens for so long that no music does that: a note that somebody struck by
mistake hours later, a pedal event at the end of all ticks.  They are cut in the file's own ticks, before anything is
read from it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from musicgen.data_prep import smf

LONGEST_PAUSE = 600.0  # seconds
CUT_TO = 3.0  # seconds: what a player pauses at the most (see `rules/note_limits.py`)
T = TypeVar("T", smf.Tempo, smf.LongEvent)
NOTES, CONTROL, SUSTAIN = (0x80, 0x90), 0xB0, 64


def cut_pauses(events: smf.MidiEvents, drums: np.ndarray) -> tuple[smf.MidiEvents, list[str]]:
    """The events with every pause of more than `LONGEST_PAUSE` cut to `CUT_TO`, and remarks on that.

    drums: bool[e], the messages that count as no music.
    A pause is where no key and no sustain pedal moves, be it before the first note or while something sounds.
    """
    kind = events.status & 0xF0
    plays = np.isin(kind, NOTES) | ((kind == CONTROL) & (events.data1 == SUSTAIN))
    moments = np.sort(np.append(events.tick[plays & ~drums], 0))
    moments = moments[np.diff(moments, prepend=-1) > 0]  # np.unique takes ten times as long
    seconds = events.seconds(moments)
    long = np.flatnonzero(np.diff(seconds) > LONGEST_PAUSE)
    if not len(long):
        return events, []
    start, stop = moments[long], moments[long + 1]
    rate = events.seconds(start + 1) - events.seconds(start)  # at the tempo that holds there
    kept = np.minimum(np.rint(CUT_TO / rate).astype(np.int64), stop - start)

    # Ticks at which the new time goes on as the old, or stands still; in a pause not behind what is left of it.
    old = np.stack([start + kept, stop], axis=1).ravel()
    gone = np.cumsum(stop - start - kept)
    new = np.stack([start + kept - np.append(0, gone[:-1]), stop - gone], axis=1).ravel()

    def move(tick: np.ndarray) -> np.ndarray:
        after = np.searchsorted(old, tick, side="right")
        base = np.append(0, old)[after], np.append(0, new)[after]
        return np.where(after % 2, base[1], base[1] + tick - base[0])

    def move_all(events: tuple[T, ...]) -> tuple[T, ...]:
        ticks = move(np.array([event.tick for event in events], np.int64)).tolist()
        return tuple(event._replace(tick=tick) for event, tick in zip(events, ticks, strict=True))

    lengths = seconds[long + 1] - seconds[long]
    told = [_length(length) for length in lengths.tolist()]
    remark = f"a pause of {told[0]}" if len(told) == 1 else f"{len(told):,} pauses of up to {_length(lengths.max())}"
    cut = replace(
        events,
        tick=move(events.tick),
        track_end=move(events.track_end),
        tempos=move_all(events.tempos),
        long=move_all(events.long),
    )
    return cut, [f"{remark} cut to {CUT_TO:g} seconds"]


def _length(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
