"""A player and a model in turns: when the model answers, when it stops, and that nothing ever hangs."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.app.live.conversation import LONGEST_SILENCE, Conversation, Message, Turn, closer
from musicgen.app.live.file import session_file
from musicgen.app.live.session import Sampler
from musicgen.app.settings import Settings
from musicgen.data_prep import BOS, EOS, Performance, decode, encode, read_midi
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY

HERE = Path(__file__).parent
PAUSE, SECONDS = 1.0, 2.0
ON, OFF, CONTROL = 0x90, 0x80, 0xB0


class Synth:
    """What can be heard, and every message that came."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.down: set[tuple[int, int]] = set()
        self.ringing: set[tuple[int, int]] = set()
        self.pedals: set[int] = set()

    def send(self, message: Message) -> None:
        """As a synth takes it, pedal and all."""
        self.messages.append(message)
        kind, channel, key = message[0] & 0xF0, message[0] & 0x0F, (message[0] & 0x0F, message[1])
        if kind == ON and message[2]:
            assert key not in self.down, "struck twice without an end"
            self.down.add(key)
            self.ringing.add(key)
        elif kind in (ON, OFF):
            self.down.discard(key)
        elif kind == CONTROL and message[1] == 64:
            (self.pedals.add if message[2] else self.pedals.discard)(channel)
        self.ringing = {key for key in self.ringing if key in self.down or key[0] in self.pedals}


class Table:
    """A conversation, a synth and a clock that goes only when it is told to."""

    def __init__(self, **options: Any) -> None:
        self.synth, self.turns, self.now = Synth(), list[Turn](), 0.0
        self.talk = Conversation(
            self.synth.send, **{"pause": PAUSE, "seconds": SECONDS, "on_turn": self.turns.append, **options}
        )

    def play(self, *messages: Message) -> None:
        """The player does something, now."""
        for message in messages:
            self.talk.hear(message, self.now)

    def phrase(self, *pitches: int, velocity: int = 80) -> None:
        """A few notes, half a second each."""
        for pitch in pitches:
            self.play((ON, pitch, velocity))
            self.wait(0.5)
            self.play((OFF, pitch, 0))

    def wait(self, seconds: float) -> None:
        """Time passes as it does for the command: `advance` whenever something is due."""
        end = self.now + seconds
        while (due := self.talk.next_time()) is not None and due <= end:
            self.now = max(self.now, due)
            self.talk.advance(self.now)
        self.now = end
        self.talk.advance(end)

    def answer(self, *tokens: int) -> None:
        """The model draws these."""
        assert self.talk.wanted is not None
        self.talk.draw(self.talk.wanted[0], tokens, self.now)

    def strikes(self) -> list[tuple[int, int]]:
        """Pitch and velocity of every note that the synth was given."""
        return [(m[1], m[2]) for m in self.synth.messages if m[0] & 0xF0 == ON]


def shift(seconds: float) -> int:
    return TIME_SHIFT + round(100 * seconds) - 1


CHORD = (shift(0.7), VELOCITY + 19, NOTE_ON + 72, NOTE_ON + 76, shift(1.0), NOTE_OFF + 72, NOTE_OFF + 76)


def test_the_answer_comes_after_the_pause_with_its_own_velocities() -> None:
    """Not before, not later; the silence that the model began with has been waited for already."""
    table = Table(thru=False)
    table.phrase(60, 64)
    assert table.talk.wanted is None
    table.wait(0.3)
    table.answer(*CHORD, shift(0.2), EOS)
    table.wait(0.69)
    assert table.synth.messages == []
    table.wait(0.02)
    assert table.strikes() == [(72, 77), (76, 77)]
    table.wait(0.98)
    assert len(table.synth.ringing) == 2
    table.wait(0.02)
    assert not table.synth.ringing
    (turn,) = table.turns
    assert (turn.heard, turn.answered, turn.interrupted) == (2, 2, False)
    assert turn.latency == pytest.approx(PAUSE) and turn.seconds == pytest.approx(1.0) and turn.waited == 0
    table.wait(10)
    assert table.talk.wanted is None, "it does not answer itself"


def test_keys_and_pedal_hold_the_turn() -> None:
    """A held key, a held pedal: no answer, however long."""
    table = Table()
    table.play((CONTROL, 64, 127))
    table.phrase(60)
    table.wait(20)
    assert table.talk.wanted is None
    table.play((ON, 64, 50), (CONTROL, 64, 0))
    table.wait(20)
    assert table.talk.wanted is None
    table.play((ON, 64, 0))  # as many keyboards end a note
    table.wait(0.3)
    assert table.talk.wanted is not None
    table.play((CONTROL, 64, 90))  # the foot again: not over yet
    assert table.talk.wanted is None
    table.play((CONTROL, 64, 10), (CONTROL, 1, 5), (0xE0, 0, 64))
    table.wait(0.3)
    table.answer(*CHORD)
    table.wait(0.7)
    assert (72, 77) in table.strikes()


