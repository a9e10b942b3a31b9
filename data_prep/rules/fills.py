"""What may be drawn where a gap is filled, so that whatever comes is a fill that fits (dataset/gaps.py has the layout).

A row is a script with parts to be drawn.  The script is what is given after the prompt: the mark of each second, what
stays in it, FILL; at last TAIL, the ends of what stays, FILL, END.  Its tokens are forced one by one, up to each FILL.
From there on whatever the grammar allows of a stream of its own may come, until the script's next mark closes the part.
A table says what fits: `until`, of each step and key, by which step a note that is struck there has to have ended,
because what stays strikes the same key, or because the fill may ring no longer.  If that is no later than the step, the
key cannot be struck: something that stays sounds there, or it is none of the region's keys.

A pedal that stays is no matter here: notes end where the model says, and app/fill_pedal.py lets the keys go.  Were they
only to end where that is lifted, a shift to a step at which the model means some to end would leave it nothing but
to strike others there (benchmarks/fills).

No shift leads beyond a note's time, nor to a step where nothing could happen; at its time a note's end is all that may
come; a mark waits for notes whose time comes before it.  So an END finds nothing sounding, and something is always
allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.grammar import OPEN, STRIKING, GrammarState
from musicgen.data_prep.vocabulary import (
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    PAD,
    PITCHES,
    TIME_SHIFT,
    VOCABULARY,
    VOCABULARY_2,
)

FILL = VOCABULARY_2.first("fill")
NEVER = 2**14  # steps: after any region
SIZES = {"script": 256, "steps": 512}  # arrays are as long as a multiple of these, so that few functions are compiled


@dataclass(frozen=True, eq=False)
class Script:
    """One row.

    tokens: i16[L], the script.  begins: i32[L], the step at which the second of each of its marks begins; of END, the
        first step at which nothing of the fill sounds.
    until: i16[T, 128]: see above, of the steps from the region's first up to that of END.
    """

    tokens: np.ndarray
    begins: np.ndarray
    until: np.ndarray


class FillState(NamedTuple):
    """Where each row is: the grammar's state of what was drawn, by when each sounding key has to end i32[B, 128], the
    step and the script's next token i32[B]; and the scripts themselves."""

    grammar: GrammarState
    deadline: Any
    now: Any
    place: Any
    tokens: Any
    begins: Any
    until: Any
    strikes: Any  # whether any key can be struck at a step


