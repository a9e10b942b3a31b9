"""`--checkpoint s3://...` and https://: brought once, checked, and never what a stranger's file names."""

from __future__ import annotations

import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from musicgen import checkpoints
from musicgen.app import library
from musicgen.app.errors import BadInput
from musicgen.checkpoints import remote
from musicgen.checkpoints.remote import fetch
from musicgen.data_prep import stores
from musicgen.data_prep.stores import StoreError

SMALL = checkpoints.FOLDER / "maestro-tiny"
LARGEST = "model-00001-of-00001.safetensors"


@pytest.fixture
def weights(store: Any) -> str:
    """Small ones that come with the package, in the store; of what has no sum they have one file."""
    for path in SMALL.iterdir():
        store.put(f"run/weights/{path.name}", path.read_bytes())
    return f"{store.address}/run/weights"


def test_brought_once(store: Any, weights: str, tmp_path: Path) -> None:
    folder = fetch(weights, tmp_path / "kept")
    assert folder.name == "weights" and checkpoints.load(folder).sha256 == checkpoints.load(SMALL).sha256
    files = "training_files.txt"
    assert (folder / files).read_bytes() == (SMALL / files).read_bytes() and not (folder / "memorisation.npz").exists()
    store.asked.clear()
    assert fetch(weights, tmp_path / "kept") == folder
    assert not any(path.endswith(LARGEST) for _, path in store.asked)
    (folder / LARGEST).write_bytes(b"damaged")
    assert fetch(weights, tmp_path / "kept") == folder and checkpoints.load(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_torn_or_changed_they_are_refused(store: Any, weights: str, tmp_path: Path) -> None:
    """In one line, and nothing is left that could be taken for them."""
    store.spoil("GET", LARGEST, "cut", 1000)
    with pytest.raises(StoreError, match=f"cannot read {weights}/{LARGEST}"):
        fetch(weights, tmp_path / "kept")
    store.faults.clear()
    whole = store.get(f"run/weights/{LARGEST}")
    store.put(f"run/weights/{LARGEST}", whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    with pytest.raises(StoreError, match=f"cannot read {weights}/{LARGEST}: TornError: its checksum differs"):
        fetch(weights, tmp_path / "kept")
    store.put(f"run/weights/{LARGEST}", whole)
    assert not list((tmp_path / "kept").rglob("*.safetensors"))
    assert checkpoints.load(fetch(weights, tmp_path / "kept"))
    with pytest.raises(StoreError, match=f"there is no SHA256SUMS in {store.address}/run: give a folder of weights"):
        fetch(f"{store.address}/run", tmp_path / "kept")
    store.put("bad/SHA256SUMS", b"0" * 64 + b"  ../../evil\n")
    with pytest.raises(StoreError, match="names files outside its folder"):
        fetch(f"{store.address}/bad", tmp_path / "kept")


def test_replaced_while_they_are_read(
    store: Any, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the new ones are read, and not a mixture."""
    shutil.copytree(SMALL, tmp_path / "new")
    config = tmp_path / "new" / "config.json"
    config.write_text(config.read_text() + "\n")
    checkpoints.write_sums(tmp_path / "new")
    bring, times = remote._bring, []

    def replaced(*given: Any) -> None:
        if not times:
            times.append(0)
            for path in (tmp_path / "new").iterdir():
                store.put(f"run/weights/{path.name}", path.read_bytes())
        bring(*given)

    monkeypatch.setattr(remote, "_bring", replaced)
    found = fetch(weights, tmp_path / "kept")
    assert checkpoints.load(found).sha256 == checkpoints.load(tmp_path / "new").sha256


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a web server with the weights that come with the package."""
    handler = partial(Quiet, directory=str(SMALL.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_from_a_web_server(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python, too."""
    monkeypatch.setattr(stores, "WAIT", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = library.load(f"{web}/maestro-tiny/")
    assert (model.name, model.sha256) == ("maestro-tiny", checkpoints.load(SMALL).sha256)
    with pytest.raises(BadInput, match="there is no SHA256SUMS in"):
        library.load(f"{web}/none")
    with pytest.raises(BadInput, match=r"cannot read http://127.0.0.1:9/x/SHA256SUMS: the store cannot be reached"):
        library.load("http://127.0.0.1:9/x")


def test_names_in_files_are_never_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded by a name, as a recipe, a page or an upload gives it, opens no connection; nor does a path."""

    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(stores.Place, "__init__", connect)
    for address in ("s3://bucket/weights", "https://127.0.0.1/weights", "gs://bucket/weights"):
        for name in (address, checkpoints.Name(address)):
            with pytest.raises(checkpoints.UnknownCheckpointError, match="no checkpoint"):
                checkpoints.load(name)
