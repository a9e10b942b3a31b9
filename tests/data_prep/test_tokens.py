from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.events import steps
from musicgen.data_prep.midi import read_midi, write_midi
from musicgen.data_prep.performance import NO_PEDAL, Performance, empty
from musicgen.data_prep.tokens import decode, encode
from musicgen.data_prep.vocabulary import (
    BOS,
    EOS,
    PAD,
    TABLE,
    TIME_SHIFT,
    VOCABULARY,
    VOCABULARY_2,
    EventRange,
    Vocabulary,
)


def piece(notes: list[tuple[float, float, int, int]], pedal: list[tuple[float, float]] | None = None) -> Performance:
    """Notes as (onset, end, pitch, velocity)."""
    onset, end, pitch, velocity = np.array(notes, np.float64).reshape(-1, 4).T
    return Performance(onset, end, pitch.astype(int), velocity.astype(int), np.array(pedal or []))


def spelled(tokens: np.ndarray) -> str:
    short = {"note_on": "+", "note_off": "-", "time_shift": ">", "velocity": "v", "bos": "B", "eos": "E", "pad": "_"}
    events = [VOCABULARY.decode(int(token)) for token in tokens]
    return " ".join(short[event.name] + (str(event.value) if short[event.name] in "+->v" else "") for event in events)


def test_the_vocabulary_is_the_comparable_one() -> None:
    assert VOCABULARY.size == 391
    assert (PAD, BOS, EOS) == (0, 1, 2)
    assert [VOCABULARY.first(entry.name) for entry in TABLE] == [0, 1, 2, 3, 131, 259, 359]
    assert VOCABULARY.encode("note_on", 60) == 63
    assert VOCABULARY.encode("velocity", 32) == 390
    assert VOCABULARY.velocity_bins == 32


def test_the_second_generation_keeps_the_ids_of_the_first() -> None:
    assert VOCABULARY_2.size == 448
    assert [VOCABULARY_2.decode(token) for token in range(391)] == [VOCABULARY.decode(token) for token in range(391)]
    firsts = [VOCABULARY_2.first(entry.name) for entry in VOCABULARY_2.table[len(TABLE) :]]
    assert firsts == [391, 399, 403, 404, 405, 406, 412, 436, 437, 438, 439]  # weights depend on them
    assert Vocabulary.from_json(VOCABULARY_2.to_json()) == VOCABULARY_2


@given(st.integers(0, VOCABULARY.size - 1))
def test_every_id_is_one_event(token: int) -> None:
    assert VOCABULARY.encode(*VOCABULARY.decode(token)) == token
    name = VOCABULARY.decode(token).name
    assert [entry.name for entry in TABLE if VOCABULARY.mask(entry.name)[token]] == [name]


def test_what_is_no_event_is_refused() -> None:
    for token in (-1, VOCABULARY.size):
        with pytest.raises(ValueError, match="outside"):
            VOCABULARY.decode(token)
    with pytest.raises(ValueError, match="time_shift takes 1 to 100"):
        VOCABULARY.encode("time_shift", 101)
    with pytest.raises(KeyError):
        VOCABULARY.encode("chord", 1)
    with pytest.raises(KeyError):
        VOCABULARY.first("chord")
    with pytest.raises(ValueError, match="once"):
        Vocabulary((EventRange("a", 0, 1), EventRange("a", 0, 1)))
    with pytest.raises(ValueError, match="at least one"):
        Vocabulary((EventRange("a", 1, 0),))


def test_the_vocabulary_travels_as_json() -> None:
    import json

    data = json.loads(json.dumps(VOCABULARY.to_json()))
    assert Vocabulary.from_json(data) == VOCABULARY
    for damage in ({"size": 390}, {"format": "other"}, {"version": 2}, {"ranges": [{"name": "pad"}]}, {"ranges": None}):
        with pytest.raises(ValueError):
            Vocabulary.from_json(data | damage)
    with pytest.raises(ValueError):
        Vocabulary.from_json({})


