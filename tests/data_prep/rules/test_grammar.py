from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.performance import Performance
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.endings import Endings
from musicgen.data_prep.rules.grammar import advance, allowed, start
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.data_prep.tokens import decode, encode
from musicgen.data_prep.vocabulary import BOS, EOS, PAD, VOCABULARY, VOCABULARY_2


def forbidden(streams: list[np.ndarray]) -> list[tuple[int, int, int]]:
    """(row, place, token) of every token that is not allowed where it stands. BOS may stand at the start."""
    length = max(map(len, streams))
    table = np.full((len(streams), length), PAD, np.int32)
    for row, stream in enumerate(streams):
        table[row, : len(stream)] = stream
    state, found = start([[]] * len(streams)), []
    for place in range(length):
        token = table[:, place]
        may = allowed(state)
        assert may.any(axis=1).all()
        bad = ~may[np.arange(len(streams)), token] & (token != PAD) & ~((token == BOS) & (place == 0))
        found += [(int(row), place, int(token[row])) for row in np.flatnonzero(bad)]
        state = advance(state, token)
    return found


def drawn(choices: list[tuple[int, int]]) -> np.ndarray:
    """A stream of allowed tokens: each choice takes a kind of event and then one of its kind. Closed by EOS."""
    state, tokens = start([[]]), []

    def take(token: int) -> None:
        nonlocal state
        assert allowed(state)[0, token]
        tokens.append(token)
        state = advance(state, np.array([token], np.int32))

    kinds = [VOCABULARY.mask(name) for name in ("note_on", "note_off", "time_shift", "velocity")]
    for kind, choice in choices:
        options = [np.flatnonzero(allowed(state)[0] & mask) for mask in kinds]
        options = [option for option in options if len(option)]
        option = options[kind % len(options)]
        take(int(option[choice % len(option)]))
    for _ in range(1000):  # plenty: no more keys than choices sound
        may = allowed(state)[0]
        if may[EOS]:
            break
        for mask in (kinds[1], kinds[2], kinds[0], kinds[3]):
            if (may & mask).any():
                take(int(np.argmax(may & mask)))
                break
    take(EOS)
    return np.array(tokens, np.int16)


choices = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.integers(0, 127), st.integers(0, 2))), max_size=120)


@settings(max_examples=200)
@given(choices)
def test_every_allowed_stream_is_one_that_encode_writes(picks: list[tuple[int, int]]) -> None:
    stream = drawn(picks)
    assert np.array_equal(encode(decode(stream), eos=True), stream)


times = st.one_of(st.floats(0, 3), st.integers(0, 20).map(lambda k: k / 1000))
performances = st.builds(
    lambda notes, pedal: Performance(
        np.array([a for a, _, _, _ in notes]),
        np.array([a + d for a, d, _, _ in notes]),
        np.array([p for _, _, p, _ in notes]),
        np.array([v for _, _, _, v in notes]),
        np.array(pedal),
    ),
    st.lists(st.tuples(times, st.floats(0, 2), st.integers(60, 66), st.integers(1, 127)), max_size=30),
    st.lists(st.tuples(times, st.integers(0, 127)), max_size=8),
)


@given(performances)
def test_every_stream_that_encode_writes_is_allowed(performance: Performance) -> None:
    assert forbidden([encode(performance, bos=True, eos=True)]) == []


def test_maestro_is_allowed(maestro: Path) -> None:
    files = random.Random(5).sample(sorted(maestro.glob("*/*.mid*")), 8)
    assert forbidden([encode(read_midi(file)[0], bos=True, eos=True) for file in files]) == []


def parse(text: str) -> np.ndarray:
    names = {"+": "note_on", "-": "note_off", ">": "time_shift", "v": "velocity", "B": "bos", "E": "eos"}
    return np.array([VOCABULARY.encode(names[word[0]], int(word[1:] or 0)) for word in text.split()], np.int16)


