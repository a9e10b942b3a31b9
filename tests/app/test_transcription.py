"""Recordings to notes, with a transcriber that hears clicks; the real one at the end, where it is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

import musicgen
from musicgen import checkpoints
from musicgen.app import cli, generate, transcription
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.provenance import prime_notes
from musicgen.app.transcription import Heard, Listening, transcribe
from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.audio import SAMPLE_RATE, read_audio
from musicgen.data_prep.midi import read_text

INSTALLED = importlib.util.find_spec("transkun") is not None
LOUD = 0.5


def clicks(path: Path, times: np.ndarray, seconds: float) -> Path:
    """A recording with a click at each of these times."""
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    sound[np.round(times * SAMPLE_RATE).astype(int)] = LOUD
    soundfile.write(path, sound, SAMPLE_RATE)
    return path


def hear_clicks(samples: np.ndarray, listening: Listening) -> Heard:
    """Each click is a note of a second, with the pedal down for half of it."""
    at = np.flatnonzero(samples > LOUD / 2) / SAMPLE_RATE
    notes = np.stack([at, at + 1.0, np.full(len(at), 60.0), np.full(len(at), 70.0)], axis=1)
    listening(len(samples) / SAMPLE_RATE, notes)
    return Heard(notes, np.stack([at, at + 0.5], axis=1))


def hear_nothing(samples: np.ndarray, listening: Listening) -> Heard:
    return Heard(np.zeros((0, 4)), np.zeros((0, 2)))


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command hears clicks."""
    monkeypatch.setattr(transcription, "open_transcriber", lambda: hear_clicks)


def test_a_recording_longer_than_a_section_is_heard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "SECTION", 10.0)
    lengths: list[int] = []
    done: list[float] = []

    def hear(samples: np.ndarray, listening: Listening) -> Heard:
        lengths.append(len(samples))
        return hear_clicks(samples, listening)

    times = np.arange(0.5, 71.0, 0.75)
    told: list[np.ndarray] = []
    made = transcribe(clicks(tmp_path / "long.wav", times, 72.0), hear, None, done.append, told.append)
    assert made.music.onset == pytest.approx(times, abs=1e-3)
    assert made.seconds == pytest.approx(72.0)
    assert np.concatenate(told)[:, 0] == pytest.approx(times, abs=1e-3)  # each once, in order, meanwhile
    assert len(lengths) > 3 and max(lengths) <= (4 + 10 + 16) * SAMPLE_RATE
    assert done == sorted(done) and done[-1] == pytest.approx(72.0)
    again = read_midi(made.midi)[0]
    assert again.onset == pytest.approx(times, abs=1e-3) and (again.pitch == 60).all()
    assert again.pedal[::2, 0] == pytest.approx(times, abs=1e-3) and (again.pedal[:, 1] == [127, 0] * len(times)).all()


def test_no_more_is_heard_than_was_asked_for(tmp_path: Path) -> None:
    path = clicks(tmp_path / "long.wav", np.arange(1.0, 60.0), 60.0)
    made = transcribe(path, hear_clicks, 5.0)
    assert made.seconds < 60.0 and 5 <= len(made.music) < 30
    assert transcription.survey(path, 5.0).seconds == made.seconds


def test_a_pedal_that_is_down_twice_is_down_once() -> None:
    notes = np.array([[0.0, 1.0, 60.0, 200.0], [0.5, 0.4, 62.0, 0.0]])
    made = Heard(notes, np.array([[2.0, 3.0], [0.0, 1.5], [1.0, 1.25], [3.5, 4.0]])).music()
    assert made.pedal.tolist() == [[0.0, 127.0], [1.5, 0.0], [2.0, 127.0], [3.0, 0.0], [3.5, 127.0], [4.0, 0.0]]
    assert made.velocity.tolist() == [127, 1] and made.end.tolist() == [1.0, 0.5]