# What encode writes.


@pytest.mark.parametrize(
    ("notes", "pedal", "expected"),
    [
        ([], [], ""),
        ([(0, 0.5, 60, 64)], [], "v16 +60 >50 -60"),
        ([(2.5, 3.5, 60, 1)], [], ">100 >100 >50 v1 +60 >100 -60"),
        ([(1, 3, 60, 127)], [], ">100 v32 +60 >100 >100 -60"),
        ([(0, 0.001, 60, 64)], [], "v16 +60 >1 -60"),  # a step at the least
        ([(0.0049, 1, 60, 64)], [], "v16 +60 >100 -60"),  # rounded to the nearest step,
        ([(0.005, 1, 60, 64)], [], ">1 v16 +60 >99 -60"),  # the half upwards
        ([(0, 1, 64, 64), (0, 1, 60, 66)], [], "v17 +60 v16 +64 >100 -60 -64"),
        ([(0, 1, 60, 64), (0.001, 1, 50, 64)], [], "v16 +60 +50 >100 -60 -50"),  # order of the unquantised times
        ([(0, 1, 60, 64), (0.5, 1, 62, 64), (1, 2, 50, 64)], [], "v16 +60 >50 +62 >50 -60 -62 +50 >100 -50"),
        ([(0, 0.2, 60, 64)], [(0.1, 127), (1, 0)], "v16 +60 >100 -60"),
        ([(0, 1, 60, 64), (0.5, 2, 60, 64)], [], "v16 +60 >50 -60 +60 >100 >50 -60"),  # a repeated pitch
        ([(0, 0.001, 60, 1), (0.002, 1, 60, 64)], [], "v16 +60 >100 -60"),  # one onset per key and step
    ],
)
def test_encode(notes: list[tuple[float, float, int, int]], pedal: list[tuple[float, float]], expected: str) -> None:
    tokens = encode(piece(notes, pedal))
    assert spelled(tokens) == expected
    assert tokens.dtype == np.int16
    assert spelled(encode(piece(notes, pedal), bos=True, eos=True)) == f"B {expected} E".replace("  ", " ")


def test_steps_are_the_times_of_the_tokens() -> None:
    tokens = encode(piece([(1.5, 2.5, 60, 64), (1.5, 3, 62, 9)]), bos=True, eos=True)
    assert spelled(tokens) == "B >100 >50 v16 +60 v3 +62 >100 -60 >50 -62 E"
    assert steps(tokens).tolist() == [0, 100, 150, 150, 150, 150, 150, 250, 250, 300, 300, 300]
    assert steps(np.zeros(0, np.int16)).tolist() == []
    assert steps(tokens).dtype == np.int64


# What decode makes of any stream.


def parse(text: str) -> np.ndarray:
    long = {"+": "note_on", "-": "note_off", ">": "time_shift", "v": "velocity", "B": "bos", "E": "eos", "_": "pad"}
    return np.array([VOCABULARY.encode(long[word[0]], int(word[1:] or 0)) for word in text.split()], np.int16)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("", []),
        ("B E", []),
        ("v16 +60 >50 -60", [(0, 0.5, 60, 61)]),
        ("+60 >50 -60", [(0, 0.5, 60, 65)]),  # no velocity yet
        ("v1 +60 >50", [(0, 0.5, 60, 1)]),  # never ended
        ("v1 +60", [(0, 0.01, 60, 1)]),
        ("v1 +60 -60 >50", [(0, 0.01, 60, 1)]),
        ("-60 >50 -61", []),  # never begun
        ("v1 +60 >50 +60 >50 -60", [(0, 0.5, 60, 1), (0.5, 1, 60, 1)]),
        ("B v1 +60 >50 -60 E +61 >5 -61", [(0, 0.5, 60, 1)]),
        ("_ _ B v1 +60 _ >50 -60", [(0, 0.5, 60, 1)]),
    ],
)
def test_decode(text: str, notes: list[tuple[float, float, int, int]]) -> None:
    got = decode(parse(text))
    assert got.equals(piece(notes) if notes else empty())


