"""`NoteLimits` with one more rule, for sampling only: the stream ends near a chosen time, and by itself if it can.

A model knows an ending when it hears one: where real pieces end, half of the time it gives EOS more than 0.4; at other
moments of silence, half of the time less than 1e-8 (benchmarks/endings). It also knows where a phrase is over: there it
waits. So from `OPENS` seconds before the chosen time on, EOS may come wherever the grammar lets it, which is where
nothing sounds, and it and the longest shift get a push that grows up to the chosen time: enough to take the model at
its word when it would end or pause, too little to make an ending out of the middle of a phrase.

After the first such pause, or at the chosen time at the latest, nothing new is struck any more. What sounds rings on
for whole seconds or until its note-off, `RING` seconds or so at the most, and EOS comes when all is silent.

The times travel in the state, so functions compiled for one ending serve every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.rules.grammar import for_all_ids, keep_allowed
from musicgen.data_prep.rules.note_limits import NoteLimits, NoteLimitState
from musicgen.data_prep.vocabulary import EOS, MAX_SHIFT, TIME_SHIFT, VOCABULARY

OPENS = 10.0  # seconds before the chosen time
PART = 0.5  # but no longer than this share of it
RING = 3.0  # seconds; real last chords ring for 1.4 to 5.4 seconds (quartiles)
PUSH = 6.0  # nats, at the chosen time


class EndingState(NamedTuple):
    """The state of the limits; i32[B] steps since the stream was taken up, and when EOS may come and notes must not."""

    limits: NoteLimitState
    now: Any
    opens: Any
    closes: Any


@dataclass(frozen=True)
class Endings:
    """Rules on top of `limits`, under which EOS may come.

    seconds: of new music, when the end is due; not compared, see above.
    """

    limits: NoteLimits
    seconds: float = field(compare=False)

    def start(self, streams: Sequence[np.ndarray], xp: Any = np) -> EndingState:
        """The state after whole streams, one row each, with no new time passed."""
        closes = round(self.seconds * STEPS_PER_SECOND)
        opens = closes - max(round(min(OPENS, PART * self.seconds) * STEPS_PER_SECOND), 1)
        times = (np.full(len(streams), time, np.int32) for time in (0, opens, closes))
        return EndingState(self.limits.start(streams, xp), *map(xp.asarray, times))

    def advance(self, state: EndingState, token: Any) -> EndingState:
        """The state after one more token i32[B] of each stream."""
        xp = state.now.__array_namespace__()
        shift = xp.asarray(token, dtype=xp.int32) - TIME_SHIFT + 1
        now = state.now + xp.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0)
        paused = (shift == MAX_SHIFT) & (state.now >= state.opens)
        closes = xp.where(paused, xp.minimum(state.closes, now), state.closes)
        return EndingState(self.limits.advance(state.limits, token), now, state.opens, closes)

    def allowed(self, state: EndingState) -> Any:
        """bool[B, V]: what `limits` allow, EOS in its time, and towards the end nothing that strikes a note."""
        xp = state.now.__array_namespace__()
        ids = xp.arange(VOCABULARY.size, dtype=xp.int32)[None, :]
        strikes = xp.asarray(VOCABULARY.mask("note_on", "velocity"))[None, :]
        # A player who lets a chord ring does not count its beats: only the longest shift stays.
        beats = (ids >= TIME_SHIFT) & (ids < TIME_SHIFT + MAX_SHIFT - 1)
        rung = state.now >= state.closes + round(RING * STEPS_PER_SECOND)
        age = xp.where(rung[:, None], self.limits.longest_steps, state.limits.age)  # every key is overdue
        allowed = self.limits.allowed(state.limits._replace(age=age))
        late = (state.now >= state.closes)[:, None]
        allowed = allowed & ~(late & (strikes | beats)) & ((ids != EOS) | (state.now >= state.opens)[:, None])
        # Silence needs no release: EOS, also behind a shift, where the grammar alone would want a note.
        over = late & ~xp.any(state.limits.grammar.sounding >= 0, axis=1, keepdims=True)
        return xp.where(over, ids == EOS, allowed)

    def logit_bias(self, state: EndingState) -> Any:
        """f32[B, V]: what is added to the logits."""
        xp = state.now.__array_namespace__()
        ids = xp.arange(VOCABULARY.size, dtype=xp.int32)[None, :]
        passed = xp.astype(state.now - state.opens, xp.float32) / xp.astype(state.closes - state.opens, xp.float32)
        near = xp.where(state.now < state.closes, xp.clip(passed, 0.0, 1.0), 0.0)[:, None]
        return near * xp.where((ids == EOS) | (ids == TIME_SHIFT + MAX_SHIFT - 1), PUSH, 0.0)

    def apply(self, state: EndingState, logits: Any) -> Any:
        """Logits f32[B, V] as they are to be sampled from: with the push, and -inf where a token must not come."""
        return keep_allowed(logits + for_all_ids(self.logit_bias(state), logits), self.allowed(state))
