"""Which pieces there are and where they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.dataset.pieces import Item
from musicgen.data_prep.dataset.splits import (
    MIDI_SUFFIXES,
    assign,
    find_midi,
    find_others,
    find_table,
    read_splits,
    split_by_hash,
)
from musicgen.data_prep.errors import PrepError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def splits_of(names: Iterable[str], table: Path | None) -> dict[str, str | None]:
    return {item.name: split for item, split in assign((Item(name, "", "") for name in names), table)}


def test_finds_midi_files_at_any_depth_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.MID", "a/z.midi", "a/deep/x.mid", "notes.txt", "a/._z.midi", "a.wav", "k.kar", "s.SMF", "r.rmi")
    assert find_midi(tmp_path) == ("a/deep/x.mid", "a/z.midi", "b.MID", "k.kar", "r.rmi", "s.SMF")


def test_every_other_file_is_named_but_the_csv_and_the_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "b.mid", "notes.txt", "a/._z.midi", "a/song", "table.csv", "set/manifest.json")
    others = find_others(tmp_path, MIDI_SUFFIXES, (tmp_path / "table.csv", tmp_path / "set", None))
    assert sorted(entry["name"] for entry in others) == ["a/._z.midi", "a/song", "notes.txt"]
    assert list(find_others(tmp_path / "b.mid", MIDI_SUFFIXES, ())) == []


def test_a_folder_without_midi_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"no \.mid, .* or \.rmi file in .*" + tmp_path.name):
        find_midi(tmp_path)
    with pytest.raises(PrepError, match="nowhere is not a folder"):
        find_midi(tmp_path / "nowhere")


def test_hashed_splits_have_their_shares() -> None:
    counts = Counter(split_by_hash(f"folder/piece {i}.mid") for i in range(20_000))
    assert 0.89 < counts["train"] / 20_000 < 0.91
    assert 0.045 < counts["validation"] / 20_000 < 0.055
    assert 0.045 < counts["test"] / 20_000 < 0.055


def test_hashed_splits_never_change() -> None:
    """Written down, since a change would move pieces of data sets that exist between training and test."""
    assert [i for i in range(60) if split_by_hash(f"{i}.mid") == "test"] == [39, 51, 55]
    assert [i for i in range(60) if split_by_hash(f"{i}.mid") == "validation"] == [9, 49]


@given(st.text(st.characters(exclude_characters="/\0.", exclude_categories=["Cs"]), min_size=1))
def test_extension_and_case_do_not_matter(stem: str) -> None:
    assert split_by_hash(f"{stem}.mid") == split_by_hash(f"{stem}.MIDI")
    assert split_by_hash(f"{stem.lower()}.mid") == split_by_hash(f"{stem.lower().upper().lower()}.mid")


def test_other_files_do_not_move_a_piece() -> None:
    few, many = ("a.mid", "b.mid"), tuple(f"{letter}.mid" for letter in "0aab9xyzb")
    assert splits_of(few, None)["b.mid"] == splits_of(many, None)["b.mid"]


def test_a_csv_decides_and_reports_what_it_does_not_name(tmp_path: Path) -> None:
    path = table(tmp_path, '\ufefftitle,split,midi_filename\n"Two\nlines, a comma",test,a.mid\nX,train,b.mid\n')
    assert splits_of(("a.mid", "b.mid", "c.mid"), path) == {"a.mid": "test", "b.mid": "train", "c.mid": None}


@pytest.mark.parametrize("name", ["splits.csv", "MAESTRO.CSV"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_the_csv_of_a_folder_is_found_as_spreadsheets_save_it(name: str, between: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mid", "b.mid")
    text = "title|split|midi_filename\nA|test|a.mid\nX|train|b.mid\n"
    (tmp_path / name).write_text(text.replace("|", between), encoding="utf-8")
    found = find_table(tmp_path)
    assert found == tmp_path / name
    assert read_splits(found) == {"a.mid": "test", "b.mid": "train"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split\ntrain\n", "no column midi_filename"),
        ("", "no column midi_filename or split"),
        ("midi_filename,split\n", "names no file"),
        ("midi_filename,split\na.mid,dev\n", "line 2: split is 'dev', it must be one of train, validation, test"),
        ("midi_filename,split\na.mid\n", "line 2: split is None"),
        ("midi_filename,split\na.mid,train\na.mid,test\n", "line 3: a.mid is in two splits, train and test"),
        ("midi_filename,split\na.mid,train\ngone.mid,train\n", r"1 of the 2 files in .* cannot be found \(gone.mid\)"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PrepError, match=message):
        splits_of(("a.mid",), table(tmp_path, text))


def test_a_missing_csv_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"none\.csv does not exist"):
        read_splits(tmp_path / "none.csv")
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    with pytest.raises(PrepError, match=r"noise\.csv cannot be read as text"):
        read_splits(tmp_path / "noise.csv")
    with pytest.raises(PrepError, match="cannot be read"):
        read_splits(tmp_path)
