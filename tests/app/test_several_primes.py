"""Several primes, standard input and output, with a made-up engine."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from musicgen.app import cli, generate, novelty
from musicgen.data_prep import read_midi

OPTIONS = ("--seconds", "3", "--seed", "4")


@pytest.fixture
def opened(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """The fake engine for the command; what it has opened."""
    seen: list[object] = []

    def open_model(released: object) -> generate.Model:
        seen.append(released)
        model: generate.Model = fake.fake_model()
        return model

    config = SimpleNamespace(latents=64, context=256)
    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: SimpleNamespace(config=config))
    monkeypatch.setattr(generate, "open_model", open_model)
    monkeypatch.setattr(novelty, "find_index", lambda checkpoint: None)
    monkeypatch.chdir(tmp_path)
    return seen


def test_each_prime_has_its_piece(opened: list[object], prime_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bytes of each are those of a run of its own; the model is loaded once; options may stand in between."""
    shutil.copy(prime_file, "mine.mid")
    assert cli.main(["mine.mid", *OPTIONS, "bach", "--out-dir", "some/new", "--json"]) == 0
    assert len(opened) == 1
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["out"] for report in reports] == [["some/new/mine.mid"], ["some/new/bach.mid"]]
    for prime in ("mine.mid", "bach"):
        assert cli.main([prime, *OPTIONS, "-o", "alone.mid"]) == 0
        assert Path("alone.mid").read_bytes() == Path("some/new", prime).with_suffix(".mid").read_bytes()


def test_a_folder_holds_samples_and_sound(opened: list[object]) -> None:
    """Named after the prime; 'new' without one."""
    assert cli.main(["satie", *OPTIONS, "--num-samples", "2", "--audio", ".ogg", "--out-dir", "new"]) == 0
    assert cli.main([*OPTIONS, "--out-dir", "new"]) == 0
    names = ["new.mid", "satie-1.mid", "satie-1.ogg", "satie-2.mid", "satie-2.ogg"]
    assert sorted(path.name for path in Path("new").iterdir()) == names


def test_one_bad_prime_does_not_stop_the_others(opened: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    """It is told in its line, and by the exit code."""
    assert cli.main(["none.mid", "bach", *OPTIONS, "--out-dir", "new"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "none.mid" in lines[0] and "1 of 2 primes" in lines[1] and len(lines) == 2
    assert Path("new/bach.mid").is_file()


def test_a_pipe(
    opened: list[object], prime_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """- is standard input and output; the bytes are those of files."""
    assert cli.main([str(prime_file), *OPTIONS, "--out", "new.mid"]) == 0
    pipe = SimpleNamespace(buffer=io.BytesIO(), write=lambda text: len(text), flush=lambda: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(prime_file.read_bytes())))
    monkeypatch.setattr(sys, "stdout", pipe)
    assert cli.main(["-", *OPTIONS, "--out", "-"]) == 0
    assert pipe.buffer.getvalue() == Path("new.mid").read_bytes()
    assert "s of standard input, " in capsys.readouterr().err
    assert cli.main(["-", "-", *OPTIONS, "--out-dir", "new"]) == 2
    assert "can be read once" in capsys.readouterr().err and not Path("new").exists()


def test_a_picture_through_a_pipe(prime_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVG, which is text."""
    pipe = SimpleNamespace(buffer=io.BytesIO(), write=lambda text: len(text), flush=lambda: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(prime_file.read_bytes())))
    monkeypatch.setattr(sys, "stdout", pipe)
    assert cli.main(["roll", "-", "--out", "-"]) == 0
    assert pipe.buffer.getvalue().startswith(b"<svg") and len(read_midi(prime_file)[0]) > 1
