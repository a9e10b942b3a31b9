"""Folders of music for benchmarks/tuning: what is written out of a table of notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from musicgen.data_prep import read_midi

COLUMNS = ("quarterbeats_all_endings", "duration_qb", "staff", "tied", "midi")


def test_a_table_of_notes(tmp_path: Path, program: Callable[[str], ModuleType]) -> None:
    """Quarters become seconds, what is tied is one note, and a key that is struck again is another."""
    rows = [("0", "2.0", "1", "1", "60"), ("0", "1.0", "2", "", "48"), ("2", "0.5", "1", "-1", "60")]
    rows += [("5/2", "0.5", "1", "", "60")]
    table, out = tmp_path / "a.notes.tsv", tmp_path / "a.mid"
    table.write_text("\n".join("\t".join(row) for row in (COLUMNS, *rows)) + "\n")
    program("benchmarks/tuning/folders.py").from_table(table, out)
    music, _ = read_midi(out.read_bytes())
    assert music.pitch.tolist() == [48, 60, 60]
    assert music.onset.round(2).tolist() == [0, 0, 1.25] and music.end.round(2).tolist() == [0.5, 1.25, 1.5]
