"""`musicgen train` for notes: from data to weights that load.  A codec and its codes go that way in tests/runs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import cli, progress
from musicgen.app.commands import train as train_command
from musicgen.app.recipes import CODECS, CODES, NOTES, RECIPES
from musicgen.app.training.codec import choose
from musicgen.checkpoints import codec_release
from musicgen.checkpoints.training_files import read_training_files
from musicgen.data_prep import VOCABULARY, VOCABULARY_2, Performance, write_midi
from musicgen.model import parameters
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.training.metrics import COMPILING

pytestmark = pytest.mark.slow

TOY = NOTES["toy"].train.model


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and what stands on stderr."""
    capsys.readouterr()
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


def figures_of(run_folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, piece: Callable[..., Performance]) -> Path:
    """A data set of a few pieces of MIDI, made by the command."""
    folder = tmp_path_factory.mktemp("notes")
    lines = ["split,midi_filename"]
    for seed, split in enumerate(("train", "train", "validation")):
        write_midi(piece(80, seed), folder / f"{seed}.mid")
        lines.append(f"{split},{seed}.mid")
    (folder / "splits.csv").write_text("\n".join(lines) + "\n")
    made = ["--midi-dir", folder, "--csv", folder / "splits.csv", "--out", folder / "set", "--workers", 0, "--quiet"]
    assert cli.main(["prep", *map(str, made)]) == 0
    return folder / "set"


def test_notes_and_a_fine_tune(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped, gone on with, then begun with the weights of that run: where the one ends the other begins."""
    train = ("train", "--preset", "toy", "--data", shards, "--no-samples")
    code, said = run(capsys, *train, "--out", tmp_path / "one", "--stop-after", 0)
    assert code == 0 and "stopped at step 5 of 10; run the same command again to resume" in said
    code, said = run(capsys, *train, "--out", tmp_path / "one")
    assert code == 0 and f"musicgen --checkpoint {tmp_path / 'one' / 'weights'} --out new.mid" in said
    first = checkpoints.load(tmp_path / "one" / "weights")
    assert first.config == TOY and first.about["steps"] == 10 and "start" not in first.about

    code, _ = run(capsys, *train, "--out", tmp_path / "two", "--start", first.folder, "--steps", 2)
    second = checkpoints.load(tmp_path / "two" / "weights")
    assert code == 0
    assert second.about["start"] == {"name": "weights", "sha256": first.sha256, "steps": 10}
    fresh, tuned = figures_of(tmp_path / "one")[0]["nats"], figures_of(tmp_path / "two")[0]["nats"]
    assert fresh == pytest.approx(np.log(391), abs=0.1) and tuned < fresh - 0.1
    assert "--start " in (second.folder / "CARD.md").read_text()


def test_a_start_gives_the_shape(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe's own shape does not matter; weights of other tokens are refused, and so is a name of none."""
    other = dataclasses.replace(TOY, width=16, context=64)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.1, shape) for name, shape in sorted(parameters.shapes(other).items())}
    checkpoints.release(tmp_path / "other", other, params, VOCABULARY.to_json(), {}, "# Other\n")
    train = ("train", "--preset", "toy", "--data", shards, "--no-samples", "--steps", 2, "--out", tmp_path / "run")
    assert run(capsys, *train, "--start", tmp_path / "other")[0] == 0
    assert checkpoints.load(tmp_path / "run" / "weights").config == other
    second = dataclasses.replace(other, vocab_size=VOCABULARY_2.size)
    params = {name: rng.normal(0, 0.1, shape) for name, shape in sorted(parameters.shapes(second).items())}
    checkpoints.release(tmp_path / "second", second, params, VOCABULARY_2.to_json(), {}, "# Second\n")
    train = (*train[:-1], tmp_path / "another")
    assert run(capsys, *train, "--start", tmp_path / "second")[0] == 0
    assert checkpoints.load(tmp_path / "another" / "weights").tokenizer == VOCABULARY_2.to_json()
    code, said = run(capsys, *train, "--start", "piano-codes")
    assert code == 2 and "other tokens than MIDI's" in said
    code, said = run(capsys, *train, "--start", "nowhere")
    assert code == 2 and "--start: no checkpoint nowhere" in said


