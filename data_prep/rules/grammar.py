"""Which token may come next, so that whatever a sampler draws is a stream `tokens.encode` could have written.

The grammar, for each of B streams on its own:

* a note-on needs a silent key and some velocity event before it; a note-off needs a sounding key;
* inside a step all note-offs come before the first velocity or note-on, in order of their notes' onsets, so no note
  ends in the step of its own onset and none has no length;
* a velocity event changes the velocity and is followed by a note-on;
* after a shift of less than the longest comes something else than a shift; after any shift comes something else than
  EOS;
* EOS comes only when no key sounds, and only EOS follows it. BOS and PAD never come.

Any order of pitches may strike inside a step: `tokens.decode` places their onsets on a finer grid than the steps.
Something is always allowed.

The grammar is a rule as samplers know them (`Rules` in musicgen.model.engine): `start` gives a state, `advance` adds a
token to it, and `apply` masks the logits of the next one. The functions are pure and use nothing but the array API of
the arrays they are given, so numpy and JAX arrays both work, inside `jax.jit` too. The cost is that of a few operations
on [B, 128] arrays per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep.events import KINDS, VALUES, Kind
from musicgen.data_prep.vocabulary import (
    EOS,
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    PITCHES,
    TIME_SHIFT,
    VELOCITY,
    VOCABULARY,
)

# What the last token allows; `phase` of a GrammarState.
OPEN = 0  # at the start and after a note-off: anything
DUE = 1  # after a shorter shift: an event of this very step
WAITING = 2  # after the longest shift: an event or a further shift
STRIKING = 3  # after a note-on: no note-off any more
PENDING = 4  # after a velocity: its note-on
DONE = 5  # after EOS

BINS = VOCABULARY.velocity_bins


class GrammarState(NamedTuple):
    """What of each stream's past decides its next token. Arrays of one namespace, batch B first."""

    sounding: Any  # i32[B, 128], number of the onset that a key sounds since, -1 for silent
    onsets: Any  # i32[B], note-ons so far
    ended: Any  # i32[B], number of the onset of the note last ended in this step, -1 for none
    velocity: Any  # i32[B], current bin, 0 before the first
    phase: Any  # i32[B]


def start(streams: Sequence[np.ndarray], xp: Any = np) -> GrammarState:
    """The state after whole streams, one row each, in the array namespace `xp` (numpy, jax.numpy).

    The streams are integer arrays of any lengths, BOS and PAD in them change nothing.  It is `advance` over all their
    tokens, but much faster.
    """
    rows = [_replay(np.asarray(stream, np.int64)) for stream in streams]
    columns = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    arrays = [np.array(list(column), np.int32) for column in columns]
    arrays[0] = arrays[0].reshape(len(rows), PITCHES)
    return GrammarState(*(xp.asarray(array) for array in arrays))


def advance(state: GrammarState, token: Any) -> GrammarState:
    """The state after one more token i32[B] of each stream. BOS and PAD change nothing; a token that was not allowed
    does what it says."""
    xp = state.sounding.__array_namespace__()
    token = xp.asarray(token, dtype=xp.int32)

    def within(first: int, size: int) -> Any:
        return (token >= first) & (token < first + size)

    keys = xp.arange(PITCHES, dtype=xp.int32)[None, :]
    strikes = token[:, None] - NOTE_ON == keys
    releases = token[:, None] - NOTE_OFF == keys
    on, off = within(NOTE_ON, PITCHES), within(NOTE_OFF, PITCHES)
    shift, velocity = within(TIME_SHIFT, MAX_SHIFT), within(VELOCITY, BINS)
    released = xp.max(xp.where(releases, state.sounding, -1), axis=1)
    held = xp.where(releases, -1, state.sounding)
    phase = xp.where(on, STRIKING, state.phase)
    phase = xp.where(off, OPEN, phase)
    phase = xp.where(shift, DUE, phase)
    phase = xp.where(token == TIME_SHIFT + MAX_SHIFT - 1, WAITING, phase)
    phase = xp.where(velocity, PENDING, phase)
    return GrammarState(
        sounding=xp.where(strikes, state.onsets[:, None], held),
        onsets=xp.where(on, state.onsets + 1, state.onsets),
        ended=xp.where(off, released, xp.where(shift, -1, state.ended)),
        velocity=xp.where(velocity, token - VELOCITY + 1, state.velocity),
        phase=xp.where(token == EOS, DONE, phase),
    )


def allowed(state: GrammarState) -> Any:
    """bool[B, V], true for the tokens of VOCABULARY that may come next; at least one per row."""
    xp = state.sounding.__array_namespace__()
    phase = state.phase[:, None]
    silent = state.sounding < 0
    some_silent = xp.any(silent, axis=1, keepdims=True)
    none = xp.zeros_like(some_silent)
    playing = phase != DONE
    bins = xp.arange(1, BINS + 1, dtype=xp.int32)[None, :]
    releasable = ~silent & (state.sounding > state.ended[:, None])
    masks = {
        "eos": ~playing | ((phase == OPEN) & xp.all(silent, axis=1, keepdims=True)),
        "note_on": silent & playing & (state.velocity > 0)[:, None],
        "note_off": releasable & ((phase == OPEN) | (phase == DUE) | (phase == WAITING)),
        "time_shift": xp.broadcast_to(
            (phase == OPEN) | (phase == WAITING) | (phase == STRIKING), (phase.shape[0], MAX_SHIFT)
        ),
        "velocity": (bins != state.velocity[:, None]) & some_silent & playing & (phase != PENDING),
    }
    # What the grammar does not know never comes.
    columns = [masks.get(entry.name, xp.tile(none, (1, entry.size))) for entry in VOCABULARY.table]
    return xp.concat(columns, axis=1)


def apply(state: GrammarState, logits: Any) -> Any:
    """Logits f32[B, V], -inf where a token must not come.  EOS may, wherever the grammar has it.

    V may be that of a larger vocabulary: its further ids, of gaps and styles say, are no music and never come.
    """
    return keep_allowed(logits, allowed(state))


def keep_allowed(logits: Any, allowed: Any) -> Any:
    """Logits f32[B, V] where bool[B, plain] says so, -inf elsewhere."""
    xp = logits.__array_namespace__()
    return xp.where(for_all_ids(allowed, logits), logits, -xp.inf)


def for_all_ids(plain: Any, logits: Any) -> Any:
    """What [B, plain] says of the ids of plain music, with 0 or false for what else there are logits f32[B, V] for."""
    xp = plain.__array_namespace__()
    more = logits.shape[1] - plain.shape[1]
    return xp.concat([plain, xp.zeros((plain.shape[0], more), dtype=plain.dtype)], axis=1) if more else plain


def _replay(tokens: np.ndarray) -> tuple[list[int], int, int, int, int]:
    sounding, onsets, ended, velocity, phase = [-1] * PITCHES, 0, -1, 0, OPEN
    for kind, value in zip(KINDS[tokens].tolist(), VALUES[tokens].tolist(), strict=True):
        if kind == Kind.NOTE_ON:
            sounding[value] = onsets
            onsets, phase = onsets + 1, STRIKING
        elif kind == Kind.NOTE_OFF:
            ended, phase = sounding[value], OPEN
            sounding[value] = -1
        elif kind == Kind.TIME_SHIFT:
            ended, phase = -1, WAITING if value == MAX_SHIFT else DUE
        elif kind == Kind.VELOCITY:
            velocity, phase = value, PENDING
        elif kind == Kind.EOS:
            phase = DONE
    return sounding, onsets, ended, velocity, phase
