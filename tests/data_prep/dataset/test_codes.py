"""Codes of recordings on disk: what was written is what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicgen.data_prep.dataset import codes
from musicgen.data_prep.dataset.shards import ShardError


def written(folder: Path) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    recordings = [(f"{i}.wav", rng.integers(0, 1024, (n, 4))) for i, n in enumerate((7, 0, 12))]
    items = codes.write_split(folder, "train", recordings, 75)
    items += codes.write_split(folder, "test", [], 75)
    codes.write_manifest(folder, {"codebooks": 4}, {"frame_rate": 75}, items)
    return recordings


def test_codes_come_back(tmp_path: Path) -> None:
    recordings = written(tmp_path)
    train = codes.CodeSet(tmp_path, "train")
    assert (len(train), train.manifest["frame_rate"]) == (3, 75)
    for i, (name, expected) in enumerate(recordings):
        assert train.name(i) == name
        assert train.codes(i).dtype == np.int16
        np.testing.assert_array_equal(train.codes(i), expected)
    assert train.items[2]["seconds"] == 0.16
    assert len(codes.CodeSet(tmp_path, "test")) == 0


def test_what_holds_no_codes_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ShardError, match="is not a split"):
        codes.CodeSet(tmp_path, "all")
    with pytest.raises(ShardError, match="cannot be read"):
        codes.CodeSet(tmp_path, "validation")
    codes.write_split(tmp_path, "train", [("other.wav", np.zeros((3, 4)))], 75)
    with pytest.raises(ShardError, match="is of another job"):
        codes.CodeSet(tmp_path, "train")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ShardError, match="holds no codes"):
        codes.CodeSet(tmp_path, "train")
