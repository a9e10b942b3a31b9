"""`musicgen evaluate` as a person meets it: what it says at first, what it knows, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import cli
from musicgen.app.commands.evaluate import Schedule
from musicgen.app.evaluation import likelihood
from musicgen.checkpoints.training_files import HASH, read_training_files, write_training_files
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.dataset import shards
from musicgen.model.windows import windows

TINY = ("--checkpoint", "maestro-tiny", "--latents", "32", "--context", "64", "--stride", "8")


@pytest.fixture
def folder(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """Three pieces."""
    source = tmp_path / "midi"
    source.mkdir()
    for seed in range(3):
        write_midi(piece(60, seed), source / f"{seed}.mid")
    return source


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[str, Any], str]:
    """What --json prints, and what stands on stderr."""
    assert cli.main(["evaluate", *map(str, arguments), "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


@pytest.mark.slow
def test_pieces_that_the_weights_know_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what the files hold, not by their names; of a folder and of a data set."""
    tiny = checkpoints.load("maestro-tiny")
    about = {"model": tiny.config.to_dict(), **tiny.about}
    checkpoints.write(tmp_path / "own", tiny.weights, {"config.json": about, "tokenizer.json": tiny.tokenizer}, "# Own")
    own = ("--checkpoint", tmp_path / "own", *TINY[2:])
    hashes = [shards.sha256((folder / f"{seed}.mid").read_bytes()) for seed in (0, 2)]
    write_training_files(tmp_path / "own", hashes)
    assert read_training_files(tmp_path / "own") == {digest[:HASH] for digest in hashes}
    (folder / "2.mid").rename(folder / "another name.mid")
    report, said = evaluated(capsys, "--midi-dir", folder, *own)
    assert report["trained_on"] == 2 and "own was trained on 2 of 3 pieces, and knows them: 0.mid, another" in said
    report, said = evaluated(capsys, "--midi-dir", folder, *TINY)
    assert "trained_on" not in report and "knows" not in said

    assert cli.main(["prep", "--midi-dir", str(folder), "--out", str(tmp_path / "set"), "--workers", "0"]) == 0
    capsys.readouterr()
    report, said = evaluated(capsys, "--data", tmp_path / "set", "--split", "train", *own)
    assert report["trained_on"] == 2 and "knows them" in said


@pytest.mark.slow
def test_on_a_terminal_every_line_begins_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not behind what is being waited for, nor behind the bar."""
    (folder / "none.mid").write_bytes(b"no MIDI")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, said = evaluated(capsys, "--midi-dir", folder, "--limit", 3, *TINY)
    assert "reading the pieces" in said and "left out: none.mid" in said and "scoring " in said
    assert all(before.endswith(("\r", "\n")) for before in said.split("musicgen: ")[:-1])


def test_released_weights_say_what_they_were_trained_on() -> None:
    """MAESTRO's 962 pieces of the train split; most of these, and pieces of five more corpora."""
    tiny, piano = (read_training_files(checkpoints.find(name)) for name in ("maestro-tiny", "piano"))
    assert len(tiny) == 962 and 5000 < len(piano) < 6000 and 850 < len(tiny & piano) < 962


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(("M", "N", "S"), [(32, 64, 8), (5, 9, 5)])
def test_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch, batch: int, M: int, N: int, S: int) -> None:
    """Known as soon as a second call of the model has shown what one costs, whatever the first has cost."""
    targets = [3, 100, 1000, 31, 33]
    count = sum(len(list(windows(n, N, M, S))) for n in targets)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    schedule = Schedule(targets, M, N, S)
    assert (schedule.tokens, schedule.left) == (sum(targets), count)
    told: list[tuple[int, float]] = []
    for i in range(count):
        now += 0.0 if i % batch else 50.0 if i == 0 else 2.0
        left = schedule.one_more()
        if left is not None:
            told.append((i, left))
    ((when, seconds),) = told
    assert when == batch and seconds == pytest.approx((count - batch) / batch * 2.0)