@pytest.mark.parametrize(
    ("preset", "option", "message"),
    [
        ("piano-codec", ("--dropout", "0.1"), "--dropout does not go with --preset piano-codec"),
        ("piano-codec", ("--one-setting",), "--one-setting does not go with"),
        ("tiny", ("--steps", "0"), "--steps must be at least 1"),
        ("tiny", ("--dropout", "1"), "--dropout must be at least 0 and below 1"),
        ("mozart", (), "no preset mozart: choose one of toy, toy-piano, tiny, small, release, piano, piano-tiny,"),
        ("tiny", (), "make the data set with `musicgen prep`"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str, option: tuple[str, ...], message: str
) -> None:
    arguments = ("--data", tmp_path, "--out", tmp_path / "run", *option)
    code, said = run(capsys, "train", "--preset", preset, *arguments)
    assert code == 2 and message in said and said.count("\n") == 1


def test_steps_instead_of_the_clock() -> None:
    """The codec's recipe is by the clock, until a number of steps is asked for; one of them decides."""
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    asked = parser.parse_args(["--preset", "piano-codec", "--data", "set", "--out", "run", "--steps", "77"])
    assert CODECS["piano-codec"].train.seconds == 1_080
    changed = train_command._changed(CODECS["piano-codec"], asked).train
    assert (changed.steps, changed.seconds, changed.losses.mel) == (77, 0.0, 15.0)


@pytest.mark.parametrize(
    ("before", "after", "released"),
    [
        ((0.9, 9.0), (0.95, 8.5), 30),  # both are good enough
        ((0.9, 9.0), (1.05, 8.5), 20),
        ((1.2, 9.0), (1.3, 8.5), 30),  # neither is
    ],
)
def test_which_weights_of_a_codec_are_released(
    tmp_path: Path, before: tuple[float, float], after: tuple[float, float], released: int
) -> None:
    codec = CODECS["toy-codec"].train.codec
    params = {name: np.asarray(x) for name, x in parameters.initial(codec, 0, SoundStream).items()}
    for name, step, (mel, si_sdr) in (("before-discriminators", 20, before), ("weights", 30, after)):
        about = {"validation": {"step": step, "mel_6": mel, "si_sdr_6": si_sdr}}
        codec_release.release(tmp_path / name, codec, params, about, "# Toy\n")
    choose(tmp_path)
    assert codec_release.load(tmp_path / "weights").about["validation"]["step"] == released


def test_every_recipe_has_a_kind() -> None:
    assert list(RECIPES) == [*NOTES, *CODES, *CODECS]


def test_the_weights_of_a_run_that_is_done_are_there(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after the last checkpoint and before their release: what is said to be done is whole, and its last."""
    train = ("train", "--preset", "toy", "--data", shards, "--no-samples", "--out", tmp_path)
    assert run(capsys, *train, "--stop-after", 0)[0] == 0
    shutil.copytree(tmp_path / "weights", tmp_path / "older")
    code, said = run(capsys, *train)
    assert code == 0 and "compiling" in said
    last = checkpoints.load(tmp_path / "weights").sha256
    for harm in (lambda folder: None, lambda folder: (folder / "config.json").write_text("{")):
        shutil.rmtree(tmp_path / "weights")
        shutil.copytree(tmp_path / "older", tmp_path / "weights")
        harm(tmp_path / "weights")
        code, said = run(capsys, *train)
        assert code == 0 and "musicgen: done" in said and "compiling" not in said
        assert checkpoints.load(tmp_path / "weights").sha256 == last
    assert len(read_training_files(tmp_path / "weights")) == 2


@pytest.mark.parametrize(("when", "told"), [("step 5", "stopped at step 5 of 10"), ("compiling", "before the first")])
def test_stopped_by_a_signal(
    when: str,
    told: str,
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code is that of the signal, as of every command; what is done is saved, and a line says how to go on."""

    class Told(train_command.Shown):
        def __call__(self, line: str, figures: Mapping[str, float]) -> None:
            super().__call__(line, figures)
            if when in line:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(train_command, "Shown", Told)
    train = ("train", "--preset", "toy", "--data", shards, "--no-samples", "--out", tmp_path)
    code, said = run(capsys, *train)
    assert code == 143 and told in said and "run the same command again to" in said
    assert (tmp_path / "checkpoints" / "5").is_dir() == (when == "step 5")


def test_what_cannot_be_written_is_one_line(shards: Path, tmp_path: Path) -> None:
    """A checkpoint for which there is no room: Orbax and TensorBoard have pages of their own for that.

    Threads of TensorStore come back to a loop that is closed by then, often after the command's own line.
    """
    run = tmp_path / "run"
    train = f"-m musicgen.app train --preset toy --data {shards} --no-samples --steps 5 --out {run}"
    command = ["bash", "-c", f"ulimit -f 4; exec {sys.executable} {train}"]  # no file may have more than 4 kB
    # Neither may leave a part of what it keeps for later runs.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    doing, compiling, step, error = done.stderr.splitlines()
    assert done.returncode == 1 and doing == f"musicgen: training toy on {shards} in {run} ..."
    assert compiling == COMPILING and step.startswith("step 5 ")
    assert error.startswith(f"musicgen: error: cannot write {run}: the file would be larger"), done.stderr


def test_no_validation_piece(
    tmp_path: Path, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    """A line says so."""
    write_midi(piece(80, 0), tmp_path / "0.mid")
    (tmp_path / "splits.csv").write_text("split,midi_filename\ntrain,0.mid\n")
    prep = ("prep", "--midi-dir", tmp_path, "--out", tmp_path / "set", "--workers", 0)
    assert run(capsys, *prep)[0] == 0
    train = ("train", "--preset", "toy", "--data", tmp_path / "set", "--out", tmp_path / "run", "--no-samples")
    code, said = run(capsys, *train, "--stop-after", 0)
    assert code == 0 and "has no validation piece" in said


def test_weights_of_nan_do_not_load(tmp_path: Path) -> None:
    """Or else they would generate for ever."""
    params = {name: np.zeros(shape, np.float32) for name, shape in sorted(parameters.shapes(TOY).items())}
    params["embedding"][3, 2] = np.nan
    checkpoints.release(tmp_path / "nan", TOY, params, VOCABULARY.to_json(), {}, "# NaN\n")
    with pytest.raises(checkpoints.CheckpointError, match="embedding is not finite"):
        checkpoints.load(tmp_path / "nan")


def test_what_is_told_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """First what it does, then a bar of the steps; lines for the rest."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "REDRAW", 0.0)
    with train_command.Shown("training ...") as show:
        show.steps = 30
        show("compiling", {})
        for step in (10, 20, 30):
            show("a line", {"step": step, "nats": 2.5, "steps_per_second": 1.0})
        show("validation_nats 2", {"step": 30, "validation_nats": 2.0})
    said = capsys.readouterr().err
    assert said.startswith("training ...\ncompiling\n") and "a line" not in said
    assert (
        "10 / 30 steps" in said and "30 / 30 steps" in said and "2.500 nats" in said and "validation_nats 2\n" in said
    )
