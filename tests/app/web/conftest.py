"""A studio with a made-up engine, and a whole site around it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from musicgen.app.generate import Model
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.studio import Studio
from musicgen.app.web.wish import Order, order_of


class Gated:
    """The fake engine, whose blocks come when the test lets them: by a gate, or one every ``pause`` seconds."""

    def __init__(self, engine: Any, pause: float = 0.0) -> None:
        self.engine, self.pause = engine, pause
        self.gate = threading.Event()
        self.gate.set()
        self.started: list[dict[str, Any]] = []
        self.fail: Exception | None = None

    def start(self, primes: Sequence[np.ndarray], **settings: Any) -> Iterator[np.ndarray]:
        self.started.append({"primes": list(primes), **settings})
        if self.fail is not None:
            raise self.fail
        return self._blocks(self.engine.start(primes, **settings))

    def _blocks(self, stream: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in stream:
            assert self.gate.wait(30), "the test has forgotten its gate"
            time.sleep(self.pause)
            yield block


class Fixture:
    """A studio, its engine, and orders for it."""

    def __init__(self, fake: ModuleType, limits: Limits, pause: float) -> None:
        model: Model = fake.fake_model()
        self.engine = Gated(model.engine, pause)
        object.__setattr__(model, "engine", self.engine)
        self.model = model
        self.dials = Dials(model.latents, model.context)
        self.limits = limits
        self.studio = Studio(lambda: model, limits)
        assert self.studio.ready.wait(10)
        deadline = time.monotonic() + 20
        while self.studio.measuring and time.monotonic() < deadline:
            time.sleep(0.01)
        self.engine.started.clear()

    def order(self, **wish: Any) -> Order:
        return order_of(wish, self.dials, self.model.sha256, self.limits)


@pytest.fixture
def make_studio(fake: ModuleType) -> Iterator[Callable[..., Fixture]]:
    """make_studio(pause=0.0, **limits)"""
    made: list[Fixture] = []

    def make(pause: float = 0.0, **limits: Any) -> Fixture:
        made.append(Fixture(fake, Limits(**limits) if limits else LIMITS, pause))
        return made[-1]

    yield make
    for fixture in made:
        fixture.engine.gate.set()
        fixture.studio.close()


class Answer(NamedTuple):
    """Status, body, headers."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines() if line]


class Site(NamedTuple):
    """A whole site that listens on a port of its own."""

    url: str

    def ask(self, path: str, body: object = None, raw: bytes | None = None, kind: str = "application/json") -> Answer:
        """What the server answers, also if it is a refusal."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.read(), {k.lower(): v for k, v in response.headers.items()})
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), {k.lower(): v for k, v in error.headers.items()})

    @property
    def busy(self) -> bool:
        health = self.ask("musicgen/health").json
        return bool(health["batches"] or health["waiting"])

    def until_idle(self, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while self.busy:
            assert time.monotonic() < deadline, "somebody's place was not freed"
            time.sleep(0.05)


@contextlib.contextmanager
def serving(folder: Path, pause: float) -> Iterator[Site]:
    """The page, its routes and its API around the made-up engine, in a process of its own."""
    pytest.importorskip("gradio", reason="the page needs the extra app")
    environment = {**os.environ, "TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    command = [sys.executable, str(Path(__file__).with_name("fake_site.py")), str(pause)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, (folder / "log").read_text()
        site = Site(url)
        deadline = time.monotonic() + 60
        while not site.ask("musicgen/about").json["measured"]:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield site
        deadline = time.monotonic() + 30  # the browser's piano may still be in the making
        while left := [path for path in folder.rglob("*") if path.is_file() and path.name != "log"]:
            assert time.monotonic() < deadline, f"temporary files stay behind: {left}"
            time.sleep(0.05)
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose engine is quick, but slow enough to be caught at work."""
    with serving(tmp_path_factory.mktemp("site"), 0.01) as served:
        yield served
