"""The comparison of sampling settings, from a data set to a table, with a made-up engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from musicgen.app import cli, generate
from musicgen.data_prep import Performance, read_midi, write_midi


@pytest.fixture(scope="session")
def quality(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("benchmarks/quality/quality.py")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three pieces of 30 seconds, all of them for validation."""
    (tmp_path / "midi").mkdir()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        onset = np.sort(rng.uniform(0, 30, 150))
        piece = Performance(onset, onset + 0.2, rng.integers(40, 90, 150), rng.integers(20, 110, 150), np.zeros((0, 2)))
        write_midi(piece, tmp_path / "midi" / f"{seed}.mid")
    table = tmp_path / "splits.csv"
    table.write_text("midi_filename,split\n" + "".join(f"{k}.mid,validation\n" for k in range(3)))
    prep = ["prep", "--midi-dir", tmp_path / "midi", "--csv", table, "--out", tmp_path / "data", "--quiet"]
    assert cli.main([str(part) for part in prep]) == 0
    return tmp_path / "data"


def test_from_data_set_to_table(
    program: Callable[[str], ModuleType],
    quality: ModuleType,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both sets of both settings, each of the right length, without its prime; a second run makes nothing again."""
    fake = program("tests/app/fake_engine.py")
    monkeypatch.setattr(generate, "open_weights", lambda name: None)
    monkeypatch.setattr(generate, "open_model", lambda released: fake.fake_model())
    out = tmp_path / "out"
    command = ["quality.py", str(shards), str(out), "--settings", "0.9:1:0,1:0.98:0.01"]
    options = ["--pieces", "4", "--rows", "3", "--seconds", "8", "--prime-seconds", "5"]
    monkeypatch.setattr(sys, "argv", command + options)
    quality.main()
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted((line["setting"], line["set"]) for line in lines) == [
        (setting, name) for setting in ("0.9:1:0", "1:0.98:0.01") for name in ("nothing", "primed")
    ]
    assert all(line["short"] == 0 and line["score"]["left_out"] == {"samples": 0, "reference": 0} for line in lines)
    pieces = sorted(out.glob("*/*/*/*.mid"))
    assert len(pieces) == 16 and all(len({path.read_bytes() for path in pieces[k : k + 4]}) == 4 for k in (0, 4, 8, 12))
    assert all(6 < read_midi(path)[0].duration < 8.01 for path in pieces)
    real, _ = read_midi(out / "real-validation-8" / "primed" / "001.mid")
    whole, _ = read_midi(shards.parent / "midi" / "1.mid")
    begin = whole.onset[0] + 5
    there = (whole.onset >= begin) & (whole.onset < begin + 8)
    assert np.array_equal(real.pitch, whole.pitch[there])
    assert np.allclose(real.onset, whole.onset[there] - begin, atol=1e-3)
    table = capsys.readouterr().out
    quality.main()
    assert len((out / "results.jsonl").read_text().splitlines()) == 4
    monkeypatch.setattr(sys, "argv", ["quality.py", str(out)])
    quality.main()
    assert (out / "results.md").read_text().count("\n") == 6 and "| 1:0.98:0.01 | primed |" in table


def test_a_row_that_stands_still_is_cut_short(quality: ModuleType) -> None:
    """A model that plays and plays in one moment does not hold up the others for ever."""
    standing, moving = [5] * 8, [5, 268] * 4  # tokens: a note, and 100 ms
    stream = iter([np.array([moving, standing], np.int16)] * 1000)
    rows, short = quality.drawn(stream, 2, 1.0)
    assert short == 1 and rows.shape == (2, quality.MOST_TOKENS)


def test_drift(quality: ModuleType) -> None:
    """A row for every slope that the pieces are long enough for; no table if there is none."""
    interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
    rows = {"velocity_drift": {"unit": "1/min", "samples": interval, "reference": interval}}
    rows["polyphony_drift"] = {"unit": "notes/min", "samples": {"mean": None}, "reference": interval}
    line = {"setting": "1:1:0", "set": "primed", "score": {"drift": rows}}
    shown = quality.drift([line])
    assert shown[3:] == ["| 1:1:0 | primed | velocity_drift | 1/min | 0.5 [0.25, 0.75] | 0.5 [0.25, 0.75] |"]
    del rows["velocity_drift"]
    assert quality.drift([line]) == []


def test_chosen(quality: ModuleType) -> None:
    """At equal distances; each in turn if there are too few."""
    assert quality.chosen(10, 4) == [0, 2, 5, 7] and quality.chosen(3, 5) == [0, 1, 2, 0, 1]


def test_row_without_a_distance(quality: ModuleType) -> None:
    """Measures that no piece has are a dash."""
    means = dict.fromkeys([*quality.SHOWN, *quality.SHARES], 0.25) | {"self_similarity_10s": None}
    score = SimpleNamespace(means=means).__dict__ | {
        "left_out": {"samples": 7},
        "frechet": None,
        "overlap": 0.5,
        "kl": 1.0,
        "starred": ["pitch"],
    }
    row = quality.row_of({"score": score, "setting": "1:1:0", "set": "primed", "short": 3})
    assert row.startswith("| 1:1:0 | primed | - | - | 0.5 | 1 | 1 |") and row.endswith("| - | 25.0% | 25.0% | 3 | 7 |")
