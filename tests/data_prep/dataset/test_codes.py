"""Codes of recordings on disk: what was written is what is read, and a job goes on where it was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from musicgen.data_prep.dataset import codes
from musicgen.data_prep.dataset.codes import CodeSet, Source
from musicgen.data_prep.dataset.shards import ShardError
from musicgen.data_prep.errors import PrepError

Encode = Callable[[Sequence[np.ndarray]], Iterator[np.ndarray]]
CODEC = {"codec": {"codebooks": 4}, "codec_sha256": "c0dec", "frame_rate": 75, "codebooks": 4, "codebook_size": 1024}
FRAMES = {"test": (3,), "train": (7, 0, 12, 5, 9)}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "RECORDINGS_PER_SHARD", 2)


def sources() -> list[Source]:
    return [
        Source(f"{split} {i}.wav", split, f"{split} {i}", np.full(10 * count, 10 * i + len(split), np.int16))
        for split, counts in FRAMES.items()
        for i, count in enumerate(counts)
    ]


def encoder(heard: list[int] | None = None) -> Encode:
    """A frame of four codes from every ten samples; `heard` gets the number of recordings of each call."""

    def encode(waves: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        if heard is not None:
            heard.append(len(waves))
        for wave in waves:
            yield wave.reshape(-1, 10)[:, :4] + np.arange(4)

    return encode


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_codes_come_back(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = codes.run(
        sources(), tmp_path, encoder(), CODEC, on_progress=lambda done, total: told.append((done, total))
    )
    assert (report.shards, report.shards_kept) == (4, 0)
    assert report.totals["train"] == {"recordings": 5, "seconds": pytest.approx(33 / 75, abs=0.003)}
    assert told == [(0, 360), (30, 360), (100, 360), (270, 360), (360, 360)]
    train = CodeSet(tmp_path, "train")
    assert (len(train), train.manifest["frame_rate"], train.manifest["codec"]) == (5, 75, {"codebooks": 4})
    expected = [source for source in sources() if source.split == "train"]
    for i, source in enumerate(expected):
        assert train.name(i) == source.name
        assert train.codes(i).dtype == np.int16
        np.testing.assert_array_equal(train.codes(i), next(encoder()([source.samples])))
    assert train.items[2]["seconds"] == 0.16
    assert len(CodeSet(tmp_path, "test")) == 1 and len(CodeSet(tmp_path, "validation")) == 0


def test_one_file_a_split_is_read_too(tmp_path: Path) -> None:
    """As the codes lay at first, and with what the first data sets said of themselves."""
    made = np.arange(40).reshape(10, 4).astype(np.int16)
    np.save(tmp_path / "train.npy", made)
    items = [{"name": f"{i}.wav", "split": "train", "first": 4 * i, "frames": 4 + 2 * i} for i in range(2)]
    manifest = {"format": "musicgen-codes/1", **CODEC, "items": items}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    train = CodeSet(tmp_path, "train")
    np.testing.assert_array_equal(train.codes(0), made[:4])
    np.testing.assert_array_equal(train.codes(1), made[4:])


def test_killed_at_every_write(tmp_path: Path, killed_at_write: Callable[[int], AbstractContextManager[None]]) -> None:
    """11 writes: the manifest's beginning, a shard and a record each for four shards, the rejects, the manifest."""
    codes.run(sources(), tmp_path / "undisturbed", encoder(), CODEC)
    for last in range(11):
        out = tmp_path / f"killed {last}"
        with killed_at_write(last):
            codes.run(sources(), out, encoder(), CODEC)
        with pytest.raises(ShardError, match=r"unfinished|does not exist"):
            CodeSet(out, "train")
        heard: list[int] = []
        report = codes.run(sources(), out, encoder(heard), CODEC)
        assert report.shards_kept == 4 - len(heard) == max(0, min(4, (last - 1) // 2))
        assert contents(out) == contents(tmp_path / "undisturbed")


def test_only_what_changed_is_encoded_again(tmp_path: Path) -> None:
    codes.run(sources(), tmp_path, encoder(), CODEC)
    heard: list[int] = []
    codes.run(sources(), tmp_path, encoder(heard), CODEC)
    assert heard == []
    other = [Source(s.name, s.split, s.sha256 + "!" * ("train 3" in s.name), s.samples) for s in sources()]
    codes.run(other, tmp_path, encoder(heard), CODEC)
    assert heard == [2]
    with pytest.raises(PrepError, match=r"other settings \(codec_sha256 'c0dec' there, 'another' now\): give a new"):
        codes.run(sources(), tmp_path, encoder(), CODEC | {"codec_sha256": "another"})


def test_what_holds_no_codes_is_refused(tmp_path: Path) -> None:
    codes.run(sources(), tmp_path, encoder(), CODEC)
    with pytest.raises(ShardError, match="is not a split"):
        CodeSet(tmp_path, "all")
    shutil.copy(tmp_path / "train-00000.npy", tmp_path / "train-00001.npy")
    with pytest.raises(ShardError, match="is of another job"):
        CodeSet(tmp_path, "train")
    (tmp_path / "train-00001.npy").unlink()
    with pytest.raises(ShardError, match="cannot be read"):
        CodeSet(tmp_path, "train")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ShardError, match="holds no codes"):
        CodeSet(tmp_path, "train")