@dataclass(frozen=True)
class Fills:
    """The rules of as many rows as there are scripts, or of copies of one; they are in the state, and not compared.

    longest: steps that a key may sound.
    """

    scripts: tuple[Script, ...] = field(compare=False)
    longest: int = 800

    def start(self, streams: Sequence[np.ndarray], xp: Any = np) -> FillState:
        """The state before the scripts; of the prompts nothing matters."""
        rows = self.scripts * (len(streams) // len(self.scripts))
        length = padded(max(len(row.tokens) for row in rows) + 1, SIZES["script"])
        steps = padded(max(len(row.until) for row in rows) + MAX_SHIFT + 1, SIZES["steps"])

        def table(name: str, size: int, kind: type) -> np.ndarray:
            arrays = [getattr(row, name) for row in rows]
            out = np.zeros((len(rows), size, *arrays[0].shape[1:]), kind)  # PAD is 0, no key can be struck
            for row, array in zip(out, arrays, strict=True):
                row[: len(array)] = array
            return out

        until = table("until", steps, np.int16)
        arrays = (
            np.full((len(rows), PITCHES), NEVER, np.int32),
            *(np.zeros(len(rows), np.int32),) * 2,
            *(table(name, length, np.int32) for name in ("tokens", "begins")),
            until,
            (until > np.arange(steps)[:, None]).any(axis=2),
        )
        return FillState(grammar.start([np.zeros(0, np.int64)] * len(rows), xp), *map(xp.asarray, arrays))

    def advance(self, state: FillState, token: Any) -> FillState:
        """The state after one more token i32[B] of each row."""
        xp = state.now.__array_namespace__()
        token = xp.asarray(token, dtype=xp.int32)
        drawing, mark, begins = drawn_next(state)
        drawn = drawing & (token != mark)
        plain = xp.where(drawn, token, PAD)
        inner = grammar.advance(state.grammar, plain)
        opened = ~drawing & (token == FILL)
        inner = inner._replace(phase=xp.where(opened, OPEN, inner.phase), ended=xp.where(opened, -1, inner.ended))
        shift = plain - TIME_SHIFT + 1
        passed = state.now + xp.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0)
        keys = xp.arange(PITCHES, dtype=xp.int32)[None, :]
        struck = plain[:, None] - NOTE_ON == keys
        latest = xp.minimum(here(state, state.until), state.now[:, None] + self.longest)
        held = xp.where(inner.sounding >= 0, state.deadline, NEVER)
        return state._replace(
            grammar=inner,
            deadline=xp.where(struck, latest, held),
            now=xp.where(drawing & ~drawn, begins, passed),
            place=xp.where(drawn | (mark == PAD), state.place, state.place + 1),
        )

    def apply(self, state: FillState, logits: Any) -> Any:
        """Logits f32[B, V], -inf where a token must not come."""
        xp = logits.__array_namespace__()
        drawing, mark, begins = drawn_next(state)
        deadline = xp.min(state.deadline, axis=1)
        # Shifts: to a step before the mark and within all notes' time, at which something can happen.
        steps = state.now[:, None] + xp.arange(1, MAX_SHIFT + 1, dtype=xp.int32)
        rows = xp.arange(len(state.now))[:, None]
        some_end = (deadline < NEVER)[:, None]
        within = (steps < begins[:, None]) & (steps <= deadline[:, None])
        shifts = within & (some_end | state.strikes[rows, steps])
        closes = (deadline >= begins)[:, None]
        phase = state.grammar.phase[:, None]
        music = self._music(state, shifts)
        marks = closes & ((phase == OPEN) | (phase == STRIKING))
        music = grammar.for_all_ids(music, logits)
        is_next = xp.arange(logits.shape[1], dtype=xp.int32)[None, :] == mark[:, None]
        drawable = music | (is_next & marks)
        return xp.where(xp.where(drawing[:, None], drawable, is_next), logits, -xp.inf)

    def _music(self, state: FillState, shifts: Any) -> Any:
        """bool[B, plain]: what the grammar and the tables allow of a fill's notes; shifts: bool[B, 100]."""
        xp = state.now.__array_namespace__()
        allowed = grammar.allowed(state.grammar)
        strikes = here(state, state.until) > state.now[:, None]
        sounding = state.grammar.sounding
        due = (sounding >= 0) & (state.deadline <= state.now[:, None])
        oldest = xp.min(xp.where(due, sounding, NEVER), axis=1, keepdims=True)
        some_due = oldest < NEVER
        ends = ~some_due | (sounding == oldest)
        some_strike = xp.any(strikes & (sounding < 0), axis=1, keepdims=True)
        bins = xp.broadcast_to(some_strike, (len(state.now), VOCABULARY.velocity_bins))
        fits = {"note_on": strikes, "note_off": ends, "time_shift": shifts, "velocity": bins}
        none = xp.zeros_like(some_strike)
        fitting = [fits.get(entry.name, xp.tile(none, (1, entry.size))) for entry in VOCABULARY.table]
        allowed = allowed & xp.concat(fitting, axis=1)
        ids = xp.arange(VOCABULARY.size, dtype=xp.int32)[None, :]
        return allowed & (~some_due | ((ids >= NOTE_OFF) & (ids < NOTE_OFF + PITCHES)))


def drawn_next(state: FillState) -> tuple[Any, Any, Any]:
    """bool[B] whether a row is in a part that is drawn; i32[B] the script's next token, and when its second begins."""
    xp = state.now.__array_namespace__()
    rows = xp.arange(len(state.now))
    last = state.tokens[rows, xp.maximum(state.place - 1, 0)]
    return last == FILL, state.tokens[rows, state.place], state.begins[rows, state.place]


def here(state: FillState, table: Any) -> Any:
    """The row of a table [B, T, ..] that each row's step is at."""
    xp = state.now.__array_namespace__()
    return table[xp.arange(len(state.now)), state.now]


def padded(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple
