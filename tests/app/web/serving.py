"""A site around the made-up engine, in a process of its own, and how tests talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CACHE = Path(__file__).parents[3] / ".pytest_cache" / "home"  # for all sites: it holds the browser's piano


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


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
    folder: Path
    process: subprocess.Popen[str]

    def ask(self, path: str, body: object = None, raw: bytes | None = None, kind: str = "application/json") -> Answer:
        """What the server answers, also if it is a refusal."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Answer(response.status, response.read(), {k.lower(): v for k, v in response.headers.items()})
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), {k.lower(): v for k, v in error.headers.items()})

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Here music gets no further than its first seconds: it is caught at work, however slow whoever catches it."""
        with self._as_told_by("hold"):
            yield

    @contextlib.contextmanager
    def slowed(self) -> Iterator[None]:
        """Here music is made about as fast as on a small machine."""
        with self._as_told_by("slow"):
            yield

    @contextlib.contextmanager
    def _as_told_by(self, name: str) -> Iterator[None]:
        (self.folder / name).touch()
        try:
            yield
        finally:
            (self.folder / name).unlink()

    @property
    def busy(self) -> bool:
        health = self.ask("musicgen/health").json
        return bool(health["batches"] or health["waiting"])

    def until_idle(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while self.busy:
            assert time.monotonic() < deadline, "somebody's place was not freed"
            time.sleep(0.05)


@contextlib.contextmanager
def serving(
    folder: Path, pause: float, prepared: bool = True, sound: Path | None = None, cache: Path = CACHE
) -> Iterator[Site]:
    """The page, its routes and its API around the made-up engine, in a process of its own.

    sound: a folder with a model of sound and a codec, for the Audio tab.
    cache: the user's cache folder.
    """
    pytest.importorskip("gradio", reason="the page needs the extra app")
    environment = {**os.environ, "TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment["XDG_CACHE_HOME"] = str(cache)
    command = [sys.executable, str(Path(__file__).with_name("fake_site.py")), str(pause)]
    command += [str(sound)] if sound is not None else []
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, (folder / "log").read_text()
        site = Site(url, folder, process)
        deadline = time.monotonic() + 240
        while prepared and not site.ask("musicgen/about").json["measured"]:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield site
        deadline = time.monotonic() + 120  # the browser's piano may still be in the making
        while left := [path for path in folder.rglob("*") if path.is_file() and path.name != "log"]:
            assert time.monotonic() < deadline, f"temporary files stay behind: {left}"
            time.sleep(0.05)
        log = (folder / "log").read_text()
        assert "Traceback" not in log, log
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)
