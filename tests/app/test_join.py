"""Prime and continuation become one piece that says exactly what the tokens say, the prime unharmed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from musicgen.app.join import close_at, join, sounding
from musicgen.app.prime import TICK, Prime, make_prime
from musicgen.data_prep import BOS, EOS, VOCABULARY, Performance, decode, encode, read_midi, steps, write_midi
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY


@st.composite
def pieces(draw: st.DrawFn) -> Performance:
    """Music on the tick grid with repeated keys, overlaps, pedal and notes of any length."""
    count = draw(st.integers(1, 12))
    times = st.integers(0, 6 * 40_000)
    onset = np.array(draw(st.lists(times, min_size=count, max_size=count)))
    length = np.array(draw(st.lists(st.integers(1, 3 * 40_000), min_size=count, max_size=count)))
    pitch = np.array(draw(st.lists(st.integers(58, 64), min_size=count, max_size=count)))
    velocity = np.array(draw(st.lists(st.integers(1, 127), min_size=count, max_size=count)))
    feet = draw(st.lists(st.tuples(times, st.sampled_from([0, 30, 64, 127])), max_size=6))
    pedal = np.array([(at * TICK, value) for at, value in feet], np.float64).reshape(-1, 2)
    return Performance(onset * TICK, (onset + length) * TICK, pitch, velocity, pedal)


def split(music: Performance, seconds: float) -> tuple[Prime, np.ndarray]:
    """The opening of a piece, and the tokens of the rest as a perfect model would continue it."""
    prime = make_prime(music, seconds, "")
    whole = encode(music, bos=True)
    return prime, whole[len(prime.tokens) :]


@given(pieces(), st.floats(0.05, 7.0))
def test_a_perfect_continuation_gives_the_piece_back(music: Performance, seconds: float) -> None:
    """Cut anywhere, continued with its own tokens: the join sounds as the piece did."""
    prime, rest = split(music, seconds)
    whole = encode(music, bos=True)
    if not np.array_equal(prime.tokens, whole[: len(prime.tokens)]):
        # A pedal that is never released holds to the piece's end, and the opening has another end: nothing to compare.
        return
    assert np.array_equal(encode(join(prime, rest), bos=True), whole)


@given(pieces(), st.one_of(st.none(), st.floats(0.05, 7.0)))
def test_the_prime_comes_back_unharmed(music: Performance, seconds: float | None) -> None:
    """Every note struck in the opening is there with its own onset and velocity; closed ones keep their end too."""
    prime = make_prime(music, seconds, "")
    tokens = np.array([TIME_SHIFT + 99, NOTE_ON + 80, TIME_SHIFT + 9, NOTE_OFF + 80], np.int16)
    tokens = close_at(tokens, prime.tokens, 2.0)
    whole = join(prime, tokens)
    old = prime.performance
    count = len(old)
    assert np.array_equal(whole.onset[:count], old.onset)
    assert np.array_equal(whole.pitch[:count], old.pitch)
    assert np.array_equal(whole.velocity[:count], old.velocity)
    over = old.end <= prime.seconds
    left = set(sounding(prime.tokens).tolist())
    for number in np.flatnonzero(over):
        last = not np.any(old.pitch[number + 1 :] == old.pitch[number])
        if not (last and int(old.pitch[number]) in left):
            assert whole.end[number] == old.end[number]
    before = old.pedal[old.pedal[:, 0] <= prime.seconds]
    assert np.array_equal(whole.pedal[: len(before)], before)


@given(pieces(), st.one_of(st.none(), st.floats(0.05, 7.0)), st.floats(0.1, 5.0))
def test_nothing_hangs(music: Performance, seconds: float | None, new_seconds: float) -> None:
    """Whatever the model leaves open, all notes end with the new music, and the pedal is up after the join."""
    prime = make_prime(music, seconds, "")
    free = next(pitch for pitch in range(70, 80) if pitch not in sounding(prime.tokens))
    tokens = close_at(
        np.array([TIME_SHIFT, NOTE_ON + free] + [TIME_SHIFT + 99] * 9, np.int16), prime.tokens, new_seconds
    )
    assert not sounding(np.concatenate([prime.tokens, tokens])).size
    whole = join(prime, tokens)
    assert whole.duration <= prime.seconds + round(new_seconds * 100) / 100 + 0.0151
    assert not len(whole.pedal) or whole.pedal[-1, 1] == 0 or whole.pedal[-1, 0] <= 0


def test_an_open_note_ends_where_the_model_ends_it() -> None:
    """Held by the key at the cut: the end comes from the tokens, on the model's clock."""
    music = Performance(
        np.array([0.0, 0.5]), np.array([5.0, 0.8]), np.array([60, 64]), np.array([80, 80]), np.zeros((0, 2))
    )
    prime = make_prime(music, 1.0, "")
    assert sounding(prime.tokens).tolist() == [60]
    assert prime.seconds == pytest.approx(0.8)
    tokens = close_at(np.array([TIME_SHIFT + 69, NOTE_OFF + 60, NOTE_ON + 60], np.int16), prime.tokens, 2.0)
    whole = join(prime, tokens)
    assert whole.end[0] == pytest.approx(1.5)
    assert whole.onset.tolist() == pytest.approx([0.0, 0.5, 1.5])
    assert whole.end[2] == pytest.approx(2.8)


