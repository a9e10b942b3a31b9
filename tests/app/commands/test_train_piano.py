"""`musicgen train --preset piano` at toy size: several corpora, gaps, styles, averaged weights in four bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import cli
from musicgen.data_prep import VOCABULARY_2, Performance, write_midi
from musicgen.model import storage

pytestmark = pytest.mark.slow


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and what stands on stderr."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, piece: Callable[..., Performance]) -> Path:
    """Two corpora of a few pieces, prepared in one job."""
    folder = tmp_path_factory.mktemp("corpora")
    given: list[object] = []
    for seed, (name, style) in enumerate((("maestro-v3.0.0", "classical"), ("pijama", "jazz"))):
        (folder / name).mkdir()
        lines = ["split,midi_filename"]
        for number, split in enumerate(("train", "train", "validation")):
            write_midi(piece(80, 10 * seed + number), folder / name / f"{number}.mid")
            lines.append(f"{split},{number}.mid")
        (folder / name / "splits.csv").write_text("\n".join(lines) + "\n")
        given += ["--midi-dir", folder / name, "--style", style]
    made = ["prep", *given, "--out", folder / "set", "--workers", 0, "--quiet"]
    assert cli.main(list(map(str, made))) == 0
    return folder / "set"


def test_to_its_last_line(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped and gone on with it leaves the weights of a run without a stop: averaged, in four bits, scored as such.

    One test, since all of it is compiled once: a step for rows with gaps takes a CPU longer than it trains.
    """
    train = ("train", "--preset", "toy-piano", "--data", shards, "--no-samples")
    code, said = run(capsys, *train, "--out", tmp_path / "one", "--stop-after", 0)
    assert code == 0 and "stopped at step 5 of 10" in said
    assert "rows of 5" in said, "in proportion to the notes, unless asked otherwise"
    assert run(capsys, *train, "--out", tmp_path / "one")[0] == 0
    assert run(capsys, *train, "--out", tmp_path / "whole")[0] == 0
    stopped, whole = (checkpoints.load(tmp_path / name / "weights") for name in ("one", "whole"))
    assert all(np.array_equal(x, whole.weights[name]) for name, x in stopped.weights.items())
    assert whole.tokenizer == VOCABULARY_2.to_json() and whole.about["steps"] == 10
    assert storage.bits(whole.weights) == 4
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert {"nats", "nats_full", "nats_gaps"} <= lines[0].keys()
    assert lines[-1]["validation_nats_maestro-v3.0.0"] > 0 and lines[-1]["validation_nats_pijama"] > 0

    shares = ("--share", "pijama=3", "--share", "maestro-v3.0.0=1")
    start = ("--start", stopped.folder, "--stop-after", 0)
    code, said = run(capsys, *train, *shares, *start, "--out", tmp_path / "two")
    assert code == 0 and "rows of 25.0% maestro-v3.0.0, 75.0% pijama" in said
    assert checkpoints.load(tmp_path / "two" / "weights").about["start"]["steps"] == 10


@pytest.mark.parametrize(
    ("preset", "option", "message"),
    [
        ("toy-piano", ("--share", "pijama=1"), "--share names pijama, but the corpora of"),
        ("toy-piano", ("--share", "pijama"), "--share pijama: give a corpus and a number above 0"),
        ("toy-piano", ("--share", "pijama=-1"), "--share pijama=-1: give a corpus"),
        ("toy-piano", ("--one-setting",), "--one-setting does not go with --preset toy-piano"),
        ("toy-piano", ("--batch", "32"), "batch must be a multiple of 24, not 32"),
        ("toy-piano", ("--start", "maestro-tiny"), "those weights know neither gaps nor styles"),
        ("toy", ("--share", "pijama=1"), "--share does not go with --preset toy"),
    ],
)
def test_what_cannot_be_asked(
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    preset: str,
    option: tuple[str, ...],
    message: str,
) -> None:
    code, said = run(capsys, "train", "--preset", preset, "--data", shards, "--out", tmp_path / "run", *option)
    assert code == 2 and message in said and said.count("\n") == 1