def test_the_command_writes_the_notes(
    tmp_path: Path, hears: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clicks(tmp_path / "two.wav", np.array([0.5, 1.5]), 3.0)
    assert cli.main(["transcribe", "two.wav", "--out", "two.mid", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["out"], report["seconds"], report["notes"]) == ("two.mid", 3.0, 2)
    assert "two.mid: 2 notes in 3.0 s of two.wav" in err
    assert len(read_midi((tmp_path / "two.mid").read_bytes())[0]) == 2


class TestGoingOn:
    """`musicgen recording.wav --out new.mid|new.wav --as notes`, with a made-up engine."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, fake: ModuleType, hears: None, monkeypatch: pytest.MonkeyPatch) -> Path:
        model = dataclasses.replace(fake.fake_model(), latents=2048, context=4096)
        weights = SimpleNamespace(config=model, name="fake", sha256=model.sha256, folder=checkpoints.find("piano"))
        monkeypatch.setattr(generate, "open_weights", lambda checkpoint: weights)
        monkeypatch.setattr(generate, "open_model", lambda released: model)
        monkeypatch.chdir(tmp_path)
        clicks(tmp_path / "two.wav", np.array([0.5, 1.5]), 4.0)
        return tmp_path

    def run(self, *words: str) -> int:
        return cli.main(["two.wav", "--seconds", "2", "--seed", "1", "--as", "notes", *words])

    def test_as_if_its_midi_file_were_given(self, folder: Path) -> None:
        assert self.run("--out", "new.mid") == 0
        assert cli.main(["transcribe", "two.wav", "--out", "two.mid"]) == 0
        assert cli.main(["two.mid", "--seconds", "2", "--seed", "1", "--out", "other.mid"]) == 0
        assert (folder / "new.mid").read_bytes() == (folder / "other.mid").read_bytes()
        assert cli.main(["replay", "new.mid", "--out", "again.mid"]) == 0

    def test_the_recording_itself_goes_over_into_sound(self, folder: Path) -> None:
        assert self.run("--out", "new.wav") == 0
        made, rate = soundfile.read(folder / "new.wav", dtype="float32")
        old = soundfile.read(folder / "two.wav", dtype="float32")[0]
        join = round(2.5 * rate)  # where the second click's note ends
        assert rate == SAMPLE_RATE and made.ndim == 1 and len(made) > join + 2 * rate
        assert np.array_equal(made[: join - rate // 5], old[: join - rate // 5])
        assert sorted(path.name for path in folder.iterdir()) == ["new.wav", "two.wav"]

    def test_both_and_several(self, folder: Path) -> None:
        assert self.run("--out", "new.mid", "--audio", "new.flac", "--num-samples", "2") == 0
        assert len(list(folder.glob("new-?.*"))) == 4

    def test_only_its_beginning(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("--out", "new.mid", "--prime-seconds", "1") == 0
        assert prime_notes(read_text((folder / "new.mid").read_bytes())) == 1
        assert self.run("--out", "none.mid", "--prime-seconds", "0.3") == 2
        assert "nothing is played in the first 0.3 seconds" in capsys.readouterr().err

    def test_what_does_not_fit_is_refused(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for words, told in (
            (("--out", "new.wav", "--audio", "other.wav"), "--out new.wav is sound already"),
            (("--out", "two.wav"), "two.wav is the prime itself"),
            (("--out", "new.mid", "--audio-model"), "leave them out, or --as notes"),
        ):
            assert self.run(*words) == 2
            assert told in capsys.readouterr().err
        assert cli.main(["bach", "--out", "new.mid", "--as", "sound"]) == 2
        assert "--as says how a recording is continued" in capsys.readouterr().err
        assert [path.name for path in folder.iterdir()] == ["two.wav"]

    @pytest.mark.parametrize("installed", [True, False])
    def test_notes_are_the_default_where_they_can_be_heard(
        self, installed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(transcription, "is_installed", lambda: installed)
        assert cli.main(["two.wav", "--out", "new.mid", "--seconds", "2"]) == (0 if installed else 2)
        assert installed or "as notes it may be MIDI: --as notes, after pip install" in capsys.readouterr().err


@pytest.mark.usefixtures("hears")
def test_python_has_it(tmp_path: Path) -> None:
    """What it saves is what the command writes; what cannot be read is told before a transcriber is loaded."""
    path = clicks(tmp_path / "two.wav", np.array([0.5, 1.5]), 3.0)
    done: list[float] = []
    heard = musicgen.transcribe(path, on_progress=done.append)
    assert len(heard.music) == 2 and heard.seconds == pytest.approx(3.0)
    assert cli.main(["transcribe", str(path), "--out", str(tmp_path / "two.mid"), "--quiet"]) == 0
    assert heard.save(tmp_path / "same.mid").read_bytes() == (tmp_path / "two.mid").read_bytes()
    with pytest.raises(BadInput, match="mid"):
        heard.save(tmp_path / "two.png")
    with pytest.raises(BadInput, match="no-such.wav"):
        musicgen.transcribe(tmp_path / "no-such.wav")


def test_a_stopped_command_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(samples: np.ndarray, listening: Listening) -> Heard:
        raise KeyboardInterrupt

    monkeypatch.setattr(transcription, "open_transcriber", lambda: stop)
    monkeypatch.chdir(tmp_path)
    clicks(tmp_path / "two.wav", np.array([0.5, 1.5]), 3.0)
    assert cli.main(["transcribe", "two.wav", "--out", "two.mid", "--quiet"]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["two.wav"]


def test_what_cannot_be_heard_is_one_line(tmp_path: Path) -> None:
    path = clicks(tmp_path / "two.wav", np.array([0.5, 1.5]), 3.0)
    with pytest.raises(BadInput, match="no piano is heard in two.wav"):
        transcribe(path, hear_nothing)
    soundfile.write(path, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    with pytest.raises(BadInput, match="two.wav is silent"):
        transcription.survey(path)
    with pytest.raises(BadInput, match="cannot be read"):
        transcription.survey(tmp_path / "none.wav")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no", name="transkun")

    monkeypatch.setattr(transcription, "_load", load)
    with pytest.raises(EnvironmentProblem, match="pip install .*transkun"):
        transcription.open_transcriber()


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs the extra transcribe")
@pytest.mark.filterwarnings("default")  # of Torch
def test_the_real_one_hears_what_was_played(tmp_path: Path) -> None:
    from musicgen.app.render import render

    onset = np.arange(36) * 0.5
    pitch = np.tile([60, 64, 67, 72, 48, 55, 76, 79, 62], 4)
    played = Performance(onset, onset + 0.45, pitch, np.tile([45, 100], 18), np.zeros((0, 2)))
    render(played, tmp_path / "piano.wav")
    told: list[np.ndarray] = []
    hear = transcription.open_transcriber()
    made = transcribe(tmp_path / "piano.wav", hear, on_notes=told.append).music
    assert made.pitch.tolist() == pitch.tolist()
    assert made.onset == pytest.approx(onset, abs=0.05)
    assert len(told) > 1 and np.concatenate(told)[:, 2].tolist() == pitch.tolist()  # window by window, each once
    assert np.concatenate(told)[:, 0] == pytest.approx(onset, abs=0.05)
    assert made.velocity[::2].mean() + 20 < made.velocity[1::2].mean()  # a rendering has a level of its own
    begun: list[tuple[object, ...]] = []
    phrase = np.append(np.zeros(SAMPLE_RATE // 2, np.float32), read_audio(tmp_path / "piano.wav")[: 14 * SAMPLE_RATE])
    heard = hear(phrase, lambda *progress: begun.append(progress))
    assert len(begun) == 1  # what fits is heard in one window
    assert heard.notes[:28, 2].tolist() == pitch[:28].tolist()
    assert heard.notes[:28, 0] == pytest.approx(0.5 + onset[:28], abs=0.05)
