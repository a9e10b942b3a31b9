"""`musicgen evaluate --samples`: two folders in, a table, JSON or pictures out; bad input is one line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.app import cli
from musicgen.app.evaluation import samples_report
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.evaluation.measures import UNITS


@pytest.fixture
def folders(tmp_path: Path, piece: Callable[..., Performance]) -> tuple[str, str]:
    """Five pieces, three others and a file that is none."""
    for name, seeds in (("reference", range(5)), ("samples", range(5, 8))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            write_midi(piece(80, seed), tmp_path / name / f"{seed}.mid")
    (tmp_path / "samples" / "noise.mid").write_bytes(b"noise")
    return str(tmp_path / "samples"), str(tmp_path / "reference")


def evaluate(*arguments: object) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def test_json(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """One object with every measure; what was left out is counted and named; the same again with the same seed."""
    command = ["--samples", folders[0], "--midi-dir", folders[1], "--json", "--quiet"]
    assert evaluate(*command) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["pieces"] == {"samples": 3, "reference": 5} and told["left_out"] == {"samples": 1, "reference": 0}
    assert "left out: noise.mid: this is not a Standard MIDI File" in captured.err
    assert set(told["measures"]) == set(UNITS)
    assert told["measures"]["pedal_down"]["samples"]["pieces"] == 3
    assert evaluate(*command) == 0 and json.loads(capsys.readouterr().out) == told
    assert evaluate(*command, "--seed", 1) == 0 and json.loads(capsys.readouterr().out) != told


def test_table(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A row for every measure; only the first seconds if asked for."""
    assert evaluate("--samples", folders[0], "--midi-dir", folders[1], "--seconds", 5, "--limit", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 samples (0 left out), 5 pieces of reference (0 left out)"
    rows = {line.split()[0]: line for line in lines if line}
    assert set(UNITS) <= set(rows)
    assert float(rows["seconds"].split()[2]) == pytest.approx(5, abs=0.3)


def test_data_sets(folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Either side may be a split of a data set: the notes are the same as from its files, only the pedal is gone."""
    table = tmp_path / "splits.csv"
    table.write_text("midi_filename,split\n" + "".join(f"{k}.mid,{'test' if k > 1 else 'train'}\n" for k in range(5)))
    data = tmp_path / "data"
    command = ["prep", "--midi-dir", folders[1], "--csv", str(table), "--out", str(data), "--workers", "0", "--quiet"]
    assert cli.main(command) == 0
    told = []
    for reference in (("--data", data), ("--midi-dir", folders[1], "--csv", table)):
        assert evaluate("--samples", data, "--samples-split", "train", *reference, "--split", "test", "--json") == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["pieces"] == told[1]["pieces"] == {"samples": 2, "reference": 3}
    from_shards, from_files = (one["measures"] for one in told)
    assert from_shards["pedal_down"]["reference"]["mean"] is None
    assert from_files["pedal_down"]["reference"]["mean"] > 0
    for name in ("duration", "polyphony", "notes_per_second", "pitch_class_entropy"):
        assert from_shards[name] == from_files[name]


@pytest.mark.slow
def test_plots(folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four pictures, also where measures are missing."""
    pytest.importorskip("matplotlib")
    assert evaluate("--samples", folders[0], "--midi-dir", folders[1], "--plots", tmp_path / "new" / "plots") == 0
    made = {path.name: path.read_bytes()[:8] for path in (tmp_path / "new" / "plots").iterdir()}
    assert made == dict.fromkeys(samples_report.PICTURES, b"\x89PNG\r\n\x1a\n")
    assert "most_repeats" in capsys.readouterr().out


def test_plots_without_matplotlib(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before the work, with what to do; exit code 1."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert evaluate("--samples", folders[0], "--midi-dir", folders[1], "--plots", tmp_path / "plots") == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "pip install matplotlib" in captured.err
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize(
    "command, message",
    [
        (["--samples", "absent", "--midi-dir", "reference"], "absent is not a folder"),
        (["--samples", "samples", "--midi-dir", "absent"], "absent is not a folder"),
        (["--samples", "empty", "--midi-dir", "reference"], "no .mid, .midi, .kar, .smf or .rmi file in empty"),
        (["--samples", "one", "--midi-dir", "reference"], "the samples have 1"),
        (["--samples", "samples", "--midi-dir", "one"], "the reference have 1"),
        (["--samples", "samples"], "--midi-dir"),
        (["--samples", "samples", "--data", "reference"], "--split"),
        (["--samples", "samples", "--data", "reference", "--split", "test"], "musicgen prep"),
        (["--samples", "samples", "--midi-dir", "reference", "--split", "tset"], "no piece in the split 'tset'"),
        (["--samples", "one/0.mid", "--samples-split", "test", "--midi-dir", "reference"], "is a file"),
        (["--samples", "samples", "--midi-dir", "reference", "--seconds", "0"], "--seconds must be more than 0"),
        (["--samples", "samples", "--midi-dir", "reference", "--seed", "-1"], "--seed must not be negative"),
        (["--samples", "samples", "--midi-dir", "reference", "--limit", "0"], "--limit must be at least 1"),
        (["--samples", "samples", "--midi-dir", "reference", "--plots", "one/0.mid"], "is not a folder"),
        (["--midi-dir", "reference", "--plots", "plots"], "--plots belongs to --samples"),
        (["--midi-dir", "reference", "--samples-split", "test"], "--samples-split belongs to --samples"),
    ],
)
def test_bad_input(
    folders: tuple[str, str],
    tmp_path: Path,
    piece: Callable[..., Performance],
    command: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, exit code 2."""
    if "--plots" in command:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    write_midi(piece(), tmp_path / "one" / "0.mid")
    (tmp_path / "samples" / "noise.mid").unlink()
    assert evaluate(*command) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("musicgen: error: ") and message in captured.err
    assert "unexpected" not in captured.err
