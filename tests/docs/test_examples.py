"""The examples of README and docs are run, each document's in the order in which a person would type them.

Notes come from a made-up engine, sound from untrained weights: what is tested is that each line works, not the music.
Lines that need a data set, a keyboard, a server or minutes are only parsed, in test_commands.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen import checkpoints
from musicgen.app import generate, transcription
from musicgen.app.audio import model as audio_model
from musicgen.app.cli import main
from musicgen.app.commands import COMMANDS
from musicgen.checkpoints import codec_release
from musicgen.data_prep import read_midi

from ..app.web.serving import Site, serving
from .documents import BLOCKS, MUSICGEN, ROOT, TEXTS, Block, Command

pytestmark = pytest.mark.slow
NOT_RUN = {
    "app": "serves until it is stopped; its API is run below",
    "live": "needs a MIDI keyboard",
    "bench": "takes minutes",
    "train": "takes minutes",
    "evaluate": "takes minutes",
}
ABSENT = (
    "s3://",
    "https://",
    "maestro-v3.0.0",
    "/shared/",
    "run/weights",
    "my-model",
    "maestro-tiny",
    "piano-tiny",
    "jobs.jsonl",
)  # data sets, weights that are trained first, and a list of pieces
PRIMES = ROOT / "app" / "primes"
SERVER = "http://127.0.0.1:7860"
SECONDS = ("--seconds", "2")
PYTHON = [block for block in BLOCKS if block.language == "python"]


@pytest.fixture
def folder(fake: ModuleType, toy: ModuleType, loud: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A person's folder, with the files that the documents speak of, and models that cost nothing."""
    model = dataclasses.replace(fake.fake_model(), latents=2048, context=4096)
    weights = SimpleNamespace(config=model, name="fake", sha256=model.sha256, folder=checkpoints.find("piano"))
    load = generate.open_weights

    def open_weights(checkpoint: str | None) -> Any:
        return load(checkpoint) if checkpoint == "maestro-tiny" else weights

    monkeypatch.setattr(generate, "open_weights", open_weights)
    monkeypatch.setattr(generate, "open_model", lambda released: model)
    monkeypatch.setattr(audio_model, "MODEL", str(loud / "model"))
    monkeypatch.setattr(codec_release, "DEFAULT", str(loud / "codec"))
    monkeypatch.chdir(tmp_path)
    toy.write_sound(tmp_path / "prime.wav", 1.0)
    toy.write_sound(tmp_path / "piano.flac", 1.0)
    toy.write_sound(tmp_path / "recording.flac", 1.0)
    monkeypatch.setattr(transcription, "open_transcriber", lambda: hear_two_notes)
    (tmp_path / "recordings").mkdir()
    toy.write_sound(tmp_path / "recordings" / "one.wav", 1.0)
    for name in ("prime.mid", "any.mid"):
        shutil.copyfile(PRIMES / "satie.mid", tmp_path / name)
    shutil.copytree(PRIMES, tmp_path / "my-music")
    return tmp_path


def hear_two_notes(samples: np.ndarray, listening: transcription.Listening) -> transcription.Heard:
    return transcription.Heard(np.array([[0.1, 0.4, 60, 70], [0.5, 0.9, 64, 70]]), np.zeros((0, 2)))


def can_be_run(command: Command) -> bool:
    name = command.words[1]
    return name not in NOT_RUN and not any(part in word for word in command.words for part in ABSENT)


def shortened(words: tuple[str, ...]) -> list[str]:
    """The words of a command line, with two seconds of new sound in place of more."""
    sounds = any(word.endswith(".wav") or word == "--audio-model" for word in words[:2])
    return [*words, *SECONDS] if sounds else list(words)


@pytest.mark.parametrize("document", [name for name in TEXTS if any(c.block.document == name for c in MUSICGEN)])
def test_every_command_line_runs(document: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [command for command in MUSICGEN if command.block.document == document and can_be_run(command)]
    for command in lines:
        words = shortened(command.words[1:])
        assert main(words) == 0, (command.name, capsys.readouterr().err)
        for flag in ("--out", "--audio"):
            if flag in words:
                out = folder / words[words.index(flag) + 1]
                if "--out-dir" in words:  # pieces are named after their primes there, and --audio is a type
                    out = folder / words[words.index("--out-dir") + 1] / f"{words[0]}.{out.name}"
                assert out.exists() or out.with_name(f"{out.stem}-1{out.suffix}").exists(), command.name


def test_most_lines_are_run() -> None:
    run = [command for command in MUSICGEN if can_be_run(command)]
    assert {command.words[1] for command in run} >= {"replay", "render", "roll", "codec", "prep"}
    assert len(run) >= 20 and not set(NOT_RUN) - set(COMMANDS)


@pytest.fixture(scope="module")
def site(loud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page that is really served, around the same models."""
    with serving(tmp_path_factory.mktemp("site"), 0.0, sound=loud) as served:
        yield served


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_every_python_block_runs(
    block: Block, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that ask a server are given one, those that teach have learnt already."""
    text = block.text
    if ".tune(" in text:
        monkeypatch.setattr("musicgen.app.tuning.job.teach", lambda teaching: None)
    if SERVER in text:
        text = text.replace(SERVER, request.getfixturevalue("site").url)
    exec(compile(text, block.name, "exec"), {})
    for path in (folder / name for name in ("new.mid", "new.mp3", "new.wav") if f'"{name}"' in block.text):
        if path.suffix == ".mid":
            assert len(read_midi(path)[0]) > 20
        else:
            assert soundfile.info(path).duration > 2.5