def test_who_goes_on_playing_is_not_answered() -> None:
    """An answer that has been drawn but not heard is dropped, and the next has the longer phrase before it."""
    table = Table()
    table.phrase(60)
    table.wait(0.9)
    first = table.talk.wanted
    table.answer(*CHORD)
    table.phrase(62)
    assert first is not None
    table.talk.draw(first[0], CHORD, table.now)  # comes late: nobody wants it any more
    table.wait(0.9)
    second = table.talk.wanted
    assert second is not None and second[0] > first[0]
    assert decode(second[1]).pitch.tolist() == [60, 62]
    assert table.strikes() == [(60, 80), (62, 80)] and not table.turns


@pytest.mark.parametrize("foot", [False, True])
def test_a_struck_key_ends_the_answer(foot: bool) -> None:
    """All that the model left sounding is let go before the player's note, also under the player's pedal."""
    table = Table()
    table.phrase(60)
    table.wait(1.1)
    table.answer(*CHORD)
    table.wait(0.5)
    if foot:
        table.play((CONTROL, 64, 127))
    assert len(table.synth.ringing) == 2
    table.play((ON, 40, 99))
    assert table.synth.ringing == {(0, 40)}
    assert table.synth.pedals == ({0} if foot else set())
    assert table.turns[0].interrupted and table.turns[0].seconds == pytest.approx(0.5)
    table.wait(5)
    assert table.strikes()[-1] == (40, 99), "nothing more of the answer"
    model = table.talk.model.performance()
    assert model.end - model.onset == pytest.approx([0.5, 0.5])


def test_both_are_remembered_and_thinking_is_not() -> None:
    """The second prime holds the first phrase, its answer and the second phrase, however long the player thought."""
    table = Table()
    table.phrase(60, 62)
    table.wait(1.0)
    table.answer(*CHORD, EOS)
    table.wait(100)
    table.phrase(64, velocity=30)
    table.wait(0.5)
    assert table.talk.wanted is not None
    prime = table.talk.wanted[1]
    music = decode(prime)
    assert prime[0] == BOS and prime.dtype == np.int16
    assert music.pitch.tolist() == [60, 62, 72, 76, 64]
    assert music.onset == pytest.approx([0, 0.5, 1 + LONGEST_SILENCE, 1 + LONGEST_SILENCE, 2 + 2 * LONGEST_SILENCE])
    assert music.velocity[-1] < 40 < music.velocity[0]


def test_a_velocity_goes_on_from_the_prime() -> None:
    """A model that says nothing about loudness plays as loud as the phrase ended."""
    table = Table(thru=False)
    table.phrase(60, velocity=101)
    table.wait(0.5)
    table.answer(shift(0.1), NOTE_ON + 70, shift(0.5), NOTE_OFF + 70, EOS)
    table.wait(1)
    assert table.strikes() == [(70, 101)]


def test_notes_that_come_late_keep_their_rhythm() -> None:
    """A slow machine makes the answer halt, not stumble."""
    table = Table(thru=False)
    table.phrase(60)
    table.wait(1)
    table.answer(NOTE_ON + 70, shift(0.1), NOTE_OFF + 70)
    table.wait(2)
    table.answer(NOTE_ON + 71, shift(0.3), NOTE_OFF + 71, NOTE_ON + 72)
    began = table.now
    table.wait(0.29)
    assert table.strikes()[-1][0] == 71
    table.wait(0.02)
    assert table.strikes()[-1][0] == 72
    table.answer(shift(0.5), EOS)
    table.wait(1)
    assert table.turns[0].waited == pytest.approx(1.9) and table.turns[0].seconds == pytest.approx(0.9)
    assert table.talk.model.performance().onset[1] == pytest.approx(began)


def test_an_answer_ends_even_if_the_model_does_not() -> None:
    """It is cut after its seconds, and what sounds then is let go."""
    table = Table(thru=False)
    table.phrase(60)
    table.wait(1)
    while table.talk.wanted is not None:
        table.answer(NOTE_ON + 50, shift(0.9), NOTE_ON + 51, shift(0.9))
        table.wait(0.1)
    table.wait(30)
    assert len(table.strikes()) == 3 and not table.synth.ringing
    assert table.turns[0].seconds == pytest.approx(SECONDS)
    table.phrase(60)
    table.wait(1)
    table.answer(*[shift(1.0)] * 9)  # says nothing at all
    table.wait(1)
    assert table.turns[1].answered == 0 and table.talk.wanted is None


