"""Playing to a microphone: what an ear makes of sound, and `musicgen live --microphone` with a faked device."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from musicgen.app import cli, generate, transcription
from musicgen.app.live import microphone, session
from musicgen.app.live.conversation import Conversation, Message, Turn
from musicgen.app.live.ear import ECHO, Ear, as_messages
from musicgen.app.live.phrases import Phrase
from musicgen.app.transcription import Heard, Listening
from musicgen.data_prep import EOS, read_midi
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT

HERE = Path(__file__).parent
PAUSE = 0.5
BLOCK = SAMPLE_RATE // 20
ON, OFF, CONTROL = 0x90, 0x80, 0xB0


def tones(*onsets: float, seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """A tone of a quarter of a second at each of these times, at 440 Hz; others are a cough's."""
    times = np.arange(round(seconds * rate)) / rate
    sound = np.zeros(len(times))
    for onset in onsets:
        within = (times >= onset) & (times < onset + 0.25)
        sound[within] += 0.3 * np.sin(2 * np.pi * 440 * times[within])
    return sound


def cough(at: float, seconds: float) -> np.ndarray:
    sound = np.zeros(round(seconds * SAMPLE_RATE))
    sound[round(at * SAMPLE_RATE) :][:4800] = np.random.default_rng(1).normal(0.0, 0.1, 4800)
    return sound


