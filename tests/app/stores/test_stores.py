"""Transfers to and from a store, whole or not at all, whatever becomes of the connection."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from musicgen.data_prep import stores
from musicgen.data_prep.stores import Place, StoreError

DATA = bytes(range(256)) * 1000


def test_there_and_back(store: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    place = Place(f"{store.address}/dir")
    assert place.files() == {} and place.seen("a") is None
    sent = place.upload(tmp_path / "a", "a")
    place.write("b/c.json", b"{}")
    assert place.files() == {"a": sent, "b/c.json": place.seen("b/c.json")} and sent.size == len(DATA)
    assert place.download(tmp_path / "back", "a") == sent and (tmp_path / "back").read_bytes() == DATA
    assert place.read("b/c.json", 2) == b"{}" and not place.is_file() and Place(f"{store.address}/dir/a").is_file()
    place.remove("a")
    place.remove("a")
    assert list(place.files()) == ["b/c.json"]
    with pytest.raises(StoreError, match="has 2 bytes, 1 are the most"):
        place.read("b/c.json", 1)


@pytest.mark.parametrize("what", ["cut", "busy"])
def test_what_fails_for_a_moment_is_tried_again(store: Any, tmp_path: Path, what: str) -> None:
    store.put("x", DATA)
    store.spoil("GET", "/x", what, 2)  # s3fs tries twice, and we do
    Place(store.address).download(tmp_path / "x", "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_download_that_stays_torn_is_none(store: Any, tmp_path: Path) -> None:
    """After a few tries, in one line; nothing of it lies there."""
    store.put("x", DATA)
    store.spoil("GET", "/x", "cut", 1000)
    with pytest.raises(StoreError, match=f"cannot read {store.address}/x: .*try again") as caught:
        Place(store.address).download(tmp_path / "x", "x")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    gets = [path for method, path in store.asked if method == "GET"]
    assert stores.TRIES <= len(gets) <= 2 * stores.TRIES


def test_a_store_that_stays_busy(store: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    store.spoil("PUT", "/x", "busy", 1000)
    with pytest.raises(StoreError, match=r"the store is too busy for us .*try again later"):
        Place(store.address).upload(tmp_path / "x", "x")
    puts = [path for method, path in store.asked if method == "PUT"]
    assert store.names() == [] and stores.TRIES <= len(puts) <= 2 * stores.TRIES


def test_a_torn_upload_leaves_the_old(store: Any, tmp_path: Path) -> None:
    """Of one part."""
    store.put("x", b"old")
    (tmp_path / "x").write_bytes(DATA)
    store.spoil("PUT", "/x", "torn", 1000)
    with pytest.raises(StoreError, match=f"cannot write {store.address}/x"):
        Place(store.address).upload(tmp_path / "x", "x")
    assert store.get("x") == b"old"
    store.faults.clear()
    Place(store.address).upload(tmp_path / "x", "x")
    assert store.get("x") == DATA


def test_a_torn_upload_of_many_parts(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is not there until all of them are; a part that fails for a moment is sent again."""
    import s3fs.core

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)
    (tmp_path / "x").write_bytes(big := DATA * 48)  # 12 MB
    store.spoil("PUT", "partNumber=2", "torn", 1000)
    with pytest.raises(StoreError, match=f"cannot write {store.address}/x"):
        Place(store.address).upload(tmp_path / "x", "x")
    assert store.names() == []
    store.faults[:] = []
    store.spoil("PUT", "partNumber=2", "torn", 3)
    seen = Place(store.address).upload(tmp_path / "x", "x")
    assert store.get("x") == big and seen.md5 is None  # a sum of sums: the tag is compared before and after
    Place(store.address).download(tmp_path / "back", "x")
    assert (tmp_path / "back").read_bytes() == big


def test_an_object_that_changes_under_the_reader(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came in two parts of two versions, of one size, is not taken."""
    store.put("x", b"a" * 100)
    place = Place(store.address)
    get = place.fs.get_file
    times = []

    def mixed(remote: str, local: str) -> None:
        get(remote, local)
        times.append(0)
        if len(times) == 1:
            store.put("x", b"b" * 100)
            Path(local).write_bytes(b"a" * 50 + b"b" * 50)

    monkeypatch.setattr(place.fs, "get_file", mixed)
    place.download(tmp_path / "x", "x")
    assert (tmp_path / "x").read_bytes() == b"b" * 100 and len(times) == 2
    monkeypatch.undo()


def test_of_several_one_makes_an_object(store: Any) -> None:
    place = Place(store.address)
    assert place.create("lock", b"1") and not place.create("lock", b"2") and store.get("lock") == b"1"
    store.spoil("PUT", "/other", "busy")
    assert place.create("other", b"1")


def test_names_that_lead_outside(store: Any) -> None:
    place = Place(f"{store.address}/dir")
    place.fs.pipe_file(f"{place.root}/a/../../x", b"")
    with pytest.raises(StoreError, match="which no file here can be called"):
        place.files()


def test_what_is_wrong_is_told(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What, where, what to do, at once."""
    for place in (Place("s3://no-such-bucket/x"), Place("s3://no-such-bucket")):
        with pytest.raises(StoreError, match="there is no bucket no-such-bucket for .*make it first"):
            place.files()
    with pytest.raises(StoreError, match="there is no bucket"):
        Place("s3://no-such-bucket/x").write("x", b"")
    with pytest.raises(StoreError, match=f"there is no {store.address}/x: is the address right"):
        Place(f"{store.address}/x").download(tmp_path / "x")
    store.spoil("PUT", "/x", "refused", 1000)
    with pytest.raises(StoreError, match=r"access is refused .*set AWS_ACCESS_KEY_ID"):
        Place(store.address).write("x", b"")
    assert store.faults[0].times == 999
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="the store cannot be reached .*check the network"):
        Place(store.address).files()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(StoreError, match=r"access is refused .*credentials.*set AWS_ACCESS_KEY_ID"):
        Place(store.address).write("x", b"")
    with pytest.raises(StoreError, match="can only be read"):
        Place("https://host/x").write("y", b"")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "s3fs" else find(name))
    with pytest.raises(StoreError, match=r"s3:// needs s3fs: pip install .*s3fs"):
        Place(store.address)
