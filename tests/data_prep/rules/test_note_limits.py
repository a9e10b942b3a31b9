"""A sampler under `NoteLimits` writes canonical streams in which no key sounds much longer than allowed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.performance import Performance
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.data_prep.tokens import decode, encode
from musicgen.data_prep.vocabulary import BOS, EOS, NOTE_OFF, PITCHES, TIME_SHIFT, VOCABULARY

LONGEST = 1.5  # seconds
SHIFT = 1.0  # the longest shift can pass between a key's being due and its release


def drawn(rules: NoteLimits, seed: int, length: int, off: float) -> np.ndarray:
    """A random stream; `off` is how likely a note-off is chosen where something else may stand too."""
    rng = np.random.default_rng(seed)
    state, tokens = rules.start([np.array([BOS])]), []
    offs = VOCABULARY.mask("note_off")
    for _ in range(length):
        may = rules.allowed(state)[0]
        may[EOS] = False
        assert may.any()
        others = may & ~offs
        choice = others if others.any() and rng.random() > off else may
        tokens.append(int(rng.choice(np.flatnonzero(choice))))
        state = rules.advance(state, np.array(tokens[-1:], np.int32))
    return np.array(tokens, np.int16)


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 120), off=st.sampled_from([0.0, 0.1, 1.0]))
def test_no_key_sounds_much_longer(seed: int, length: int, off: float) -> None:
    stream = drawn(NoteLimits(LONGEST), seed, length, off)
    music = decode(stream)
    ended = music.end < music.end.max(initial=0)  # the others were closed by the end of the stream
    assert ((music.end - music.onset)[ended] <= LONGEST + SHIFT + 0.02).all()
    state = grammar.start([[]])
    for token in stream:
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, np.array([token], np.int32))


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 120), rest=st.sampled_from([0.3, 1.0, 2.5]))
def test_no_silence_is_longer(seed: int, length: int, rest: float) -> None:
    """Also the one at the beginning; and something is always allowed, or `drawn` would fail."""
    rng = np.random.default_rng(seed)
    rules = NoteLimits(LONGEST, rest)
    state, tokens = rules.start([np.array([BOS])]), []
    hushed = 0  # steps
    for _ in range(length):
        may = rules.allowed(state)[0]
        may[EOS] = False
        quiet = may & (VOCABULARY.mask("note_off") | VOCABULARY.mask("time_shift"))
        tokens.append(int(rng.choice(np.flatnonzero(quiet if quiet.any() else may))))
        if VOCABULARY.mask("time_shift")[tokens[-1]] and (state.grammar.sounding < 0).all():
            hushed += tokens[-1] - TIME_SHIFT + 1
        else:
            hushed = 0 if VOCABULARY.mask("note_on")[tokens[-1]] else hushed
        assert hushed <= round(rest * STEPS_PER_SECOND)
        state = rules.advance(state, np.array(tokens[-1:], np.int32))
    music = decode(np.array(tokens, np.int16))
    if len(music):
        silences = music.onset[1:] - np.maximum.accumulate(music.end)[:-1]
        assert max(music.onset[0], *silences, 0.0) <= rest + 0.02


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(0, 80))
def test_start_is_advance_over_all_tokens(seed: int, length: int) -> None:
    rules = NoteLimits(LONGEST)
    stream = np.concatenate([[BOS], drawn(rules, seed, length, 0.1)]).astype(np.int16)
    state = rules.start([np.array([BOS], np.int16)])
    for token in stream[1:]:
        state = rules.advance(state, np.array([token], np.int32))
    whole = rules.start([stream])
    assert np.array_equal(whole.age, state.age) and np.array_equal(whole.rest, state.rest)
    for one, other in zip(whole.grammar, state.grammar, strict=True):
        assert np.array_equal(one, other)


def test_an_overdue_key_of_a_prime_is_let_go_at_the_next_step() -> None:
    held = Performance(
        onset=np.array([0.0, 5.0]),
        end=np.array([9.0, 9.0]),
        pitch=np.array([60, 64]),
        velocity=np.array([80, 80]),
        pedal=np.zeros((0, 2)),
    )
    stream = encode(held)
    stream = stream[: np.flatnonzero(stream == NOTE_OFF + 60)[0]]
    rules = NoteLimits(8.0)
    may = rules.allowed(rules.start([stream]))[0]
    assert np.flatnonzero(may).tolist() == [NOTE_OFF + 60]
    may = NoteLimits(20.0).allowed(NoteLimits(20.0).start([stream]))[0]
    assert may[NOTE_OFF : NOTE_OFF + PITCHES].sum() == 2 and may.sum() > 2
