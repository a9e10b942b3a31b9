"""Commands that read and write s3://: what they leave, here and there, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from musicgen.app import addresses, cli
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.dataset.shards import ShardSet


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code and what stands on stderr."""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    return code, capsys.readouterr().err


@pytest.fixture
def corpus(store: Any, piece: Callable[..., Performance]) -> str:
    """A folder of MIDI files in the store, with a csv."""
    rows = ["midi_filename,split"]
    for number, split in enumerate(("train", "train", "validation", "test")):
        store.put(f"music/sub/{number}.mid", write_midi(piece(20, number)))
        rows.append(f"sub/{number}.mid,{split}")
    store.put("music/splits.csv", "\n".join(rows).encode())
    return f"{store.address}/music"


def test_a_file_in_and_a_file_out(
    store: Any, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said names the addresses; nothing stays on this machine."""
    song = store.put("in/song.mid", write_midi(piece(20, 1)))
    code, said = run(capsys, "roll", song, "--out", f"{store.address}/out/song.svg")
    assert code == 0 and f"{store.address}/out/song.svg" in said and "musicgen-temporary" not in said
    assert store.get("out/song.svg").startswith(b"<?xml") or b"<svg" in store.get("out/song.svg")
    assert store.names() == ["in/song.mid", "out/song.svg"] and not store.folder.exists()
    store.put("in/noise.mid", b"noise")
    code, said = run(capsys, "roll", f"{store.address}/in/noise.mid", "--out", f"{store.address}/out/x.svg")
    assert code == 2 and f"{store.address}/in/noise.mid: " in said and said.count("\n") == 1
    assert store.names() == ["in/noise.mid", "in/song.mid", "out/song.svg"]


def test_what_cannot_be_sent_is_kept(
    store: Any, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    song = store.put("song.mid", write_midi(piece(20, 1)))
    store.spoil("PUT", "/song.svg", "busy", 1000)
    code, said = run(capsys, "roll", song, "--out", f"{store.address}/song.svg")
    assert code == 2 and f"cannot write {store.address}/song.svg: the store is too busy" in said
    kept = Path(said.rstrip().rpartition("what was made is in ")[2])
    assert b"<svg" in (kept / "song.svg").read_bytes() and store.names() == ["song.mid"]


def test_prep_from_a_store_to_a_store(
    store: Any, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of a data set that was made on this machine; again, nothing is made or sent; read, it is whole."""
    out = f"{store.address}/sets/shards"
    prep = ("prep", "--midi-dir", corpus, "--workers", 0)
    code, said = run(capsys, *prep, "--out", out)
    assert code == 0 and f"musicgen: {out}: 3 shards" in said and str(tmp_path) not in said
    local = tmp_path / "music"
    for name in store.names():
        if name.startswith("music/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(store.get(name))
    assert run(capsys, "prep", "--midi-dir", local, "--workers", 0, "--out", tmp_path / "here")[0] == 0
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir() if path.name != ".lock"}
    assert {name: store.get(f"sets/shards/{name}") for name in here} == here
    assert len(here) == sum(name.startswith("sets/") for name in store.names())

    store.asked.clear()
    code, said = run(capsys, *prep, "--out", out)
    assert code == 0 and "(3 were there already)" in said
    assert {path.partition("/shards/")[2][:5] for method, path in store.asked if method == "PUT"} == {".lock"}
    assert not any(path.endswith((".mid", ".npz")) for _, path in store.asked)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    code, said = run(capsys, "duplicates", out, "--out", tmp_path / "names.txt", "--workers", 0)
    assert code == 0
    (copy,) = (tmp_path / "another machine").rglob("manifest.json")
    assert len(ShardSet(copy.parent, "train")) == 2


def test_prep_that_was_cut_off_is_no_data_set(
    store: Any, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the manifest, which goes last; the same command sends the rest, from what is kept here."""
    out = f"{store.address}/shards"
    prep = ("prep", "--midi-dir", corpus, "--workers", 0, "--quiet", "--out", out)
    store.spoil("PUT", "/train-00000.npz", "torn", 1000)
    code, said = run(capsys, *prep)
    assert code == 2 and f"cannot write {out}/train-00000.npz" in said and said.count("\n") == 1
    assert "the same command sends it" in said and str(store.folder) in said
    assert "shards/manifest.json" not in store.names() and "shards/train-00000.npz" not in store.names()
    code, said = run(capsys, "duplicates", out, "--out", tmp_path / "names.txt")
    assert code == 2 and "manifest.json does not exist" in said
    store.faults.clear()
    store.asked.clear()
    assert run(capsys, *prep) == (0, "")
    sent = [path.rpartition("/")[2] for method, path in store.asked if method == "PUT" and ".lock" not in path]
    assert sent[-1] == "manifest.json" and "train-00000.npz" in sent
    assert not any(path.endswith(".mid") for _, path in store.asked)


def test_a_killed_job_is_gone_on_with(
    store: Any, corpus: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is known to be dead on this machine; while it lives, a second one is refused."""
    out = f"{store.address}/shards"
    prep = ("prep", "--midi-dir", corpus, "--workers", 0, "--quiet", "--out", out)
    assert run(capsys, *prep)[0] == 0
    (mark,) = store.folder.rglob("name")
    store.put("shards/.lock/00000005", json.dumps({"copy": mark.read_text()}).encode())
    assert run(capsys, *prep) == (0, "")
    with addresses.locked(mark.parent / "lock"):
        code, said = run(capsys, *prep)
    assert code == 2 and f"another job on this machine uses {out}" in said


def test_what_is_not_possible_is_told_first(
    store: Any, corpus: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    song = f"{corpus}/sub/0.mid"
    for words, message in {
        ("roll", song, "--out", "https://127.0.0.1/x.svg"): "https://127.0.0.1/x.svg can only be read",
        ("roll", song, "--out", song): f"{song} would be read and written",
        ("roll", f"{corpus}/none.mid", "--out", "x.svg"): f"there is no {corpus}/none.mid: is the address right?",
        ("roll", song, "--out", "s3://nobody-has-it/x.svg"): "there is no bucket nobody-has-it",
        ("roll", song, "--out", store.address): "names a bucket",
        ("prep", "--midi-dir", f"{corpus}x", "--out", "x"): f"{corpus}x is empty, or there is no such folder",
        ("prep", "--midi-dir", corpus, "--out", "x", "--runner", "flink"): "its workers see no copies",
        ("train", "--preset", "tiny", "--data", "x", "--out", corpus, "--distributed"): "all processes write",
        ("app", "--checkpoint", "hdfs://x/y"): "hdfs://x/y is an address that cannot be used here",
    }.items():
        code, said = run(capsys, *words)
        assert code == 2 and message in said and said.count("\n") == 1, said
    assert not (tmp_path / "x").exists() and store.faults == []


def test_a_list_of_pieces_is_gone_on_with(
    store: Any, fake: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On another machine, too: what the store has is passed over."""
    jobs = store.put("jobs.jsonl", b'{"out": "a", "seed": 1}\n{"out": "b", "seed": 2}\n')
    model = fake.fake_model()
    config = SimpleNamespace(latents=64, context=256)
    released = SimpleNamespace(config=config, name="fake", sha256="f" * 64, tokenizer={}, about={})
    monkeypatch.setattr("musicgen.app.generate.open_weights", lambda checkpoint: released)
    monkeypatch.setattr("musicgen.app.batch.making._opened", lambda checkpoint: (model, None))
    monkeypatch.setattr("musicgen.app.novelty.find_index", lambda checkpoint: None)
    monkeypatch.setattr("musicgen.app.styles.styles_of", lambda *about: model.styles)
    make = ("--batch", jobs, "--out-dir", f"{store.address}/new", "--seconds", 2)
    code, said = run(capsys, *make)
    assert code == 0 and f"{store.address}/new" in said
    assert [name for name in store.names() if name.startswith("new/")] == ["new/a.mid", "new/b.mid"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    code, said = run(capsys, *make)
    assert code == 0 and "2 were there already" in said
