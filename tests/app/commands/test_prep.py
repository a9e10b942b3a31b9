"""`musicgen prep` as a command: it hands over to data_prep.prep and tells what came of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.app import cli
from musicgen.data_prep import Performance, write_midi


@pytest.fixture
def folder(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """Three pieces and a file that is none."""
    source = tmp_path / "midi"
    source.mkdir()
    for seed in range(3):
        write_midi(piece(20, seed), source / f"{seed}.mid")
    (source / "noise.mid").write_bytes(b"noise")
    return source


def test_report_and_restart(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts per split, what was left out and why; the second run keeps everything."""
    command = ["prep", "--midi-dir", str(folder), "--out", str(tmp_path / "data"), "--workers", "0"]
    assert cli.main(command) == 0
    text = capsys.readouterr()
    assert text.out == "" and "noise.mid: this is not a Standard MIDI File" in text.err
    assert cli.main([*command, "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert captured.err == ""
    assert sum(split["pieces"] for split in told["splits"].values()) == 3
    assert [item["name"] for item in told["rejected"]] == ["noise.mid"]
    assert told["shards_kept"] == told["shards"] > 0


def test_a_foreign_folder_is_not_touched(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out on top of somebody's files: bad input, and they are still there."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    assert cli.main(["prep", "--midi-dir", str(folder), "--out", str(precious)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed")
def test_beam_is_an_extra(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for but absent: exit code 1 and the command that installs it."""
    command = ["prep", "--midi-dir", str(folder), "--out", str(tmp_path / "data"), "--runner", "direct"]
    assert cli.main(command) == 1
    assert "perceiver-musicgen[beam]" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
