"""`musicgen duplicates` and `musicgen prep --leave-out`: what is found is named, and is then no training piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen.app import cli
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.dataset.augment import stretch, transpose
from musicgen.data_prep.dataset.shards import ShardSet


@pytest.fixture
def corpora(tmp_path: Path, piece: Callable[..., Performance]) -> list[str]:
    """Two folders: a test piece, the same composition in another key, and one performance in both; `prep` of both."""
    held_out, shared = piece(150, 0, False), piece(150, 1, False)
    rng = np.random.default_rng(0)
    higher = stretch(transpose(held_out, 1), 0.9)
    played = Performance(higher.onset, higher.end, higher.pitch, rng.integers(20, 110, len(higher)), higher.pedal)
    trimmed = Performance(shared.onset[20:], shared.end[20:], shared.pitch[20:], shared.velocity[20:], shared.pedal)
    for folder, pieces in (
        ("a", {"test": held_out, "one": shared}),
        ("b", {"played": played, "two": trimmed, "alone": piece(150, 2, False)}),
    ):
        (tmp_path / folder).mkdir()
        rows = [f"{name}.mid,{'test' if name == 'test' else 'train'}" for name in pieces]
        (tmp_path / folder / "splits.csv").write_text("\n".join(["midi_filename,split", *rows]) + "\n")
        for name, music in pieces.items():
            write_midi(music, tmp_path / folder / f"{name}.mid")
    folders = [word for name in "ab" for word in ("--midi-dir", str(tmp_path / name))]
    return ["prep", *folders, "--out", str(tmp_path / "set"), "--workers", "0", "--quiet"]


def test_they_are_found_and_left_out(corpora: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(corpora) == 0
    listed = tmp_path / "left_out.txt"
    find = ["duplicates", str(tmp_path / "set"), "--out", str(listed), "--workers", "0"]
    assert cli.main(find) == 0
    said = capsys.readouterr()
    assert listed.read_text() == "b/played.mid\nb/two.mid\n"
    assert "b/two.mid <- a/one.mid (train)" in said.out and "one performance" in said.out
    assert "b/played.mid <- a/test.mid (test), 0.1, +1 semitone\n" in said.out
    assert "2 of 4 training pieces play" in said.out and "a test: 1 of 1 piece is played in training" in said.out
    assert f"2 names; run `musicgen prep` again with --leave-out {listed}" in said.err

    assert cli.main([*corpora, "--leave-out", str(listed), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shards_kept"] == told["shards"] and told["splits"]["train"]["pieces"] == 2
    reasons = {entry["name"]: entry["reason"] for entry in told["rejected"]}
    assert reasons == dict.fromkeys(("b/played.mid", "b/two.mid"), f"left out by {listed.name}")
    training = ShardSet(tmp_path / "set", "train")
    assert [training.name(i) for i in range(len(training))] == ["a/one.mid", "b/alone.mid"]

    assert cli.main([*find, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["pairs"] == [] and again["left_out"] == ["b/played.mid", "b/two.mid"]
    assert listed.read_text() == "b/played.mid\nb/two.mid\n", "the list can be heeded again"


def test_what_cannot_be_asked(corpora: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(corpora) == 0
    (tmp_path / "names.txt").write_text("b/played.mid\nb/ghost.mid\n")
    data = str(tmp_path / "set")
    before = (tmp_path / "set" / "manifest.json").read_bytes()
    for command, message in (
        ([*corpora, "--leave-out", str(tmp_path / "names.txt")], "names b/ghost.mid, and no piece here is called so"),
        ([*corpora, "--leave-out", str(tmp_path / "none.txt")], "none.txt cannot be read: No such file"),
        (["prep", "--audio-dir", data, "--leave-out", "x", "--out", "y"], "--leave-out is for MIDI files"),
        (["duplicates", str(tmp_path)], "make the data set with `musicgen prep`"),
        (["duplicates", data, "--threshold", "0"], "--threshold must be at least 1"),
        (["duplicates", data, "--out", "list.csv"], "--out"),
    ):
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert (tmp_path / "set" / "manifest.json").read_bytes() == before
