"""Performance <-> tokens, as note-seq's performance encoder does it, on whole arrays at once.

`encode` gives the events that note-seq 0.0.5 gives for the same notes (`midi_io` -> `apply_sustain_control_changes` ->
`quantize_note_sequence_absolute(100)` -> `Performance(steps_per_second=100, num_velocity_bins=32)`):

* a time becomes the step floor(100 t + 0.5); a note lasts one step at the least;
* notes are numbered in order of (onset, pitch) *before* quantisation; inside a step all note-offs come first, then
  the note-ons, both in order of those numbers;
* a wait is as many shifts of 100 steps as fit, then the remainder;
* a velocity event of bin (velocity - 1) // 4 + 1 stands before a note-on whose bin is not the current one.

Differences from note-seq, which all come from files being read as `playing` and `midi` say:

* *a repeated pitch ends the earlier note*, whether or not the pedal is down (note-seq: only while it is down), and
  *sounds until the last of them is released* (note-seq: a note-off ends all);
* *one onset per key and step*: of several onsets of a pitch that fall into one step the last stays (note-seq keeps
  them all, which makes a note-off ambiguous);
* *the order of a tick is the file's* (note-seq: at one moment a press of the pedal comes before a release, and both
  before note ends);
* *the sostenuto pedal and the channel mode messages count*, *the pedal of a channel holds all its notes* (note-seq:
  those of its track and program), *a note-off ends a note of any track*, *a note never ended is held* and *a note of
  no length is kept* (note-seq drops both), *drums are no piano notes*, *tempo changes of all tracks count* (note-seq:
  those of the first track), *of two strikes of a key at one moment the louder one counts*.

"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.data_prep.events import STEPS_PER_SECOND, VELOCITY_BIN, NoteDecoder
from musicgen.data_prep.performance import NO_PEDAL, Performance, apply_pedal, empty, next_onset
from musicgen.data_prep.vocabulary import (
    BOS,
    EOS,
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    TIME_SHIFT,
    VELOCITY,
)

TICKS_PER_STEP = 400
"""Onsets inside one step are told apart by ticks of 25 microseconds: 128 of them are 3.2 ms, well inside half a
step."""

STILL_SOUNDING = 2**62  # steps: the end of a note that has none yet


def encode(performance: Performance, *, bos: bool = False, eos: bool = False) -> np.ndarray:
    """int16[T] tokens of a performance, pedal applied, with BOS before and EOS behind if asked for."""
    notes = encoded_notes(performance)
    pitch, velocity, start = notes.pitch, notes.velocity, _step(notes.onset)
    end = np.maximum(_step(notes.end), start + 1)
    n = len(start)
    # One sortable number per event: its step, offsets before onsets, then the note's number.
    number = np.arange(n)
    key = np.concatenate([end * (2 * n) + number, start * (2 * n) + n + number])
    order = np.argsort(key, kind="stable")
    is_on = order >= n
    note = order - n * is_on
    step = key[order] // (2 * n) if n else order
    wait = np.diff(step, prepend=0)
    velocity_bin = (velocity.astype(np.int64) - 1) // VELOCITY_BIN + 1
    changes = np.zeros(2 * n, bool)
    changes[is_on] = np.diff(velocity_bin, prepend=0) != 0  # onsets are in order of number
    shifts = (wait + MAX_SHIFT - 1) // MAX_SHIFT
    last = np.cumsum(shifts + changes + 1) - 1 + bos  # where each event's own token goes
    tokens = np.full(int(last[-1]) + 1 + eos if n else bos + eos, TIME_SHIFT + MAX_SHIFT - 1, np.int16)
    tokens[last] = np.where(is_on, NOTE_ON, NOTE_OFF) + pitch[note].astype(np.int64)
    tokens[last[changes] - 1] = VELOCITY + velocity_bin[note[changes]] - 1
    waits = shifts > 0
    remainder = wait[waits] - (shifts[waits] - 1) * MAX_SHIFT
    tokens[last[waits] - changes[waits] - 1] = TIME_SHIFT + remainder - 1
    if bos:
        tokens[0] = BOS
    if eos:
        tokens[-1] = EOS
    return tokens


def encoded_notes(performance: Performance) -> Performance:
    """The notes that `encode` writes, in the order of their note-ons and at their own times: pedal applied, and of
    several onsets of a key in one step the last."""
    notes = apply_pedal(performance)
    last = _step(next_onset(notes)) != _step(notes.onset)
    if last.all():
        return notes
    return Performance(notes.onset[last], notes.end[last], notes.pitch[last], notes.velocity[last], notes.pedal)


def _step(seconds: np.ndarray) -> np.ndarray:
    """i64 steps; never (inf) is a step far away."""
    return np.minimum(seconds * STEPS_PER_SECOND + 0.5, 2.0**52).astype(np.int64)


def decode(tokens: np.ndarray, before: np.ndarray | Sequence[int] = ()) -> Performance:
    """The notes that a token stream int[T] strikes, their pedal in their ends.

    Read as `events.NoteDecoder` does; every note lasts a step at the least, and what still sounds at the end of the
    stream ends there. Raises ValueError for ids outside the vocabulary only.

    before: int[P] tokens that these continue. They say which velocity is in force; their own notes are left out.

    Onsets in one step are placed on the step's own time and, where the order of the stream is not that of the
    pitches, on the following ticks of 25 microseconds: the order survives `encode` and MIDI files.
    """
    decoder = NoteDecoder(before)
    onsets: list[int] = []  # in steps, as the ends
    ends: list[int] = []
    pitches: list[int] = []
    velocities: list[int] = []
    for note, step, pitch, velocity in decoder.feed(tokens):
        if velocity:
            onsets.append(step)
            ends.append(STILL_SOUNDING)
            pitches.append(pitch)
            velocities.append(velocity)
        elif note >= 0:
            ends[note] = step
    if not pitches:
        return empty()
    onset, pitch_of = np.array(onsets), np.array(pitches)
    end = np.maximum(np.minimum(ends, decoder.step), onset + 1)
    ticks = onset * TICKS_PER_STEP + _ticks(onset, pitch_of)
    return Performance(
        ticks / (STEPS_PER_SECOND * TICKS_PER_STEP), end / STEPS_PER_SECOND, pitch_of, np.array(velocities), NO_PEDAL
    )


def _ticks(onset: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """i64[n]: how many notes in its step, up to and with this one, are not above the note struck before them."""
    falls = np.cumsum(np.append(False, (np.diff(onset) == 0) & (np.diff(pitch) <= 0)))
    before = falls[np.searchsorted(onset, onset)]
    return np.minimum(falls - before, TICKS_PER_STEP // 2 - 1)
