"""Shards on disk: what goes in comes out, and damage is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen.data_prep import files
from musicgen.data_prep.dataset import manifest as ledger
from musicgen.data_prep.dataset import prep, shards
from musicgen.data_prep.dataset.shards import ShardError, ShardSet
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.performance import Performance, apply_pedal
from musicgen.data_prep.tokens import encode

Play = Callable[..., Performance]


@pytest.fixture(scope="module")
def made(music_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    prep.run(music_folder, out, workers=0)
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


def test_a_manifest_takes_little_memory_to_write() -> None:
    """No part of it is long: as one text that of a million pieces would take two gigabytes."""
    value = {"items": [{"name": f"{number:06d}.mid", "remarks": []} for number in range(100)]}
    parts = list(shards.json_parts(value))
    assert max(map(len, parts)) < 40
    assert b"".join(parts).decode() == json.dumps(value, indent=1) + "\n"


def test_pieces_come_back_as_they_went_in(made: Path, music_folder: Path) -> None:
    pieces = ShardSet(made, "train")
    assert len(pieces) >= 8
    for i in range(len(pieces)):
        music, _ = read_midi(music_folder / pieces.name(i))
        assert pieces.notes(i).equals(apply_pedal(music))
        np.testing.assert_array_equal(pieces.tokens(i), encode(music))
        np.testing.assert_array_equal(pieces.tokens(i), encode(pieces.notes(i)))
        assert pieces.token_counts()[i] == len(pieces.tokens(i))
        assert pieces.tokens(i).dtype == np.int16


def test_an_npz_that_numpy_reads_too(play: Play) -> None:
    music = [apply_pedal(play(i)) for i in range(3)]
    tokens = [encode(each) for each in music]
    data = shards.shard_bytes(["a", "ü", "c"], music, tokens)
    arrays = np.load(io.BytesIO(data), allow_pickle=False)
    assert arrays["names"].tolist() == ["a", "ü", "c"]
    np.testing.assert_array_equal(arrays["onset"], np.concatenate([each.onset for each in music]))
    np.testing.assert_array_equal(arrays["tokens"][slice(*arrays["token_offsets"][1:3])], tokens[1])
    assert data == shards.shard_bytes(["a", "ü", "c"], music, tokens)


def test_a_shard_without_pieces() -> None:
    arrays = np.load(io.BytesIO(shards.shard_bytes([], [], [])))
    assert arrays["note_offsets"].tolist() == arrays["token_offsets"].tolist() == [0]


def test_reads_lazily_and_survives_pickling(made: Path) -> None:
    pieces = ShardSet(made, "train")
    assert not pieces._open
    expected = pieces.tokens(1)
    again = pickle.loads(pickle.dumps(pieces))
    assert not again._open
    np.testing.assert_array_equal(again.tokens(1), expected)


def test_few_shards_are_open_at_a_time(music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ITEMS_PER_SHARD", 1)
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    prep.run(music_folder, tmp_path / "set", workers=0)
    pieces = ShardSet(tmp_path / "set", "train")
    first = [pieces.tokens(i) for i in range(len(pieces))]
    assert len(pieces) > 4 and len(pieces._open) == 2
    for i in reversed(range(len(pieces))):
        np.testing.assert_array_equal(pieces.tokens(i), first[i])


@pytest.mark.parametrize("place", [0, 40, 1000, -1])
def test_one_flipped_byte_is_noticed_and_named(copy: Path, place: int) -> None:
    data = bytearray((copy / "train-00000.npz").read_bytes())
    data[place] ^= 4
    (copy / "train-00000.npz").write_bytes(data)
    with pytest.raises(ShardError, match=r"train-00000\.npz is damaged .*prep` again"):
        ShardSet(copy, "train").tokens(0)


@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_cut_shard_is_noticed(copy: Path, length: int) -> None:
    os.truncate(copy / "train-00000.npz", length)
    with pytest.raises(ShardError, match=r"train-00000\.npz"):
        ShardSet(copy, "train").notes(0)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "train-00000.npz").unlink()
    with pytest.raises(ShardError, match=r"train-00000\.npz is missing"):
        ShardSet(copy, "train").notes(0)


def test_what_is_no_data_set_says_so(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"manifest\.json does not exist"):
        ShardSet(tmp_path, "train")
    with pytest.raises(ShardError, match="'dev' is not a split"):
        ShardSet(copy, "dev")
    for content, message in (
        (b"{", "cannot be read"),
        (b"[]", "not a JSON object"),
        (b"{}", "no data set of the format"),
        (b"".join(shards.json_parts({"format": shards.FORMAT, "complete": False})), "is unfinished"),
    ):
        (copy / "manifest.json").write_bytes(content)
        with pytest.raises(ShardError, match=message):
            ShardSet(copy, "train")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                files.write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
