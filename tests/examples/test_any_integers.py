"""The example for other integers than music walks its whole way."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "examples" / "any_integers.py"


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("any_integers", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert len(PATH.read_text().splitlines()) < 80


def test_a_run_goes_on_with_the_rows_that_would_have_come() -> None:
    example, tokens = imported(), imported().tokens_of(PATH)
    rows = example.RandomRows(tokens, 2, 9)
    next(rows)
    state, second = rows.get_state(), next(rows)["tokens"]
    other = example.RandomRows(tokens, 2, 9)
    other.set_state(state)
    assert (next(other)["tokens"] == second).all() and second.shape == (2, 9) and second.min() >= 3


@pytest.mark.slow
@pytest.mark.nightly
def test_from_a_text_to_more_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on the repetition of a few letters, it beats the eight bits of bytes that could be anything."""
    text = tmp_path / "text.txt"
    text.write_text("abcdefg " * 200)
    sizes = ["--steps", "12", "--rows", "4", "--context", "32", "--latents", "16", "--sample", "20"]
    monkeypatch.setattr(sys, "argv", ["any_integers", str(text), "--run", str(tmp_path / "run"), *sizes])
    example = imported()
    small = dataclasses.replace(example.PRESETS["tiny"], width=16, heads=1, kv_heads=1, layers=1)
    monkeypatch.setitem(example.PRESETS, "tiny", small)
    example.main()
    told = re.match(r"([\d.]+) bits a byte of (\d+) held-out bytes\n", capsys.readouterr().out)
    assert told is not None and float(told[1]) < 8 and int(told[2]) == 79


def test_a_text_too_short_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("short")
    monkeypatch.setattr(sys, "argv", ["any_integers", str(tmp_path / "text.txt")])
    with pytest.raises(SystemExit) as left:
        imported().main()
    assert left.value.code == 2 and "give a longer text" in capsys.readouterr().err