def hear_tones(samples: np.ndarray, listening: Listening) -> Heard:
    """Every tone is an A with the pedal down; noise is nothing."""
    size = SAMPLE_RATE // 100
    parts = samples[: len(samples) // size * size].reshape(-1, size)
    tone = np.exp(-2j * np.pi * 440 * np.arange(size) / SAMPLE_RATE)
    loud = np.append(False, np.abs(parts @ tone) > 20.0)
    at = np.flatnonzero(loud[1:] & ~loud[:-1]) * size / SAMPLE_RATE
    notes = np.stack([at, at + 0.25, np.full(len(at), 69.0), np.full(len(at), 70.0)], axis=1)
    return Heard(notes, np.stack([at + 0.1, at + 9.0], axis=1))


class Room:
    """A conversation and its ear.  Time passes with sound, and notes are known when `hear` is called."""

    def __init__(self) -> None:
        self.sent, self.turns, self.told, self.now = list[Message](), list[Turn](), list[int](), 0.0
        self.actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.talk = Conversation(self.sent.append, pause=PAUSE, seconds=2.0, on_turn=self.turns.append)
        silent = SimpleNamespace(listen=lambda on_block: None, close=lambda: None)
        self.may_hear = threading.Semaphore(0)
        self.ear = Ear(silent, self.transcribe, lambda notes, seconds: self.told.append(notes))  # type: ignore[arg-type]
        self.ear.start(self.talk, self.actions.put, self.fail)
        self.noise = np.random.default_rng(0)

    def transcribe(self, samples: np.ndarray, listening: Listening) -> Heard:
        self.may_hear.acquire()
        return hear_tones(samples, listening)

    @staticmethod
    def fail(error: BaseException) -> None:
        raise error

    def sound(self, sound: np.ndarray) -> None:
        """This sounds, in the noise of the room."""
        for block in (sound + self.noise.normal(0.0, 1e-3, len(sound))).astype(np.float32).reshape(-1, BLOCK):
            self.now += BLOCK / SAMPLE_RATE
            self.ear.take(block, self.now)
            self.talk.advance(self.now)

    def hear(self) -> None:
        """The transcriber has come to the end of a phrase."""
        self.may_hear.release()
        self.actions.get(timeout=60)()
        self.talk.advance(self.now)

    def answer(self) -> None:
        """The model draws one note of a second."""
        assert self.talk.wanted is not None
        self.talk.draw(self.talk.wanted[0], [TIME_SHIFT, NOTE_ON + 72, TIME_SHIFT + 99, NOTE_OFF + 72, EOS], self.now)
        self.talk.advance(self.now)


@pytest.fixture
def place() -> Any:
    made = Room()
    yield made
    made.may_hear.release(9)
    made.ear.stop(keep=False)


def test_a_phrase_is_answered_as_if_keys_had_been_pressed(place: Room) -> None:
    """At the times at which it was played, with its pedal, and without sending it on."""
    place.sound(tones(1.5, 2.0, seconds=3.2))
    assert place.talk.wanted is None
    place.hear()
    assert place.talk.wanted is not None and place.told == [2]
    played = place.talk.player.performance()
    assert played.onset == pytest.approx([1.5, 2.0], abs=0.06) and played.pitch.tolist() == [69, 69]
    assert played.pedal[:, 0] == pytest.approx([1.6, 2.25], abs=0.11)  # not for the nine seconds that were heard
    place.answer()
    place.sound(np.zeros(2 * SAMPLE_RATE))
    (turn,) = place.turns
    assert (turn.heard, turn.answered) == (2, 1)
    assert turn.latency == pytest.approx(3.2 - 2.25, abs=0.15)
    assert [message[:2] for message in place.sent] == [(ON, 72), (OFF, 72)]


def test_a_cough_is_not_answered(place: Room) -> None:
    place.sound(cough(1.5, 3.0))
    place.hear()
    assert place.told == [0] and place.talk.wanted is None and not len(place.talk.player.performance())
    assert place.talk.next_time() is None


def test_a_cough_while_the_phrase_is_being_heard_delays_the_answer(place: Room) -> None:
    place.sound(tones(1.5, seconds=3.6) + cough(2.4, 3.6))
    place.hear()
    assert place.told == [1] and place.talk.wanted is None
    place.hear()
    assert place.told == [1, 0] and place.talk.wanted is not None


def test_who_plays_on_while_the_phrase_is_being_heard_is_answered_afterwards(place: Room) -> None:
    place.sound(tones(1.5, 2.8, seconds=3.0))
    place.hear()
    assert place.talk.wanted is None
    place.sound(np.zeros(SAMPLE_RATE))
    place.hear()
    assert place.told == [1, 1] and place.talk.wanted is not None
    place.answer()
    place.sound(np.zeros(2 * SAMPLE_RATE))
    assert [turn.heard for turn in place.turns] == [2]


def test_an_answer_that_has_not_begun_waits_for_who_plays_on(place: Room) -> None:
    place.sound(tones(1.5, seconds=2.6))
    place.hear()
    assert place.talk.wanted is not None
    place.sound(tones(0.1, seconds=0.5))
    assert place.talk.wanted is None


def test_the_model_does_not_answer_itself(place: Room) -> None:
    """What sounds while it plays, and what comes back a little later, is no phrase; the next note is."""
    place.sound(tones(1.5, seconds=2.6))
    place.hear()
    place.answer()
    place.sound(tones(0.1, 0.5, 0.9, seconds=1.05))
    assert len(place.turns) == 1 and not place.talk.is_playing
    place.sound(tones(0.05, seconds=0.3))
    place.sound(np.zeros(2 * SAMPLE_RATE))
    assert place.talk.unheard == 0
    place.sound(tones(ECHO, seconds=1.5))
    place.hear()
    assert place.told == [1, 1]


def test_keys_are_up_at_the_end_of_a_phrase() -> None:
    """Whatever was heard, each key that is struck is let go after that, and before it is struck again."""
    notes = np.array(
        [[0.2, 0.2, 60, 300], [0.2, 9.0, 64, 50], [0.5, 1.0, 67, 0], [1.0, 1.5, 67, 80], [2.4, 2.6, 72, 9]]
    )
    sent = as_messages(Heard(notes, np.array([[0.3, 8.0], [2.2, 2.4]])), Phrase(np.zeros(0), 100.0, 102.0))
    times, down = [time for time, _ in sent], dict[int, float]()
    assert times == sorted(times)
    for time, (status, number, value) in sent:
        if status == ON:
            assert number not in down and 1 <= value <= 127
            down[number] = time
        elif status == OFF:
            assert time > down.pop(number)
    assert not down
    assert [(t, v) for t, (status, _, v) in sent if status == CONTROL] == [(100.3, 127), (102.0, 0)]


def test_stopping_hears_what_was_played_last(place: Room) -> None:
    place.sound(tones(1.5, seconds=2.0))
    place.may_hear.release()
    place.ear.stop(keep=True)
    assert len(place.talk.player.performance()) == 1


class TestCommand:
    """`musicgen live --microphone`, with faked sound, MIDI, hearing and model."""

    @pytest.fixture(autouse=True)
    def machine(self, tmp_path: Path, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        import mido

        model = fake.fake_model()
        monkeypatch.setattr(generate, "open_weights", lambda checkpoint: SimpleNamespace(config=model))
        monkeypatch.setattr(generate, "open_model", lambda released: model)
        monkeypatch.setattr(transcription, "open_transcriber", lambda: hear_tones)
        monkeypatch.syspath_prepend(HERE)
        monkeypatch.setitem(sys.modules, "fake_midi", None)
        del sys.modules["fake_midi"]
        monkeypatch.setenv("MIDO_BACKEND", "fake_midi")
        monkeypatch.setattr(mido, "backend", mido.Backend("fake_midi"))
        devices = [{"name": "Synth", "is_input": False, "is_output": True}]
        script = {"devices": devices, "play": [], "out": str(tmp_path / "sent.jsonl")}
        (tmp_path / "script.json").write_text(json.dumps(script))
        monkeypatch.setenv("FAKE_MIDI", str(tmp_path / "script.json"))
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def plug_in(monkeypatch: pytest.MonkeyPatch, *onsets: float, seconds: float = 60.0) -> Any:
        """A microphone before which these tones sound, until it is pulled out."""
        monkeypatch.syspath_prepend(HERE)
        from fake_sounds import Sounds  # type: ignore[import-not-found]

        air = Sounds(tones(*onsets, seconds=4.0, rate=44_100), seconds=seconds)
        monkeypatch.setitem(sys.modules, "sounddevice", air)
        return air

    def test_a_session(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A phrase, its answer, whose sound comes back, another note, Ctrl-C before that is heard: all is kept."""
        air = self.plug_in(monkeypatch, 0.5, 0.9)
        sent = tmp_path / "sent.jsonl"
        air.loud = lambda: sent.exists() and (len(sent.read_text().splitlines()) // 2) % 2 == 0

        def stop() -> None:
            if not air.closed.wait(0):
                os.kill(os.getpid(), signal.SIGINT)

        turns: list[Turn] = []
        from musicgen.app.commands import live

        def turn(teller: live.Teller, turn: Turn, tell: Any = live.Teller.turn) -> None:
            turns.append(turn)
            tell(teller, turn)
            air.loud = lambda: False
            threading.Timer(1.0, stop).start()

        monkeypatch.setattr(live.Teller, "turn", turn)
        words = ["--pause", "0.4", "--seconds", "1", "--seed", "3", "--save", "session.mid"]
        assert cli.main(["live", "--microphone", *words]) == 0
        told = capsys.readouterr().err.splitlines()
        assert "a phrase of up to 14.5 s is heard in about 0.0 s here" in told[0]
        assert "play (Desk, Air -> Synth)" in told[1] and "silent for 0.4 s" in told[1]
        assert "turn 1: heard 2 notes within 0.0 s, answered after 0." in told[2]
        assert [turn.heard for turn in turns] == [2] and len(told) == 4, told
        assert len(read_midi(tmp_path / "session.mid")[0]) == 2 + turns[0].answered

    def test_a_microphone_that_vanishes_is_one_line_and_what_was_played_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(microphone, "SILENT_FOR", 0.5)
        monkeypatch.setattr(session, "LOOK", 0.1)
        self.plug_in(monkeypatch, 0.5, 0.9, seconds=1.3)
        assert cli.main(["live", "--microphone", "des", "--save", "session.mid"]) == 1
        told = capsys.readouterr().err
        errors = [line for line in told.splitlines() if "error" in line]
        assert len(errors) == 1 and "the microphone Desk, Air has gone" in errors[0] and "Traceback" not in told
        assert "hearing what you played last" in told
        assert len(read_midi(tmp_path / "session.mid")[0]) == 2

    def test_what_is_missing_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def told(*words: str) -> tuple[int, str]:
            code, err = cli.main(["live", *words]), capsys.readouterr().err
            assert err.count("\n") == 1, err
            return code, err

        monkeypatch.setitem(sys.modules, "sounddevice", None)
        code, line = told("--microphone")
        assert code == 1 and "needs sounddevice" in line and 'pip install "python-rtmidi' in line
        air = self.plug_in(monkeypatch)
        code, line = told("--microphone", "kitchen")
        assert code == 2 and "--microphone 'kitchen': no microphone has that in its name; there are 'Desk, Air'" in line
        code, line = told("--microphone", "--input", "piano")
        assert code == 2 and "leave one of them out" in line
        code, line = told("--microphone", "--thru")
        assert code == 2 and "sounds already" in line

        def refuse(**asked: Any) -> None:
            raise air.PortAudioError("device unavailable")

        monkeypatch.setattr(air, "InputStream", refuse)
        code, line = told("--microphone")
        assert code == 1 and "cannot open the microphone Desk, Air (device unavailable)" in line
        air = self.plug_in(monkeypatch)
        monkeypatch.setattr(transcription, "_load", lambda: (_ for _ in ()).throw(ImportError("no", name="transkun")))
        monkeypatch.setattr(transcription, "open_transcriber", OPEN)
        code, line = told("--microphone")
        assert code == 1 and "transkun>=" in line and "pip install" in line
        air.default.device = (-1, 0)
        code, line = told("--microphone")
        assert code == 2 and "there is no microphone" in line

    def test_the_list_names_it(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.plug_in(monkeypatch)
        assert cli.main(["live", "--list"]) == 0
        assert capsys.readouterr().out.splitlines() == ["input   (none)", "output  Synth", "microphone  Desk, Air"]


OPEN = transcription.open_transcriber