@pytest.mark.parametrize(
    ("stream", "place"),
    [
        ("+60", 0),  # no velocity yet
        ("-60", 0),  # nothing to end
        ("v1 v2", 1),  # a velocity is for a note
        ("v1 >5", 1),
        ("v1 E", 1),
        ("v1 +60 v1", 2),  # no change
        ("v1 +60 +60", 2),  # sounds already
        ("v1 +60 -60", 2),  # in the step of its onset
        ("v1 +60 E", 2),  # still sounding
        ("v1 +60 >5 E", 3),
        ("v1 +60 >5 >5", 3),  # one shift of 10
        ("v1 +60 >100 E", 3),
        ("v1 +60 >5 +60", 3),  # not ended
        ("v1 +60 +61 >5 -61 -60", 5),  # not in order of their onsets
        ("v1 +60 +61 >5 -60 +62 -61", 6),  # a note-off after a note-on of the step
        ("v1 +60 +61 >5 -60 v2 -61", 6),
        ("v1 +60 >5 -60 >5 E", 5),  # a rest without a note behind it
        ("B E", 0),
    ],
)
def test_what_encode_would_not_write_is_not_allowed(stream: str, place: int) -> None:
    tokens = parse(stream)
    state = start([tokens[:place]])
    if stream == "B E":
        assert not allowed(state)[0, [PAD, BOS]].any()
        assert allowed(state)[0, EOS]
    else:
        assert not allowed(state)[0, tokens[place]]
        assert forbidden([tokens])[0] == (0, place, int(tokens[place]))


def test_a_key_may_be_struck_again_in_the_step_of_its_end() -> None:
    assert forbidden([parse("v1 +60 >100 >100 >5 -60 +60 +50 v2 +40 >5 -60 -50 -40 E")]) == []


def test_only_eos_follows_eos() -> None:
    assert np.flatnonzero(allowed(start([parse("v1 +60 >5 -60 E")]))[0]).tolist() == [EOS]


def test_all_keys_down() -> None:
    stream = np.concatenate([parse("v1"), np.arange(3, 131), parse(">3")])
    may = allowed(start([stream]))[0]
    assert may[131:259].all() and may.sum() == 128
    may = allowed(start([stream[:-1]]))[0]
    assert np.array_equal(may, VOCABULARY.mask("time_shift"))


@pytest.mark.parametrize("rules", [NoteLimits(8.0), Endings(NoteLimits(8.0), 1.0), None])
def test_a_larger_vocabulary(rules: NoteLimits | Endings | None) -> None:
    """Of gaps and styles nothing is ever drawn; the ids of plain music are masked, and pushed, as without them."""
    state, step = (start, advance) if rules is None else (rules.start, rules.advance)
    apply = grammar.apply if rules is None else rules.apply
    logits = np.random.default_rng(0).normal(size=(1, VOCABULARY_2.size)).astype(np.float32)
    now = state([parse("B v3 +60 >5 -60")])
    for token in parse(">90 v4 +61 >40 -61 >60"):
        found = apply(now, logits)
        assert found.shape == logits.shape and (found[:, VOCABULARY.size :] == -np.inf).all()
        assert np.array_equal(found[:, : VOCABULARY.size], apply(now, logits[:, : VOCABULARY.size]))
        now = step(now, np.array([token]))


@given(st.lists(st.lists(st.integers(0, VOCABULARY_2.size - 1), max_size=60), max_size=4))
def test_start_is_advance_over_any_tokens(streams: list[list[int]]) -> None:
    whole = start([np.array(stream, np.int16) for stream in streams])
    for row, stream in enumerate(streams):
        state = start([[]])
        for token in stream:
            state = advance(state, np.array([token], np.int32))
        for field, expected in zip(whole, state, strict=True):
            assert field.dtype == expected.dtype == np.int32
            assert np.array_equal(field[row], expected[0])
    assert whole.sounding.shape == (len(streams), 128)


@pytest.fixture
def jax() -> ModuleType:
    return pytest.importorskip("jax")


def test_jax_arrays_and_jit_give_the_same(jax: ModuleType) -> None:
    rng = np.random.default_rng(0)

    def step(state: grammar.GrammarState, token: object) -> tuple[grammar.GrammarState, object]:
        state = advance(state, token)
        return state, allowed(state)

    jitted = jax.jit(step)
    here, there = start([[]] * 3), start([[]] * 3, jax.numpy)
    for _ in range(300):
        # Mostly allowed tokens, so that all states come up; some not, and PAD.
        weights = allowed(here) + 0.0005
        token = np.array([rng.choice(VOCABULARY.size, p=row / row.sum()) for row in weights], np.int32)
        here = advance(here, token)
        there, may = jitted(there, jax.numpy.asarray(token))
        for mine, its in zip(here, there, strict=True):
            assert its.dtype == mine.dtype
            assert np.array_equal(mine, its)
        assert np.array_equal(allowed(here), may)
    prime = start([parse("B v3 +60 >5 -60")], jax.numpy)
    assert isinstance(prime.phase, jax.Array)
    assert np.array_equal(allowed(prime), allowed(start([parse("B v3 +60 >5 -60")])))