def test_onsets_of_a_step_keep_their_order() -> None:
    performance = decode(parse("v1 +60 +64 +50 +49 +55 >1"))
    assert performance.pitch.tolist() == [60, 64, 50, 49, 55]
    assert performance.onset * 40_000 == pytest.approx([0, 0, 1, 2, 2])


def test_ids_outside_the_vocabulary_are_refused() -> None:
    for token in (-1, VOCABULARY_2.size):
        with pytest.raises(ValueError, match="tokens lie in"):
            decode(np.array([5, token]))


@given(st.lists(st.integers(0, VOCABULARY.size - 1), max_size=300))
def test_decode_takes_any_stream_and_encode_its_result(ids: list[int]) -> None:
    performance = decode(np.array(ids, np.int16))
    assert len(performance) <= len(ids)
    assert np.all(performance.end - performance.onset > 0.004)
    tokens = encode(performance)
    assert np.array_equal(encode(decode(tokens)), tokens)


# Round trips.

seconds = st.one_of(st.floats(0, 5), st.integers(0, 20).map(lambda k: k / 1000))
performances = st.builds(
    lambda notes, pedal: piece([(a, a + d, p, v) for a, d, p, v in notes], pedal),
    st.lists(
        st.tuples(seconds, st.floats(0, 3), st.one_of(st.integers(0, 127), st.integers(60, 63)), st.integers(1, 127)),
        max_size=40,
    ),
    st.lists(st.tuples(seconds, st.integers(0, 127)), max_size=10),
)


@given(performances)
def test_tokens_survive_decoding_and_midi(performance: Performance) -> None:
    tokens = encode(performance)
    assert np.array_equal(encode(decode(tokens)), tokens)
    if len(tokens):
        written, remarks = read_midi(write_midi(decode(tokens)))
        assert np.array_equal(encode(written), tokens)
        assert remarks == ()


@given(st.permutations(range(128)))
def test_all_keys_at_once_in_any_order_survive(pitches: list[int]) -> None:
    tokens = np.concatenate([parse("v9"), 3 + np.array(pitches), parse(">7"), 131 + np.array(pitches)]).astype(np.int16)
    assert np.array_equal(encode(decode(tokens)), tokens)
    assert np.array_equal(encode(read_midi(write_midi(decode(tokens)))[0]), tokens)


def test_all_keys_falling_survive() -> None:
    test_all_keys_at_once_in_any_order_survive.hypothesis.inner_test(list(range(127, -1, -1)))  # type: ignore[attr-defined]


@given(performances)
def test_velocities_and_times_move_within_their_grid(performance: Performance) -> None:
    onset = np.arange(len(performance)) * 0.25  # apart, so that every note stays
    spread = Performance(onset, onset + 0.2, performance.pitch, performance.velocity, NO_PEDAL)
    again = decode(encode(spread))
    assert np.abs(again.onset - spread.onset).max(initial=0) <= 0.0051
    assert np.all(
        (spread.velocity.astype(int) - again.velocity >= 0) & (spread.velocity.astype(int) - again.velocity < 4)
    )


def test_maestro_survives(maestro: Path) -> None:
    files = random.Random(0).sample(sorted(maestro.glob("*/*.mid*")), 6)
    for file in files:
        performance, remarks = read_midi(file)
        assert remarks in ((), ("the pedal is never released",))
        tokens = encode(performance)
        assert np.array_equal(encode(decode(tokens)), tokens)
        assert np.array_equal(encode(read_midi(write_midi(decode(tokens)))[0]), tokens)


def test_long_rests_take_the_longest_shifts() -> None:
    tokens = encode(piece([(0, 0.01, 60, 64), (60, 61, 62, 64)]))
    longest = TIME_SHIFT + 99
    assert np.count_nonzero(tokens == longest) == 60
    assert spelled(tokens[-4:]) == ">99 +62 >100 -62"
