"""The grammar with two more rules, for sampling only: no key sounds and no silence lasts longer than with pianists.

In MAESTRO one note in a thousand sounds for more than ten seconds. A sampler that once misses a note-off has made a
context no player ever made, in which the model has not learnt to end that note: without the rule such notes pile up.
A piano's strings are all but silent by then. Wherever a note-off may stand and keys are overdue, only the note-off of
the oldest is allowed.

A silence of more than three seconds is where the model would end the piece, if it were asked to (benchmarks/endings).
Who asks for more music gets it after as much: no shift is allowed that would make the rest longer, nor is EOS.

The rules are no part of the grammar, since performances with longer notes and rests exist and must be readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep.events import KINDS, STEPS_PER_SECOND, Kind, steps
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.vocabulary import EOS, MAX_SHIFT, NOTE_OFF, NOTE_ON, PITCHES, TIME_SHIFT, VOCABULARY

NEVER = 2**31 - 1  # no number of an onset
LONGEST = 8.0  # seconds; see benchmarks/sampling
REST = 3.0  # seconds


class NoteLimitState(NamedTuple):
    """The grammar's state; i32[B, 128] for how many steps each key has sounded, 0 for silent ones; i32[B] for how many
    none has."""

    grammar: grammar.GrammarState
    age: Any
    rest: Any


@dataclass(frozen=True)
class NoteLimits:
    """Rules on top of the grammar.  longest: seconds that a key may sound; rest: seconds of silence."""

    longest: float = LONGEST
    rest: float = REST

    def start(self, streams: Sequence[np.ndarray], xp: Any = np) -> NoteLimitState:
        """The state after whole streams, one row each."""
        state = grammar.start(streams, np)
        age, rest = np.zeros((len(streams), PITCHES), np.int32), np.zeros(len(streams), np.int32)
        for row, stream in enumerate(map(np.asarray, streams)):
            now = steps(stream)
            for key in np.flatnonzero(state.sounding[row] >= 0):
                struck = np.flatnonzero(stream == NOTE_ON + key)[-1]
                age[row, key] = now[-1] - now[struck]
            if len(stream) and (state.sounding[row] < 0).all():
                ends = np.flatnonzero(KINDS[stream] == Kind.NOTE_OFF)
                rest[row] = now[-1] - (now[ends[-1]] if ends.size else 0)
        return NoteLimitState(grammar.GrammarState(*map(xp.asarray, state)), xp.asarray(age), xp.asarray(rest))

    @property
    def longest_steps(self) -> int:
        """After so many a key is overdue."""
        return round(self.longest * STEPS_PER_SECOND)

    def advance(self, state: NoteLimitState, token: Any) -> NoteLimitState:
        """The state after one more token i32[B] of each stream."""
        inner = grammar.advance(state.grammar, token)
        xp = state.age.__array_namespace__()
        token = xp.asarray(token, dtype=xp.int32)
        shift = token - TIME_SHIFT + 1
        passed = xp.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0)
        age = xp.where(inner.sounding >= 0, state.age + passed[:, None], 0)
        struck = token[:, None] - NOTE_ON == xp.arange(PITCHES, dtype=xp.int32)[None, :]
        rest = xp.where(xp.any(inner.sounding >= 0, axis=1), 0, state.rest + passed)
        return NoteLimitState(inner, xp.where(struck, 0, age), rest)

    def allowed(self, state: NoteLimitState) -> Any:
        """bool[B, V]: what the grammar allows without making a silence too long, or only the oldest overdue note-off
        where there is one.  EOS is as the grammar has it."""
        xp = state.age.__array_namespace__()
        shift = xp.arange(VOCABULARY.size, dtype=xp.int32)[None, :] - TIME_SHIFT + 1
        silent = ~xp.any(state.grammar.sounding >= 0, axis=1, keepdims=True)
        waits = (
            silent
            & (shift >= 1)
            & (shift <= MAX_SHIFT)
            & (state.rest[:, None] + shift > round(self.rest * STEPS_PER_SECOND))
        )
        allowed = grammar.allowed(state.grammar) & ~waits
        offs = allowed[:, NOTE_OFF : NOTE_OFF + PITCHES]
        # The oldest alone: after a younger key's note-off it could not follow in the same step.
        order = xp.where(offs & (state.age >= self.longest_steps), state.grammar.sounding, NEVER)
        oldest = xp.min(order, axis=1, keepdims=True)
        due = (order == oldest) & (order < NEVER)
        before = xp.zeros_like(allowed[:, :NOTE_OFF])
        past = xp.zeros_like(allowed[:, NOTE_OFF + PITCHES :])
        only = xp.concat([before, due, past], axis=1)
        return xp.where(xp.any(due, axis=1, keepdims=True), only, allowed)

    def apply(self, state: NoteLimitState, logits: Any) -> Any:
        """Logits f32[B, V], -inf where a token must not come, which EOS never may."""
        ids = logits.__array_namespace__().arange(VOCABULARY.size)
        return grammar.keep_allowed(logits, self.allowed(state) & (ids != EOS))
