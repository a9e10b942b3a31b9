"""Performance <-> tokens, as note-seq's performance encoder does it, on whole arrays at once.

`encode` gives the events that note-seq 0.0.5 gives for the same notes (`midi_io` -> `apply_sustain_control_changes` ->
`quantize_note_sequence_absolute(100)` -> `Performance(steps_per_second=100, num_velocity_bins=32)`):

* a time becomes the step floor(100 t + 0.5); a note lasts one step at the least;
* notes are numbered in order of (onset, pitch) *before* quantisation; inside a step all note-offs come first, then
  the note-ons, both in order of those numbers;
* a wait is as many shifts of 100 steps as fit, then the remainder;
* a velocity event of bin (velocity - 1) // 4 + 1 stands before a note-on whose bin is not the current one.

Differences from note-seq. The first two keep every key to one note at a time, as the grammar needs it; in the 1,276
files of MAESTRO v3 each of them touches three notes, in four files together, and the others do not occur:

* *a repeated pitch ends the earlier note*, whether or not the pedal is down (note-seq: only while it is down);
* *one onset per key and step*: of several onsets of a pitch that fall into one step the last stays (note-seq keeps
  them all, which makes a note-off ambiguous);
* files are read as `midi.py` says: *the pedal of a channel holds all its notes* (note-seq: those of its track and
  program), *a note never ended is held* (note-seq drops it), *drums are no piano notes*, *tempo changes of all tracks
  count* (note-seq: those of the first track).
"""

from __future__ import annotations

import numpy as np

from musicgen.data_prep.performance import NO_PEDAL, Performance, empty, next_onset, sustained
from musicgen.data_prep.vocabulary import (
    BOS,
    EOS,
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    PITCHES,
    TIME_SHIFT,
    VELOCITY,
    VOCABULARY,
)

STEPS_PER_SECOND = VOCABULARY.steps_per_second
VELOCITY_BIN = 4
"""MIDI velocities per bin: ceil(127 / 32)."""

TICKS_PER_STEP = 400
"""Onsets inside one step are told apart by ticks of 25 microseconds: 128 of them are 3.2 ms, well inside half a
step."""

DEFAULT_VELOCITY = 65
"""For notes of a stream that names no velocity before them."""


def encode(performance: Performance, *, bos: bool = False, eos: bool = False) -> np.ndarray:
    """int16[T] tokens of a performance, pedal applied, with BOS before and EOS behind if asked for."""
    notes = sustained(performance)
    start = _step(notes.onset)
    pitch, velocity = notes.pitch, notes.velocity
    end = np.maximum(_step(notes.end), start + 1)
    single = _step(next_onset(notes)) != start
    if not single.all():
        start, end, pitch, velocity = start[single], end[single], pitch[single], velocity[single]
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


def _step(seconds: np.ndarray) -> np.ndarray:
    """i64 steps; never (inf) is a step far away."""
    return np.minimum(seconds * STEPS_PER_SECOND + 0.5, 2.0**52).astype(np.int64)


def steps(tokens: np.ndarray) -> np.ndarray:
    """int64[T]: the time, in steps from the start, at which each token happens; for a time shift, the time after it."""
    tokens = np.asarray(tokens)
    shift = tokens.astype(np.int64) - (TIME_SHIFT - 1)
    return np.cumsum(np.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0))


def velocity_of(token: int) -> int:
    """The MIDI velocity that a velocity token says: the softest of its bin."""
    return 1 + (token - VELOCITY) * VELOCITY_BIN


def decode(tokens: np.ndarray) -> Performance:
    """The notes of a token stream, their pedal in their ends.

    Forgiving, since a model may have written the stream: BOS and PAD say nothing, EOS ends it, a note-off without a
    note is ignored, a note-on ends the note that its key still sounds, every note lasts a step at the least, and what
    still sounds at the end of the stream ends there. Raises ValueError for ids outside the vocabulary only.

    Onsets in one step are placed on the step's own time and, where the order of the stream is not that of the
    pitches, on the following ticks of 25 microseconds: the order survives `encode` and MIDI files.
    """
    ids = np.asarray(tokens)
    if ids.size and not (ids.min() >= 0 and ids.max() < VOCABULARY.size):
        raise ValueError(f"tokens lie in 0..{VOCABULARY.size - 1}, not {int(ids.min())}..{int(ids.max())}")
    pitches: list[int] = []
    velocities: list[int] = []
    onset_ticks: list[int] = []
    end_steps: list[int] = []  # -1 while the note sounds
    onset_steps: list[int] = []
    sounding = [-1] * PITCHES
    step, velocity = 0, DEFAULT_VELOCITY
    tick, highest = 0, -1
    for token in ids.tolist():
        if NOTE_ON <= token < NOTE_ON + PITCHES:
            pitch = token - NOTE_ON
            note = sounding[pitch]
            if note >= 0:
                end_steps[note] = step
            sounding[pitch] = len(pitches)
            if pitch <= highest:
                tick = min(tick + 1, TICKS_PER_STEP // 2 - 1)
            highest = pitch
            pitches.append(pitch)
            velocities.append(velocity)
            onset_ticks.append(step * TICKS_PER_STEP + tick)
            onset_steps.append(step)
            end_steps.append(-1)
        elif NOTE_OFF <= token < NOTE_OFF + PITCHES:
            note = sounding[token - NOTE_OFF]
            if note >= 0:
                end_steps[note] = step
                sounding[token - NOTE_OFF] = -1
        elif TIME_SHIFT <= token < TIME_SHIFT + MAX_SHIFT:
            step += token - TIME_SHIFT + 1
            tick, highest = 0, -1
        elif token >= VELOCITY:
            velocity = velocity_of(token)
        elif token == EOS:
            break
    if not pitches:
        return empty()
    end = np.array(end_steps)
    end = np.maximum(np.where(end < 0, step, end), np.array(onset_steps) + 1)
    onset = np.array(onset_ticks) / (STEPS_PER_SECOND * TICKS_PER_STEP)
    return Performance(onset, end / STEPS_PER_SECOND, np.array(pitches), np.array(velocities), NO_PEDAL)