def test_new_notes_keep_the_velocity_in_force() -> None:
    """A token stream names a velocity only when it changes, and the prime was the last to name it."""
    before = np.array([BOS, VELOCITY + 20, NOTE_ON + 50, TIME_SHIFT + 10, NOTE_OFF + 50], np.int16)
    loud = decode(np.array([NOTE_ON + 60, TIME_SHIFT + 10, NOTE_OFF + 60], np.int16), before)
    assert loud.velocity.tolist() == [81]


def test_without_prime_time_begins_at_zero(music: Performance) -> None:
    """--no-prime: the model's first pause counts from 0, and a note of the prime leaves no trace."""
    prime = make_prime(music, 3.0, "")
    held = int(sounding(prime.tokens)[0])
    tokens = np.array([TIME_SHIFT + 24, NOTE_OFF + held, NOTE_ON + 30, TIME_SHIFT + 10], np.int16)
    new = decode(close_at(tokens, prime.tokens, 1.0), prime.tokens)
    assert new.onset.tolist() == [0.25]
    assert new.end.tolist() == [1.0]
    assert new.pitch.tolist() == [30]


@given(st.floats(0.05, 20.0))
def test_closed_lasts_as_long_as_asked(seconds: float) -> None:
    """The cut falls on the asked time, also when one time shift reaches far beyond it."""
    tokens = np.array([NOTE_ON + 60] + [TIME_SHIFT + 99] * 30, np.int16)
    cut = close_at(tokens, np.array([BOS], np.int16), seconds)
    assert steps(cut)[-1] == round(seconds * 100)
    assert cut[-1] == NOTE_OFF + 60


def test_a_note_struck_at_the_very_end_is_left_out() -> None:
    """It would have no length."""
    before = np.array([BOS, VELOCITY + 9], np.int16)
    tokens = np.array([NOTE_ON + 50, TIME_SHIFT + 99, NOTE_OFF + 50, NOTE_ON + 60], np.int16)
    new = decode(close_at(tokens, before, 1.0), before)
    assert new.pitch.tolist() == [50] and new.end.tolist() == [1.0]


def test_the_pedals_last_value_at_the_join_is_the_players() -> None:
    """The join at 621.55 s and a pedal event there are two neighbouring floating-point numbers; it is kept."""
    at = 24_862_000 * TICK
    assert at > 621.55
    pedal = np.array([[621.0, 127.0], [at, 44.0], [at + 0.02, 0.0]])
    music = Performance(np.array([620.0]), np.array([621.2]), np.array([60]), np.array([80]), pedal)
    prime = make_prime(music, None, "")
    assert prime.seconds == 621.55
    assert join(prime, np.array([], np.int16)).pedal[:, 1].tolist() == [127.0, 44.0, 0.0]


def test_a_note_that_only_the_pedal_holds_is_open_at_the_cut() -> None:
    """Both keys are up at the cut, the pedal comes up a second later: both still sound, the model ends them."""
    music = Performance(
        onset=np.array([0.0, 1.0, 5.0]),
        end=np.array([0.5, 1.2, 6.0]),
        pitch=np.array([60, 64, 67]),
        velocity=np.array([80, 80, 80]),
        pedal=np.array([[0.2, 127.0], [3.0, 0.0]]),
    )
    assert sounding(make_prime(music, 2.0, "").tokens).tolist() == [60, 64]


def drawn(prime: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Tokens drawn at random among those the grammar allows after a prime, as from a model that knows nothing else."""
    rng = np.random.default_rng(seed)
    # Rather often notes, and few pitches, so that keys are struck again and steps are full.
    likely = np.zeros(VOCABULARY.size)
    likely[NOTE_ON + 56 : NOTE_ON + 66] = likely[NOTE_OFF + 56 : NOTE_OFF + 66] = 1.0
    likely[TIME_SHIFT : TIME_SHIFT + 40] = 0.05
    likely[VELOCITY : VELOCITY + 32] = 0.02
    state, tokens = grammar.start([prime]), []
    for _ in range(count):
        weight = grammar.allowed(state)[0] * likely + grammar.allowed(state)[0] * 1e-9
        weight[EOS] = 0
        token = int(rng.choice(VOCABULARY.size, p=weight / weight.sum()))
        tokens.append(token)
        state = grammar.advance(state, np.array([token], np.int32))
    return np.array(tokens, np.int16)


@pytest.mark.slow
@given(pieces(), st.one_of(st.none(), st.floats(0.05, 7.0)), st.integers(0, 2**32 - 1))
def test_the_file_says_what_the_model_was_given_and_drew(music: Performance, seconds: float | None, seed: int) -> None:
    """Prime and new tokens, joined, written to MIDI, read back, encoded: the very same tokens, up to the cut."""
    prime = make_prime(music, seconds, "")
    # A last note at the very end of its step leaves no room behind it in that step for the model's first notes.
    assume(prime.performance.onset[-1] < prime.seconds + 0.003)
    tokens = drawn(prime.tokens, 40, seed)
    limit = float(steps(tokens)[-1] + 1) / 100
    whole, _ = read_midi(write_midi(join(prime, close_at(tokens, prime.tokens, limit))))
    # A pause or a velocity that no note follows is not encoded.
    last = np.flatnonzero(VOCABULARY.mask("note_on", "note_off")[tokens])[-1]
    expected = np.concatenate([prime.tokens, tokens[: last + 1]])
    assert np.array_equal(encode(whole, bos=True)[: len(expected)], expected)
