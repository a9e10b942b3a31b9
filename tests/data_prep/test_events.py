"""Tokens read as they come say what the whole says, whatever ranges the vocabulary has."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.events import DEFAULT_VELOCITY, KINDS, VALUES, Kind, NoteDecoder, NoteEvent
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import (
    BOS,
    EOS,
    NOTE_OFF,
    NOTE_ON,
    PAD,
    TIME_SHIFT,
    VELOCITY,
    VOCABULARY,
    VOCABULARY_2,
)

few_keys = st.one_of(
    st.integers(NOTE_ON + 60, NOTE_ON + 63),
    st.integers(NOTE_OFF + 60, NOTE_OFF + 63),
    st.integers(TIME_SHIFT, TIME_SHIFT + 4),
    st.integers(VELOCITY, VELOCITY + 31),
    st.sampled_from([PAD, BOS]),
)
streams = st.lists(st.one_of(few_keys, st.integers(0, VOCABULARY_2.size - 1)), max_size=120)


def test_the_tables_are_the_vocabulary() -> None:
    assert len(KINDS) == len(VALUES) == VOCABULARY_2.size
    for token in range(VOCABULARY_2.size):
        name, value = VOCABULARY_2.decode(token)
        kind = Kind(KINDS[token]).name.lower() if token < VOCABULARY.size else "other"
        assert kind == (name if token < VOCABULARY.size else "other") and VALUES[token] == value


def reference(tokens: list[int]) -> tuple[list[list[int]], int]:
    """[onset step, end step, pitch, velocity] of each note, by the vocabulary's own decode; and the last step."""
    notes: list[list[int]] = []
    sounding: dict[int, list[int]] = {}
    step, velocity = 0, DEFAULT_VELOCITY
    for name, value in map(VOCABULARY_2.decode, tokens):
        if name == "eos":
            break
        if name in ("note_on", "note_off") and value in sounding:
            sounding.pop(value)[1] = step
        if name == "note_on":
            sounding[value] = [step, -1, value, velocity]
            notes.append(sounding[value])
        if name == "time_shift":
            step += value
        if name == "velocity":
            velocity = 4 * value - 3
    for note in sounding.values():
        note[1] = step
    return notes, step


def notes_of(events: list[NoteEvent], now: int) -> list[list[int]]:
    notes: list[list[int]] = []
    for note, step, pitch, velocity in events:
        if velocity:
            assert note == len(notes)
            notes.append([step, now, pitch, velocity])
        elif note >= 0:
            assert notes[note][2] == pitch
            notes[note][1] = step
    return notes


@given(streams, st.lists(st.integers(0, 120), max_size=8))
def test_a_stream_in_pieces_is_the_stream(tokens: list[int], cuts: list[int]) -> None:
    """However it is cut, its events are those of the whole, and its notes those that the vocabulary spells."""
    whole = NoteDecoder()
    events = whole.feed(tokens)
    pieces, told = NoteDecoder(), []
    borders = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
    for start, stop in itertools.pairwise(borders):
        told += pieces.feed(np.array(tokens[start:stop], np.int16))
    assert told == events
    assert vars(pieces) == vars(whole)
    notes, now = reference(tokens)
    assert notes_of(events, whole.step) == notes
    assert (whole.step, whole.notes, whole.ended) == (now, len(notes), EOS in tokens)


@given(streams)
def test_decode_holds_the_same_notes(tokens: list[int]) -> None:
    music = decode(np.array(tokens, np.int16))
    notes, _ = reference(tokens)
    assert len(music) == len(notes)
    for index, (onset, end, pitch, velocity) in enumerate(notes):
        assert music.onset[index] == pytest.approx(onset / 100, abs=0.005)
        assert music.end[index] == max(end, onset + 1) / 100
        assert (music.pitch[index], music.velocity[index]) == (pitch, velocity)