@pytest.mark.slow
def test_it_says_what_it_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How much there is; nothing if it is to be quiet."""
    report, said = evaluated(capsys, "--midi-dir", folder, *TINY)
    assert f"scoring {report['tokens']} tokens of 3 pieces with maestro-tiny" in said
    assert evaluated(capsys, "--midi-dir", folder, *TINY, "--quiet")[1] == ""


@pytest.mark.slow
def test_both_engines_agree(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """To a thousandth of a nat, with weights as released."""
    found = []
    for backend in ("onnxruntime", "jax"):
        monkeypatch.setenv("MUSICGEN_BACKEND", backend)
        found.append(evaluated(capsys, "--midi-dir", folder, *TINY)[0])
    for key in ("nats_per_token", "bits_per_note", "bits_per_second"):
        assert found[0].pop(key) == pytest.approx(found[1].pop(key), rel=3e-4)
    assert found[0] == found[1]


def test_the_score_so_far_is_that_of_the_windows_so_far() -> None:
    """Stopped after four of them; None before the first."""
    tiny = checkpoints.load("maestro-tiny")
    pieces = [np.array([1, *np.random.default_rng(0).integers(3, 390, 200), 2], np.int16)]
    seen: list[tuple[int, float]] = []
    setting = {"latents": 32, "context": 64, "stride": 8}
    scored = likelihood.score(
        tiny,
        pieces,
        **setting,
        on_progress=lambda far: seen.append((far.tokens, far.nats_per_token)),
        should_stop=lambda: len(seen) == 4,
    )
    assert scored is not None and (scored.tokens, scored.pieces) == (32 + 3 * 8, 0)
    assert (scored.tokens, scored.nats_per_token) == seen[-1]


@pytest.mark.parametrize("scored", [0, 2])
def test_nobody_waits_for_a_window(
    scored: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor for what is compiled before the first one: the score so far is printed."""
    never, waited = threading.Event(), list[bool]()

    def nats_of_pieces(released: object, pieces: list[np.ndarray], *sizes: object) -> Iterator[np.ndarray]:
        for _ in range(scored):
            sizes[3](pieces[0][1:21], np.full(20, 2.5))  # type: ignore[operator]
        signal.raise_signal(signal.SIGTERM)
        waited.append(never.wait(30))
        yield from ()

    monkeypatch.setattr(likelihood, "nats_of_pieces", nats_of_pieces)
    assert cli.main(["evaluate", "--midi-dir", str(folder), *TINY, "--json"]) == 143
    assert not waited
    never.set()
    said = capsys.readouterr()
    if not scored:
        assert said.out == "" and "musicgen: stopped before anything was scored\n" in said.err
        return
    report = json.loads(said.out)
    assert (report["tokens"], report["nats_per_token"], report["stopped"], report["pieces"]) == (40, 2.5, True, 0)


@pytest.mark.parametrize("each", [0.005, 2.0])
def test_how_long_it_takes_is_told_at_the_start(each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, after a second of windows that take no time, or after the first that does."""
    now = 100.0
    monkeypatch.setattr("musicgen.app.commands.evaluate.time.monotonic", lambda: now)
    schedule, told = Schedule([1_064], 64, 64, 1), list[tuple[int, float]]()
    for window in range(1_001):
        now += each
        left = schedule.one_more()
        if left is not None:
            told.append((window, left))
    ((window, left),) = told
    assert window * each <= 2.01
    assert left == pytest.approx((1_000 - window) * each, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_prints_the_score_so_far(tmp_path: Path, piece: Callable[..., Performance], number: int) -> None:
    """Within seconds, as JSON that says so, with the exit code of the signal."""
    for seed in range(40):
        write_midi(piece(400, seed), tmp_path / f"{seed:02}.mid")
    command = [sys.executable, "-m", "musicgen.app", "evaluate", "--midi-dir", str(tmp_path), *TINY, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if "this will take about" in line:
                break
        os.kill(process.pid, number)
        began = time.monotonic()
        report, said = json.loads(process.stdout.read()), process.stderr.read()
        assert process.wait() == 128 + number and time.monotonic() - began < 5
    assert report["stopped"] and report["tokens"] > 0 and report["pieces"] < 40
    assert f"stopped after {report['tokens']:,} of" in said and 1 < report["nats_per_token"] < 8


@pytest.mark.slow
def test_each_corpus_of_a_data_set_has_a_score(
    folder: Path, tmp_path: Path, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the pieces of that corpus alone; together they are the score of all."""
    (tmp_path / "more").mkdir()
    write_midi(piece(30, 8), tmp_path / "more" / "one.mid")
    (tmp_path / "more" / "more.csv").write_text("midi_filename,split\none.mid,test\n")
    rows = "".join(f"{path.name},test\n" for path in sorted(folder.glob("*.mid")))
    (folder / "splits.csv").write_text("midi_filename,split\n" + rows)
    both = ("--midi-dir", folder, "--midi-dir", tmp_path / "more")
    assert cli.main(["prep", *map(str, both), "--out", str(tmp_path / "set"), "--workers", "0", "--quiet"]) == 0
    told, _ = evaluated(capsys, "--data", tmp_path / "set", "--split", "test", *TINY)
    corpora = told["corpora"]
    assert {name: found["pieces"] for name, found in corpora.items()} == {folder.name: 3, "more": 1}
    assert sum(found["tokens"] for found in corpora.values()) == told["tokens"]
    alone, _ = evaluated(capsys, "--midi-dir", tmp_path / "more", "--split", "test", *TINY)
    assert corpora["more"]["nats_per_token"] == pytest.approx(alone["nats_per_token"], abs=1e-6)
    assert "corpora" not in alone
    capsys.readouterr()
    assert cli.main(["evaluate", "--data", str(tmp_path / "set"), "--split", "test", *TINY, "--quiet"]) == 0
    assert f" more ({alone['tokens']:,} tokens)" in capsys.readouterr().out
