"""A teacher whose runs are made up: each says what it would do, and goes on when it is let."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musicgen.app.web.limits import Limits
from musicgen.app.web.teach.shelf import Shelf
from musicgen.app.web.teach.teacher import Teacher

# In a module of its own, which the process that teaches can import.
STUDY = """
import json, os, signal, sys, time
from pathlib import Path

def study(told, start, pieces, out):
    leaves = []
    signal.signal(signal.SIGTERM, lambda *_: leaves.append(1))
    here = Path(out).parent
    told.send(("line", f"{len(list(Path(pieces).iterdir()))} pieces"))
    (here / f"{Path(out).name}.tuning").mkdir(exist_ok=True)
    for step in range(1, 5):
        told.send(("step", step, 4, 2.0 - step / 10))
        while step == 2 and not (here / "go").exists():
            if leaves:
                told.send(("stopped",))
                return
            if (here / "die").exists():
                os._exit(3)
            if (here / "fail").exists():
                told.send(("failed", "too little music"))
                return
            time.sleep(0.01)
    report = Path(out) / "report"
    report.mkdir(parents=True)
    for when in ("before", "after"):
        (report / f"{when}.mid").write_bytes(b"MThd " + when.encode())
        (report / f"{when}.wav").write_bytes(b"RIFF " + when.encode())
    facts = {"asked": {"sha256": "abc", "style": None}, "before": {"own": 2.0, "maestro": 1.7},
             "after": {"own": 1.8, "maestro": 1.75}, "copied": {"copies": 1, "pieces": 32, "longest": 40},
             "music": "3 pieces", "warnings": ["One is known."]}
    (report / "report.json").write_text(json.dumps(facts))
    told.send(("done",))
"""


class Fixture:
    """A teacher, and what a test does to its runs."""

    def __init__(self, folder: Path, work: Callable[..., None]) -> None:
        self.folder, self.used = folder, list[str]()
        self.shelf = Shelf(folder, "piano", "abc")
        self.teacher = Teacher(self.shelf, Limits(taught_files=4, taught_bytes=2000, upload_bytes=900), self.use, work)

    async def use(self, weights: str | Path) -> None:
        self.used.append(str(weights))

    def add(self, name: object, file: object, midi: object) -> int:
        return asyncio.run(self.teacher.add(name, file, midi))

    def until(self, state: str) -> None:
        """The run is in this state."""
        deadline = time.monotonic() + 120
        while self.teacher.lesson is None or self.teacher.lesson.state != state:
            assert time.monotonic() < deadline, self.teacher.about()
            time.sleep(0.02)

    def told(self, name: str) -> None:
        """Tell the runs that they may "go" on, or to "die" or "fail"."""
        (self.folder / name).touch()


@pytest.fixture
def fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    (tmp_path / "code").mkdir()
    (tmp_path / "shelf").mkdir()
    name = f"made_up_study_{os.getpid()}"
    (tmp_path / "code" / f"{name}.py").write_text(STUDY)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))  # the process gets it, too
    made = Fixture(tmp_path / "shelf", importlib.import_module(name).study)
    yield made
    made.told("go")
    made.teacher.close()
