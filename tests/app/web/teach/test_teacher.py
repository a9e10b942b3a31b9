"""Pieces, runs and weights of one's own: what may be asked when, and what is kept."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from musicgen.app.errors import BadInput, Busy
from musicgen.app.web import knowledge
from musicgen.app.web.hosts import Hosts
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.teach.lesson import BROKEN
from musicgen.app.web.teach.shelf import Shelf
from musicgen.app.web.teach.weights import Turn, Weights

from .conftest import Fixture

MIDI = base64.b64encode(b"MThd and so on").decode()


def test_from_pieces_to_weights(fixture: Fixture) -> None:
    """Stopped, gone on with, finished; then they are heard, used and taken away."""
    teacher, shelf = fixture.teacher, fixture.shelf
    assert teacher.about()["weights"] == [] and teacher.about()["unfinished"] == []
    teacher.begin("my rags")
    for number, file in enumerate(("a.mid", "../../a.mid", "noch eins.MIDI"), start=1):
        assert fixture.add("my rags", file, MIDI) == number
    assert sorted(path.name for path in shelf.pieces("my rags").iterdir()) == ["a-2.mid", "a.mid", "noch eins.MIDI"]
    teacher.start("my rags")
    for busy in (lambda: teacher.start("my rags"), lambda: teacher.begin("other"), lambda: teacher.remove("my rags")):
        with pytest.raises(Busy, match="my rags is being taught: wait for its end, or stop it"):
            busy()
    teacher.stop()
    fixture.until("stopped")
    assert teacher.about()["unfinished"] == ["my rags"]
    with pytest.raises(BadInput, match="has not been finished: go on with it, or remove it"):
        teacher.begin("my rags")

    fixture.told("go")
    teacher.start("my rags")
    fixture.until("done")
    about = teacher.about()
    assert about["lesson"]["lines"] == ["3 pieces"] and about["unfinished"] == []
    assert (about["lesson"]["step"], about["lesson"]["steps"], about["lesson"]["seconds_left"]) == (4, 4, 0.0)
    (made,) = about["weights"]
    assert (made["name"], made["before"]["own"], made["after"]["own"]) == ("my rags", 2.0, 1.8)
    assert shelf.sample("my rags", "after", "wav") == b"RIFF after"
    with pytest.raises(BadInput, match="there are weights called my rags already"):
        teacher.begin("my rags")

    asyncio.run(teacher.use("my rags"))
    asyncio.run(teacher.use("piano"))
    assert fixture.used == [str(fixture.folder / "my rags"), "piano"]
    teacher.remove("my rags")
    assert teacher.about()["weights"] == [] and teacher.about()["lesson"] is None
    assert [path.name for path in fixture.folder.iterdir()] == ["go"]


@pytest.mark.parametrize("end", ["die", "fail"])
def test_a_run_that_fails(fixture: Fixture, end: str) -> None:
    """Its line is told, and the pieces stay."""
    fixture.add("mine", "a.mid", MIDI)
    fixture.told(end)
    fixture.teacher.start("mine")
    fixture.until("failed")
    last = fixture.teacher.about()["lesson"]["lines"][-1]
    assert last == (BROKEN if end == "die" else "too little music")
    assert fixture.teacher.about()["unfinished"] == ["mine"]


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 41, " a", "a\n", 3, None, "a.pieces", "Piano"])
def test_names_that_are_none(fixture: Fixture, name: object) -> None:
    for asked in (fixture.teacher.begin, fixture.teacher.start, fixture.teacher.remove):
        with pytest.raises(BadInput, match=r"give the weights a name|comes with the package"):
            asked(name)
    with pytest.raises(BadInput):
        fixture.shelf.sample(name, "before", "mid")


def test_what_cannot_be_sent_or_asked(fixture: Fixture) -> None:
    """Too large, too many, nothing there; weights that were taught to others are not shown."""
    teacher = fixture.teacher
    with pytest.raises(BadInput, match="no pieces for mine: choose some"):
        teacher.start("mine")
    with pytest.raises(BadInput, match="no weights called mine here"):
        asyncio.run(teacher.use("mine"))
    with pytest.raises(BadInput, match="no weights called mine here"):
        teacher.remove("mine")
    with pytest.raises(BadInput, match="too large"):
        fixture.add("mine", "a.mid", base64.b64encode(b"x" * 901).decode())
    for _ in range(2):
        fixture.add("mine", "a.mid", base64.b64encode(b"x" * 900).decode())
    with pytest.raises(BadInput, match="4 files of 0.002 MB together are the most here"):
        fixture.add("mine", "a.mid", base64.b64encode(b"x" * 900).decode())
    with pytest.raises(BadInput, match="a sample is before or after, as mid or wav"):
        fixture.shelf.sample("mine", "between", "mid")
    with pytest.raises(BadInput, match="no such file"):
        fixture.shelf.sample("mine", "before", "mid")
    (fixture.folder / "other" / "report").mkdir(parents=True)
    (fixture.folder / "other" / "report" / "report.json").write_text('{"asked": {"sha256": "def"}}')
    assert teacher.about()["weights"] == []
    nothing = Shelf(fixture.folder / "none", "piano", "abc")
    assert nothing.finished() == [] and nothing.unfinished() == []


def test_other_weights(make_scheduler: Any) -> None:
    """They are opened by the scheduler; those that cannot be leave the ones of before."""
    known = make_scheduler()
    other, turned = SimpleNamespace(), list[int]()
    scheduler = Scheduler([known.notes, Weights(known.notes)])
    assert scheduler.ready.wait(60)

    def damaged() -> Any:
        raise BadInput("they are damaged")

    try:
        *_, event = scheduler.submit(Turn(damaged, lambda: turned.append(1)), "me")
        assert event["event"] == "error" and event["message"] == "they are damaged"
        assert known.notes.model is known.model and not turned
        events = list(scheduler.submit(Turn(lambda: other, lambda: turned.append(2)), "me"))  # type: ignore[arg-type,return-value]
        assert events[-1]["event"] == "end" and known.notes.model is other and turned == [2]
    finally:
        scheduler.close()


@pytest.mark.parametrize(
    ("bound", "given", "own"),
    [
        ("127.0.0.1", [], True),
        ("localhost", [""], True),
        ("::1", [], True),
        ("0.0.0.0", [], False),
        ("192.168.1.5", [], False),
        ("127.0.0.1", ["music.example.org"], False),
        ("127.0.0.1", ["*"], False),
    ],
)
def test_a_machine_of_ones_own(bound: str, given: list[str], own: bool) -> None:
    assert Hosts.of(bound, given).only_here == own


def test_the_server_does_not_load_what_trains() -> None:
    """Absl, which comes with it, closes the server's stderr when that sets up its log."""
    code = "import sys, musicgen.app.web.teach.teacher as _; sys.exit(bool({'absl.logging', 'optax'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_who_is_taught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights that come with the package, also under what was taught them; no others."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    service: Any = SimpleNamespace(limits=None)

    def base_of(**about: Any) -> tuple[str, str] | None:
        teacher = knowledge.open_teacher(service, SimpleNamespace(**about), None)  # type: ignore[arg-type]
        return None if teacher is None else (teacher.shelf.base, teacher.shelf.sha256)

    assert base_of(name="piano", sha256="1", about={}) == ("piano", "1")
    taught = {"base": {"name": "piano", "sha256": "1"}}
    assert base_of(name="mine", sha256="2", about=taught) == ("piano", "1")
    assert base_of(name="mine", sha256="2", about={}) is None