@given(streams.map(lambda tokens: [token for token in tokens if token != EOS]), streams)
def test_tokens_before_say_velocity_and_what_sounds(before: list[int], tokens: list[int]) -> None:
    """The stream is read as the rest of a longer one, at its own time and with its own numbers."""
    decoder = NoteDecoder(before)
    held = decoder.sounding.copy()
    assert all(note < 0 for note in held.values())
    events = decoder.feed(tokens)
    passed = NoteDecoder()
    gone = len(passed.feed(before))
    whole = NoteDecoder().feed(before + tokens)
    assert events == [
        NoteEvent(note - passed.notes, step - passed.step, pitch, velocity)
        for note, step, pitch, velocity in whole[gone:]
    ]
    assert decode(np.array(tokens, np.int16), before).equals(
        decode(np.concatenate([[VELOCITY + (passed.velocity - 1) // 4], tokens]).astype(np.int16))
    )


def test_what_comes_after_the_end_is_not_read() -> None:
    decoder = NoteDecoder()
    assert decoder.feed([NOTE_ON + 60, EOS, NOTE_ON + 61]) == [NoteEvent(0, 0, 60, DEFAULT_VELOCITY)]
    assert decoder.ended and decoder.feed([NOTE_ON + 61]) == []


def test_ids_outside_the_vocabulary_are_refused() -> None:
    for token in (-1, VOCABULARY_2.size):
        with pytest.raises(ValueError, match="tokens lie in"):
            NoteDecoder().feed([5, token])


# A vocabulary with one more range behind the velocities. Every module takes its tables from `VOCABULARY` when it is
# imported, so it needs a process of its own.

EIGHTH = """
import sys

import numpy as np

from musicgen.data_prep import vocabulary

vocabulary.VOCABULARY = vocabulary.Vocabulary((*vocabulary.TABLE, vocabulary.EventRange("unheard-of", 1, 9)))
for name in [name for name in sys.modules if name.startswith("musicgen.") and name != vocabulary.__name__]:
    del sys.modules[name]

from musicgen.app.join import close_at, trim_to_eos, join, sounding
from musicgen.app.live.conversation import Answer
from musicgen.app.prime import make_prime
from musicgen.app.web.notes.decoder import NoteStream
from musicgen.data_prep import BOS, EOS, VOCABULARY, Performance, decode, encode, steps
from musicgen.data_prep.events import NoteDecoder
from musicgen.data_prep.performance import NO_PEDAL
from musicgen.data_prep.rules.endings import Endings
from musicgen.data_prep.rules.grammar import advance, allowed, start
from musicgen.data_prep.rules.note_limits import NoteLimits

V = VOCABULARY.size
FIRST = VOCABULARY.first("unheard-of")
music = Performance(np.arange(8) / 4, np.arange(8) / 4 + 0.4, np.arange(60, 68), np.full(8, 100), NO_PEDAL)
plain = encode(music, bos=True)
strewn = np.insert(plain, np.arange(1, len(plain)), FIRST + np.arange(len(plain) - 1) % 9).astype(np.int16)

assert decode(strewn).equals(decode(plain))
assert NoteDecoder().feed(strewn) == NoteDecoder().feed(plain)
assert steps(strewn)[-1] == steps(plain)[-1]
limits = NoteLimits(8.0)
for rules in (None, limits, Endings(limits, 20.0)):
    state = start([strewn]) if rules is None else rules.start([strewn])
    wanted = start([plain]) if rules is None else rules.start([plain])
    may = allowed(state) if rules is None else rules.allowed(state)
    assert may.shape == (1, V) == (1, FIRST + 9) and not may[0, FIRST:].any() and may.any()
    stepped = advance(state, np.array([FIRST])) if rules is None else rules.advance(state, np.array([FIRST]))
    assert repr(state) == repr(wanted) == repr(stepped)
late = Endings(limits, 0.02).start([plain])
late = Endings(limits, 0.02).advance(late, np.array([VOCABULARY.encode("time_shift", 100)]))
assert not Endings(limits, 0.02).allowed(late)[0, VOCABULARY.mask("note_on", "velocity", "unheard-of")].any()

half = len(plain) // 2
assert sounding(strewn[: 2 * half]).tolist() == sounding(plain[:half]).tolist() != []
cut = close_at(strewn[1:], strewn[:1], 1.1)
assert decode(cut).equals(decode(close_at(plain[1:], plain[:1], 1.1)))
assert decode(trim_to_eos(np.append(strewn, EOS))).equals(decode(plain))
prime = make_prime(music, 1.1, "")
assert join(prime, strewn[1:]).equals(join(prime, plain[1:]))

answers = [Answer(1, plain, 5.0) for _ in range(2)]
for answer, tokens in zip(answers, (plain, strewn)):
    answer.take(tokens.tolist())
assert answers[0].queue == answers[1].queue and len(answers[0].queue) == 16
bos = np.array([BOS], np.int16)
assert NoteStream(bos, 0.0).feed(strewn) == NoteStream(bos, 0.0).feed(plain)
print("all of it")
"""


def test_a_range_behind_the_velocities_changes_no_music() -> None:
    """Decoder, rules, join, live and page pass over what they do not know instead of taking it for a velocity."""
    result = subprocess.run([sys.executable, "-c", EIGHTH], capture_output=True, text=True)
    assert result.stdout == "all of it\n", result.stderr


@given(st.lists(st.integers(0, VOCABULARY.size - 1), max_size=200), st.lists(st.integers(0, VOCABULARY.size - 1)))
def test_tokens_before_leave_what_reading_them_leaves(before: list[int], tokens: list[int]) -> None:
    """Told apart only by their numbers: those of the tokens before are below 0."""
    read = NoteDecoder()
    read.feed(before)
    struck, step = read.notes, read.step
    skipped = NoteDecoder(before)
    assert skipped.sounding == {pitch: note - struck for pitch, note in read.sounding.items()}
    assert (skipped.velocity, skipped.ended, skipped.step, skipped.notes) == (read.velocity, read.ended, 0, 0)
    expected = [event._replace(note=event.note - struck, step=event.step - step) for event in read.feed(tokens)]
    assert skipped.feed(tokens) == expected
