"""The grammar with one more rule, for sampling only: a key that has sounded for `longest` seconds is let go.

In MAESTRO one note in a thousand sounds for more than ten seconds. A sampler that once misses a note-off has made a
context no player ever made, in which the model has not learnt to end that note: without the rule such notes pile up.
A piano's strings are all but silent by then.

The rule is no part of the grammar, since performances with longer notes exist and must be readable. Wherever a
note-off may stand and keys are overdue, only the note-off of the oldest is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep import grammar
from musicgen.data_prep.tokens import STEPS_PER_SECOND, steps
from musicgen.data_prep.vocabulary import MAX_SHIFT, NOTE_OFF, NOTE_ON, PITCHES, TIME_SHIFT

NEVER = 2**31 - 1  # no number of an onset


class ReleaseState(NamedTuple):
    """The grammar's state, and i32[B, 128] for how many steps each key has sounded; 0 for silent ones."""

    grammar: grammar.GrammarState
    age: Any


class Releases:
    """What an engine asks of a grammar: `after`, `advance` and `allowed`."""

    def __init__(self, longest: float) -> None:
        """longest: seconds."""
        self.longest = round(longest * STEPS_PER_SECOND)

    def after(self, streams: Sequence[np.ndarray], xp: Any = np) -> ReleaseState:
        """The state after whole streams, one row each."""
        state = grammar.after(streams, np)
        age = np.zeros((len(streams), PITCHES), np.int32)
        for row, stream in enumerate(map(np.asarray, streams)):
            now = steps(stream)
            for key in np.flatnonzero(state.sounding[row] >= 0):
                struck = np.flatnonzero(stream == NOTE_ON + key)[-1]
                age[row, key] = now[-1] - now[struck]
        return ReleaseState(grammar.GrammarState(*map(xp.asarray, state)), xp.asarray(age))

    def advance(self, state: ReleaseState, token: Any) -> ReleaseState:
        """The state after one more token i32[B] of each stream."""
        inner = grammar.advance(state.grammar, token)
        xp = state.age.__array_namespace__()
        token = xp.asarray(token, dtype=xp.int32)
        shift = token - TIME_SHIFT + 1
        passed = xp.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0)
        age = xp.where(inner.sounding >= 0, state.age + passed[:, None], 0)
        struck = token[:, None] - NOTE_ON == xp.arange(PITCHES, dtype=xp.int32)[None, :]
        return ReleaseState(inner, xp.where(struck, 0, age))

    def allowed(self, state: ReleaseState) -> Any:
        """bool[B, V]: what the grammar allows, or only the oldest overdue note-off where there is one."""
        xp = state.age.__array_namespace__()
        allowed = grammar.allowed(state.grammar)
        offs = allowed[:, NOTE_OFF : NOTE_OFF + PITCHES]
        # The oldest alone: after a younger key's note-off it could not follow in the same step.
        order = xp.where(offs & (state.age >= self.longest), state.grammar.sounding, NEVER)
        oldest = xp.min(order, axis=1, keepdims=True)
        due = (order == oldest) & (order < NEVER)
        before = xp.zeros_like(allowed[:, :NOTE_OFF])
        past = xp.zeros_like(allowed[:, NOTE_OFF + PITCHES :])
        only = xp.concat([before, due, past], axis=1)
        return xp.where(xp.any(due, axis=1, keepdims=True), only, allowed)
