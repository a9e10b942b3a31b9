"""`musicgen evaluate --memorisation` and `--build-index`, through the command."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import provenance as facts
from musicgen.app.cli import main
from musicgen.app.evaluation import memorisation_report
from musicgen.app.provenance import Provenance
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, cut, merge, shift_time, write_midi
from musicgen.data_prep.dataset.augment import transpose
from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes, read_index

TRAINING = ("b/two.mid", "one.mid")


@pytest.fixture
def index_file(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """An index of two pieces, the second with a title, and a background."""
    pieces = [
        (name, title, piece(300, seed)) for seed, (name, title) in enumerate(zip(TRAINING, ("", "A: B"), strict=True))
    ]
    index = dataclasses.replace(build_index(pieces), background=np.array([9, 10, 12, 45], np.int32))
    path = tmp_path / "index.npz"
    path.write_bytes(index_bytes(index))
    return path


@pytest.fixture
def folder(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """A piece of its own, and one that quotes 60 notes of the second piece, three semitones higher."""
    folder = tmp_path / "pieces"
    folder.mkdir()
    write_midi(piece(200, 77), folder / "own.mid")
    source = piece(300, 1)
    quote = shift_time(cut(transpose(source, 3), 0.0, float(source.onset[60])), 30.0)
    write_midi(merge([cut(piece(200, 78), 0.0, 29.0), quote]), folder / "quote.mid")
    return folder


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    assert evaluate(*arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("musicgen: error: ") and err.count("\n") == 1
    return err


def test_a_quotation_is_found_and_named(folder: Path, index_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--memorisation", folder, "--index", index_file, "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["piece"] for row in told["matches"]] == ["own.mid", "quote.mid"]
    match = told["matches"][1]["match"]
    assert (match["name"], match["title"], match["transposition"]) == ("one.mid", "A: B", 3)
    assert match["notes"] >= 58 and match["length"] >= 50 and match["rhythm"] > 0.9
    assert 29.5 < match["start"] < 32 and 0 <= match["from_start"] < 2
    assert match["seconds"] == pytest.approx(match["from_seconds"], abs=0.05)
    own = told["matches"][0]["match"]
    assert own is None or own["length"] < 15
    assert (told["pieces"], told["above"], told["rate"], told["threshold"]) == (
        2,
        1,
        0.5,
        memorisation_report.THRESHOLD,
    )
    assert told["background"]["pieces"] == 4 and told["background"]["rate"] == 0.25
    assert told["quantiles"]["1"] == match["length"]


def test_the_threshold_and_the_table(folder: Path, index_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--memorisation", folder, "--index", index_file, "--threshold", 500, "--quiet") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "quote.mid <- one.mid (A: B)" in lines[1] and "+3 semitones" in lines[1]
    assert lines[2].find("own.mid") > 0
    assert lines[-2].startswith("these pieces: 0 of 2 (0.0%) have a match of 500 or more")
    assert lines[-1].startswith("untrained music, 120 s each: 0 of 4")
    assert evaluate("--memorisation", folder, "--index", index_file, "--limit", 1, "--quiet") == 0
    assert "quote.mid" not in capsys.readouterr().out


def test_the_prime_does_not_count(tmp_path: Path, index_file: Path, piece: Callable[..., Performance]) -> None:
    """A prime out of the training set is the person's, not the model's."""
    prime = cut(piece(300, 1), 0.0, 20.0)
    music = merge([prime, shift_time(piece(100, 79), 21.0)])
    about = Provenance(Settings().resolve(64, 128), 1, 1, "c", "0" * 64, "1" * 64, len(prime), 20.0, "cpu", "0")
    content = write_midi(music, None, text=facts.texts(about, None))
    index = read_index(index_file)
    assert len(memorisation_report.new_notes(content)) == len(music) - len(prime)
    match = memorisation_report.nearest(memorisation_report.new_notes(content), index)
    assert match is None or match["length"] < 15
    whole = memorisation_report.nearest(memorisation_report.new_notes(write_midi(music, None)), index)
    assert whole is not None and whole["notes"] >= len(prime) - 2
    json.dumps(whole)  # plain values: it goes into sidecars


def test_a_broken_file_is_left_out(folder: Path, index_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.mid").write_bytes(b"MThd")
    os.mkfifo(folder / "pipe.mid")
    assert evaluate("--memorisation", folder, "--index", index_file, "--json", "--quiet") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pieces"] == 2
    assert "left out: broken.mid" in err and "left out: pipe.mid" in err


@pytest.fixture
def data(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """A data set by `musicgen prep`: three pieces to train on, the last without a title, and one to test with."""
    source = tmp_path / "source"
    source.mkdir()
    rows = ["canonical_composer,canonical_title,split,midi_filename"]
    for seed, split in enumerate(("train", "train", "train", "test")):
        write_midi(piece(400 if split == "train" else 1000, seed), source / f"{seed}.mid")
        called = ',""' if seed == 2 else f'Composer,"Title, {seed}"'
        rows.append(f"{called},{split},{seed}.mid")
    (source / "all.csv").write_text("\n".join(rows) + "\n")
    assert (
        main(
            [
                "prep",
                "--midi-dir",
                str(source),
                "--csv",
                str(source / "all.csv"),
                "--out",
                str(tmp_path / "data"),
                "--quiet",
            ]
        )
        == 0
    )
    return tmp_path / "data"


def test_an_index_is_built_and_used(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "made.npz", tmp_path / "source" / "all.csv"
    capsys.readouterr()
    assert evaluate("--build-index", data, "--csv", table, "--out", out, "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == out.stat().st_size and told["pieces"] == 3
    assert told["background"]["pieces"] == 2  # of the test piece's 250 seconds
    assert read_index(out).titles == ("Composer: Title, 0", "Composer: Title, 1", "")
    again = tmp_path / "again.npz"
    assert evaluate("--build-index", data, "--csv", table, "--out", again, "--quiet") == 0
    assert again.read_bytes() == out.read_bytes()
    capsys.readouterr()
    assert evaluate("--memorisation", data, "--split", "train", "--index", out, "--json", "--quiet") == 0
    matches = json.loads(capsys.readouterr().out)["matches"]
    assert [row["match"]["name"] for row in matches] == [row["piece"] for row in matches] == ["0.mid", "1.mid", "2.mid"]
    assert evaluate("--memorisation", data, "--split", "test", "--index", out, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["above"] == 0


def test_the_index_of_the_checkpoint_is_the_default(
    tmp_path: Path, folder: Path, index_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "weights"
    mine.mkdir()
    (mine / "SHA256SUMS").write_text("")
    assert "--build-index" in complaint(capsys, "--memorisation", folder, "--checkpoint", mine)
    assert memorisation_report.find_index(str(mine)) is None
    (mine / memorisation_report.FILE).write_bytes(index_file.read_bytes())
    assert evaluate("--memorisation", folder, "--checkpoint", mine, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["above"] == 1
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    monkeypatch.setattr(checkpoints, "DEFAULT", "weights")
    assert memorisation_report.find_index() == mine / memorisation_report.FILE


def test_bad_input_is_one_line(
    tmp_path: Path, folder: Path, index_file: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    index = ("--index", index_file)
    assert "no such index" in complaint(capsys, "--memorisation", folder, "--index", tmp_path / "none.npz")
    assert "is a folder" in complaint(capsys, "--memorisation", folder, "--index", tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK")
    assert "damaged" in complaint(capsys, "--memorisation", folder, "--index", tmp_path / "bad.npz")
    assert "not a folder" in complaint(capsys, "--memorisation", tmp_path / "nowhere", *index)
    (tmp_path / "empty").mkdir()
    assert "no .mid" in complaint(capsys, "--memorisation", tmp_path / "empty", *index)
    assert "--split" in complaint(capsys, "--memorisation", data, *index)
    assert "--threshold" in complaint(capsys, "--memorisation", folder, *index, "--threshold", 0)
    assert "not allowed" in complaint(capsys, "--memorisation", folder, "--midi-dir", folder, *index)
    assert "--out" in complaint(capsys, "--build-index", data)
    assert ".npz" in complaint(capsys, "--build-index", data, "--out", tmp_path / "x.mid")
    assert "musicgen prep" in complaint(capsys, "--build-index", folder, "--out", tmp_path / "x.npz")
    assert "no such csv" in complaint(
        capsys, "--build-index", data, "--out", tmp_path / "x.npz", "--csv", tmp_path / "x.csv"
    )
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert "columns" in complaint(
        capsys, "--build-index", data, "--out", tmp_path / "x.npz", "--csv", tmp_path / "x.csv"
    )
    assert not (tmp_path / "x.npz").exists()


def test_matches_are_told_by_corpus(index_file: Path) -> None:
    """Of an index over several the first folder is the corpus; that of MAESTRO alone has years there."""

    def match(name: str, length: int) -> dict[str, object]:
        places = dict.fromkeys(("start", "seconds", "from_start", "rhythm"), 1.0)
        return {"name": name, "title": "", "length": length, "notes": length, "transposition": 0, **places}

    matches = [match("jazz/a/1.mid", 12), match("jazz/2.mid", 40), match("pop/3.mid", 9), None]
    told = memorisation_report.report(read_index(index_file), [(str(i), m) for i, m in enumerate(matches)], 32)
    assert told["nearest"] == {"jazz": {"pieces": 2, "above": 1}, "pop": {"pieces": 1, "above": 0}}
    assert "by the training piece's folder: jazz 1 of 2, pop 0 of 1" in memorisation_report.text(told).splitlines()
