"""Whatever a sampler draws under `Endings`, it ends near the chosen time, in silence, and not before it may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.data_prep.events import steps
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.endings import OPENS, PUSH, RING, Endings, EndingState
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import BOS, EOS, MAX_SHIFT, NOTE_ON, TIME_SHIFT, VELOCITY, VOCABULARY

LONGEST = 8.0  # seconds
PAUSE = TIME_SHIFT + MAX_SHIFT - 1
SHIFT = VOCABULARY.mask("time_shift")


def drawn(rules: Endings, rows: int, seed: int, weights: dict[str, float], most: int = 4000) -> list[np.ndarray]:
    """Random streams without BOS, up to and with their first EOS; weights: of kinds of tokens, 1 where not named."""
    rng = np.random.default_rng(seed)
    state, tokens = rules.start([np.array([BOS])] * rows), []
    weight = sum(weights.get(entry.name, 1.0) * VOCABULARY.mask(entry.name) for entry in VOCABULARY.table)
    for _ in range(most):
        may = rules.allowed(state)
        assert may.shape == (rows, VOCABULARY.size) and may.any(axis=1).all()
        tokens.append((rng.exponential(size=may.shape) / np.where(may, weight, 1e-30)).argmin(axis=1).tolist())
        state = rules.advance(state, np.array(tokens[-1], np.int32))
        if all(EOS in row for row in zip(*tokens, strict=True)):
            break
    streams = np.array(tokens, np.int16).T
    assert (streams == EOS).any(axis=1).all(), "a stream that does not end"
    assert all((row[np.flatnonzero(row == EOS)[0] :] == EOS).all() for row in streams)  # nothing comes after it
    return [row[: np.flatnonzero(row == EOS)[0] + 1] for row in streams]


kinds = st.fixed_dictionaries(
    {name: st.sampled_from([0.02, 1.0, 30.0]) for name in ("note_on", "note_off", "velocity")}
)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.sampled_from([0.004, 0.3, 2.0, 5.0]), weights=kinds)
def test_every_stream_ends_near_its_time(seed: int, seconds: float, weights: dict[str, float]) -> None:
    """Rows end on their own; what sounds at the chosen time is over when its longest note is; nothing is left open."""
    for stream in drawn(Endings(NoteLimits(LONGEST), seconds), 3, seed, weights):
        at = steps(stream)
        opens = round(seconds * 100) - max(round(min(OPENS, seconds / 2) * 100), 1)
        assert opens <= at[-1] <= seconds * 100 + 100 * (RING + 2)
        state = grammar.start([[]])
        for token in stream[:-1]:
            # The grammar as it is, except that the end may follow a silence.
            assert grammar.allowed(state)[0, token]
            state = grammar.advance(state, np.array([token], np.int32))
        assert (state.sounding < 0).all()
        music = decode(stream[:-1])
        struck = music.onset if len(music) else np.zeros(1)
        assert struck.max() < seconds + 0.011


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_is_struck_after_a_pause(seed: int) -> None:
    """The longest shift, in the time in which the piece may end, is the end of its last phrase."""
    rules = Endings(NoteLimits(LONGEST), 8.0)
    for stream in drawn(rules, 2, seed, {"note_off": 3.0}):
        at = steps(stream)
        pauses = np.flatnonzero((stream == PAUSE) & (at - MAX_SHIFT >= 400))
        late = stream[pauses[0] :] if pauses.size else stream[:0]
        assert not ((late >= NOTE_ON) & (late < NOTE_ON + 128)).any() and not (late >= VELOCITY).any()
        assert not (SHIFT[late] & (late != PAUSE)).any()


def test_the_push() -> None:
    """Nothing before its time, all of it at the chosen time, on EOS and the pause alone, and none while notes ring."""
    rules = Endings(NoteLimits(LONGEST), 40.0)
    state = rules.start([np.array([BOS])] * 4)
    now = np.array([2900, 3500, 3999, 4000], np.int32)
    push = rules.logit_bias(EndingState(state.limits, now, state.opens, state.closes))
    assert np.flatnonzero(push.any(axis=0)).tolist() == [EOS, PAUSE]
    np.testing.assert_allclose(push[:, EOS], [0, PUSH / 2, PUSH * 0.999, 0], rtol=1e-5)
    assert np.array_equal(push[:, EOS], push[:, PAUSE])


def test_start_counts_new_time_only() -> None:
    """A prime's own seconds are not the piece's."""
    rules = Endings(NoteLimits(LONGEST), 40.0)
    prime = np.array([BOS, VELOCITY + 9, NOTE_ON + 60, PAUSE, PAUSE], np.int16)
    state = rules.start([prime, prime[:1]])
    assert state.now.tolist() == [0, 0] and state.closes.tolist() == [4000, 4000] and state.opens.tolist() == [3000] * 2
    assert rules.advance(state, np.array([TIME_SHIFT + 4, EOS])).now.tolist() == [5, 0]


@pytest.mark.parametrize("other, same", [(Endings(NoteLimits(2.0), 9.0), True), (Endings(NoteLimits(3.0), 8.0), False)])
def test_equal_rules_are_compiled_once(other: Endings, same: bool) -> None:
    """The time of the end is no part of what is compiled, how long a key may sound is."""
    rules = Endings(NoteLimits(2.0), 8.0)
    assert (rules == other and hash(rules) == hash(other)) == same
