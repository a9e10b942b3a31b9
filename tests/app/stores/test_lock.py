"""One job at a time on a folder in a store, and on a folder of this machine, also after a kill."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from musicgen.app.errors import BadInput
from musicgen.app.training.job import alone
from musicgen.data_prep import store_lock
from musicgen.data_prep.files import LOCK
from musicgen.data_prep.store_lock import Lease
from musicgen.data_prep.stores import Place, StoreError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life soon, and a look now and then."""
    monkeypatch.setattr(store_lock, "BEAT", 0.05)
    monkeypatch.setattr(store_lock, "LOOK", 0.05)
    monkeypatch.setattr(store_lock, "LEASE", 60.0)


def left(place: Place, number: int, copy: str = "another") -> None:
    """The lock of a job that was killed."""
    place.write(f".lock/{number:08}", json.dumps({"copy": copy, "host": "far", "process": 7}).encode())


def test_a_living_job_keeps_others_out(store: Any) -> None:
    place = Place(f"{store.address}/run")
    said: list[str] = []
    with Lease(place, "one"), pytest.raises(StoreError, match=r"another job \(process \d+ on .*\) is writing s3://"):
        Lease(place, "two", said.append).__enter__()
    assert "seeing whether it lives" in said[0]
    assert place.files() == {}
    with Lease(place, "two"):
        pass


def test_a_dead_job_does_not(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this very copy at once, of another machine after a while."""
    place = Place(f"{store.address}/run")
    left(place, 3, "one")
    with Lease(place, "one"):
        assert list(place.files()) == [".lock/00000004"]
    left(place, 9)
    monkeypatch.setattr(store_lock, "LEASE", 0.2)
    with Lease(place, "one") as lease:
        assert list(place.files()) == [".lock/00000010"]
        lease.check()
    assert place.files() == {}


def test_of_many_at_once_one_gets_it(store: Any) -> None:
    """And at the most one, after a kill too."""
    place = Place(f"{store.address}/run")
    left(place, 1, "same")
    got: list[Lease] = []
    refused: list[str] = []

    def take(number: int) -> None:
        try:
            got.append(Lease(place, "same" if number == 0 else str(number)).__enter__())
        except StoreError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) <= 1 and len(got) + len(refused) == 4
    for lease in got:
        lease.__exit__(None, None, None)


def test_a_job_that_stood_still_sends_no_more(store: Any) -> None:
    place = Place(f"{store.address}/run")
    with Lease(place, "one") as lease:
        left(place, 8)
        assert lease._lost.wait(60)
        with pytest.raises(StoreError, match=r"another job has taken over s3://.*no more is sent"):
            lease.check()
    assert list(place.files()) == [".lock/00000008"]


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    """The second is refused; what nothing came of leaves nothing."""
    run = tmp_path / "a" / "run"
    with alone(run):
        with pytest.raises(BadInput, match=f"another job is writing {run}: wait for its end"), alone(run):
            pass
        assert (run / LOCK).exists()
    assert not run.exists()
    with alone(run):
        (run / "config.json").touch()
    with alone(run):
        pass
    assert [path.name for path in run.iterdir()] == ["config.json"]
    with pytest.raises(BadInput, match="is a file"), alone(run / "config.json"):
        pass