TOKENS = st.lists(
    st.one_of(
        st.integers(NOTE_ON + 58, NOTE_ON + 62),
        st.integers(NOTE_OFF + 58, NOTE_OFF + 62),
        st.integers(TIME_SHIFT, TIME_SHIFT + 99),
        st.integers(VELOCITY, VELOCITY + 31),
        st.just(EOS),
    ),
    max_size=12,
)
CHANNEL = st.sampled_from([0, 0, 0, 3, 9])
MESSAGES = st.one_of(
    st.tuples(CHANNEL.map(lambda c: ON | c), st.integers(58, 62), st.integers(0, 127)),
    st.tuples(CHANNEL.map(lambda c: OFF | c), st.integers(58, 62), st.integers(0, 127)),
    st.tuples(CHANNEL.map(lambda c: CONTROL | c), st.sampled_from([64, 66, 123, 1]), st.integers(0, 127)),
    st.tuples(st.just(0xD0), st.integers(0, 127)),
    st.just((0xF8,)),
)
STEPS = st.lists(st.one_of(MESSAGES, TOKENS, st.floats(0.01, 3.0), st.just("all up")), max_size=60)


@settings(max_examples=300)
@given(STEPS, st.booleans())
def test_nothing_ever_hangs(steps: list[Any], thru: bool) -> None:
    """Whatever is played, drawn and waited for: a strike silences the answer, closing silences everything, the
    record holds both players and can be written."""
    table = Table(thru=thru)
    ours: set[tuple[int, int]] = set()  # keys that the player has down, and so may sound
    for step in steps:
        if isinstance(step, float):
            table.wait(step)
        elif step == "all up":
            table.play(*[(OFF | c, p, 0) for c in (0, 3, 9) for p in range(58, 63)])
            table.play(*[(CONTROL | c, 64, 0) for c in (0, 3, 9)])
        elif isinstance(step, list):
            if table.talk.wanted is not None:
                table.answer(*step)
        else:
            answering = table.talk.answer is not None and table.talk.answer.began is not None
            ours = {key for key in table.synth.down if key in table.talk.out.sounding} if not answering else set()
            table.play(step)
            if step[0] & 0xF0 == ON and step[2] and step[0] & 0x0F != 9 and answering:
                struck = {(step[0] & 0x0F, step[1])} if thru else set()
                assert table.synth.ringing == struck | ours
    table.wait(0.5)
    table.talk.close(table.now)
    assert not table.synth.ringing and not table.synth.pedals and not table.synth.down
    player, model = table.talk.player.performance(), table.talk.model.performance()
    struck = [s for s in steps if isinstance(s, tuple) and s[0] in (ON, ON | 3) and s[2]]
    assert len(player) == len(struck)
    assert len(model) == sum(turn.answered for turn in table.turns)
    session_file(player, model)


def test_the_file_has_both_players(tmp_path: Path) -> None:
    """On a channel and a track each, at the times they played, the first at 0; the pedal is the player's."""
    import mido

    one = Performance(
        np.array([5.0, 6.0]), np.array([5.5, 7.0]), np.array([60, 64]), np.array([80, 81]), [[5.2, 127], [7.0, 0]]
    )
    two = Performance(np.array([8.0]), np.array([9.0]), np.array([72]), np.array([33]), np.zeros((0, 2)))
    path = tmp_path / "session.mid"
    path.write_bytes(session_file(one, two, ["how it was made"]))
    tracks = mido.MidiFile(path).tracks
    assert [track.name for track in tracks] == ["", "Player", "musicgen"]
    assert {m.channel for m in tracks[2] if not m.is_meta} == {1}
    assert not [m for m in tracks[2] if m.type == "control_change"]
    assert any(m.type == "text" and m.text == "how it was made" for m in tracks[0])
    music = read_midi(path)[0]
    assert music.pitch.tolist() == [60, 64, 72] and music.onset == pytest.approx([0, 1, 3], abs=1e-4)


def test_silences_are_shortened_and_nothing_else() -> None:
    """Notes under a longer one keep their distance."""
    music = Performance([3.0, 3.5, 9.0, 30.0], [8.8, 3.6, 9.5, 31.0], [40, 60, 61, 62], [9] * 4, np.zeros((0, 2)))
    assert closer(music).onset == pytest.approx([0, 0.5, 6.0, 6.5 + LONGEST_SILENCE])
    assert closer(music).end - closer(music).onset == pytest.approx(music.end - music.onset)


def test_the_sampler_draws_what_is_wanted_and_no_more(fake: ModuleType) -> None:
    """Two answers; the first is given up in favour of the second, which has the next seed."""
    model = fake.fake_model()
    sampler = Sampler(model, Settings(seconds=2.0).resolve(64, 256), seed=5)
    sampler.warm_up()
    told: list[int] = []
    problems: list[BaseException] = []

    def tell(number: int, block: np.ndarray) -> None:
        told.append(number)
        if len(told) == 3:
            sampler.want((2, encode(Performance([0.0], [1.0], [60], [60], np.zeros((0, 2))), bos=True)))

    sampler.start(tell, problems.append)
    sampler.want((1, np.array([BOS], np.int16)))
    deadline = time.monotonic() + 60
    while len(told) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    sampler.stop()
    assert told[:4] == [1, 1, 1, 2] and not problems
    assert model.engine.asked["seed"] == 6
