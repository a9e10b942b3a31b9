"""Several corpora in one data set: whose a piece is, what kind of music that is, and what keeps them apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from musicgen.data_prep.dataset import manifest, prep
from musicgen.data_prep.dataset.prep import PrepError, Source
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.midi import write_midi
from musicgen.data_prep.performance import Performance


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ITEMS_PER_SHARD", 3)


@pytest.fixture
def sources(music_folder: Path, tmp_path: Path) -> list[Source]:
    """Two corpora, one of them with a csv, a file that it does not name and one that is no music."""
    for name in ("early", "late"):
        shutil.copytree(music_folder / name, tmp_path / name)
    rows = "".join(f"piece {i:02}.mid,{split}\n" for i, split in enumerate(("test", "train", "train", "validation")))
    table = tmp_path / "early" / "early.csv"
    table.write_text("midi_filename,split\n" + rows)
    (tmp_path / "late" / "notes.txt").write_text("x")
    return [Source(tmp_path / "late", None, "jazz"), Source(tmp_path / "early", table)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_piece_says_whose_it_is(sources: list[Source], tmp_path: Path) -> None:
    report = prep.run(sources, tmp_path / "set", workers=0)
    told = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert {item["source"] for item in told["items"]} == {"early", "late"}
    assert all(item["name"].startswith(f"{item['source']}/") for item in told["items"])
    assert told["settings"]["splits"] == {"early": "csv", "late": "hash of the name"}
    assert told["sources"] == report.sources and list(report.sources) == ["early", "late"]
    early, late = report.sources.values()
    assert (early["style"], late["style"]) == (None, "jazz")
    assert [early["splits"][split]["pieces"] for split in ("train", "validation", "test")] == [2, 1, 1]
    for split, total in report.totals.items():
        assert {key: early["splits"][split][key] + late["splits"][split][key] for key in ("notes", "tokens")} == {
            key: total[key] for key in ("notes", "tokens")
        }
    assert {entry["name"]: entry["reason"].split(" ")[0] for entry in report.rejected} == {
        "early/piece 04.mid": "not",
        "late/notes.txt": "its",
    }
    training = ShardSet(tmp_path / "set", "train")
    assert training.styles == {"early": None, "late": "jazz"}
    assert [training.source(i) for i in range(2)] == ["early", "early"] and training.name(0) == "early/piece 01.mid"


def test_neither_their_order_nor_who_does_it_matters(sources: list[Source], tmp_path: Path) -> None:
    prep.run(sources, tmp_path / "set", workers=0)
    prep.run(sources[::-1], tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "set")


def test_beam_makes_the_same_bytes(sources: list[Source], tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra `beam`)")
    prep.run(sources, tmp_path / "set", workers=0)
    prep.run(sources, tmp_path / "beam", runner="direct")
    assert contents(tmp_path / "beam") == contents(tmp_path / "set")


def test_a_style_is_changed_without_new_shards(sources: list[Source], tmp_path: Path) -> None:
    made = prep.run(sources, tmp_path / "set", workers=0)
    again = prep.run([sources[1], Source(tmp_path / "late", None, "pop")], tmp_path / "set", workers=0)
    assert again.shards_kept == made.shards
    assert ShardSet(tmp_path / "set", "train").styles == {"early": None, "late": "pop"}


def test_one_corpus_of_a_known_style(music_folder: Path, tmp_path: Path) -> None:
    prep.run([Source(music_folder, None, "pop")], tmp_path / "set", workers=0)
    training = ShardSet(tmp_path / "set", "train")
    assert training.styles == {music_folder.name: "pop"} and training.source(0) == music_folder.name


def test_a_copy_in_another_corpus_is_left_out(sources: list[Source], tmp_path: Path) -> None:
    shutil.copy(tmp_path / "early" / "piece 00.mid", tmp_path / "late" / "piece 20.mid")
    report = prep.run(sources, tmp_path / "set", workers=0)
    assert {"late/piece 20.mid": "the same music as early/piece 00.mid"}.items() <= {
        entry["name"]: entry["reason"] for entry in report.rejected
    }.items()


def refused(sources: Iterable[Source], out: Path, message: str) -> None:
    before = contents(out) if out.exists() else None
    with pytest.raises(PrepError, match=message):
        prep.run(list(sources), out, workers=0)
    assert (contents(out) if out.exists() else None) == before


def test_other_sources_are_refused(
    sources: list[Source], tmp_path: Path, play: Callable[..., Performance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more, one fewer, or one of the same name with other files: what is there stays as it is."""
    out = tmp_path / "set"
    prep.run(sources, out, workers=0)
    refused(sources[:1], out, r"other settings \(splits .* there, .* now\): give a new folder")
    refused([Source(tmp_path / "late")], out, "other settings")
    elsewhere = tmp_path / "elsewhere" / "late"
    elsewhere.mkdir(parents=True)
    for seed in range(3):
        write_midi(play(seed + 50), elsewhere / f"{seed}.mid")
    refused([sources[1], Source(elsewhere)], out, "made from other files of late, of which none is left")
    refused([sources[0], Source(elsewhere)], tmp_path / "new", "two folders are called late")
