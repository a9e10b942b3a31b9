"""The stage in a real browser without a window: a server for the modules and for tones, and a page with helpers."""

from __future__ import annotations

import functools
import http.server
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..conftest import CHROMIUM

HERE = Path(__file__).parent
STATIC = HERE.parents[3] / "app" / "web"
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-gpu", "--disable-dev-shm-usage"]
LEAD = 0.1  # seconds of silence in front of each sample, as encoders leave it
RATE = 22050


@functools.cache
def tone(pitch: int) -> bytes:
    """A decaying sine as a WAV file."""
    import soundfile

    at = np.arange(int(2 * RATE)) / RATE
    wave = 0.8 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * at) * np.exp(-at / 2)
    file = io.BytesIO()
    soundfile.write(file, np.concatenate([np.zeros(int(LEAD * RATE)), wave]), RATE, format="WAV")
    return file.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the modules as they lie in the repository, the test page and the tones."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a module, a tone or the page."""
        path = self.path.split("?")[0]
        kinds = {".js": "text/javascript", ".css": "text/css"}
        if path == "/":
            self.answer(200, "text/html", (HERE / "page.html").read_bytes())
        elif path.startswith(("/player/", "/page/")) and (file := STATIC / path[1:]).suffix in kinds and file.is_file():
            self.answer(200, kinds[file.suffix], file.read_bytes())
        elif path.startswith(("/samples/", "/slow/")):
            if path.startswith("/slow/"):
                time.sleep(0.3)
            self.answer(200, "audio/mpeg", tone(int(Path(path).stem)))
        else:
            self.answer(404, "text/plain", b"none")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Does not wait for connections that a browser keeps open."""

    daemon_threads = True
    block_on_close = False


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the test page is."""
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


# For one module, and not for all: playwright cannot be started twice at a time, and other tests start it, too.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="the browser's driver is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class StagePage:
    """The test page: all that a playwright Page can, and questions about the stage on it."""

    def __init__(self, page: Any) -> None:
        """Wrap a page."""
        self.page = page

    def __getattr__(self, name: str) -> Any:
        """Ask the page itself."""
        return getattr(self.page, name)

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def told(self, name: str) -> list[dict[str, Any]]:
        """The details of the events `musicgen-<name>` so far."""
        return self.page.evaluate("name => told.filter(event => event.name === name)", name)

    def status(self) -> str:
        """The line below the roll."""
        return self.page.evaluate("() => document.querySelector('#stage .mg-status').textContent")

    def loudest(self, seconds: float = 0.1) -> float:
        """The peak of what is heard from now on."""
        return max(self.page.evaluate("seconds => listen(seconds)", seconds))

    def pixel(self, time: float, pitch: float) -> list[int]:
        """The colour on the roll at a time, in the middle of a pitch's row."""
        return self.page.evaluate(
            """([time, pitch]) => {
                const place = stage.place(), scale = devicePixelRatio;
                const [x, y] = [place.x(time) * scale, (place.y(pitch) + place.row / 2) * scale];
                return [...stage.canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
            }""",
            [time, pitch],
        )


class Opener:
    """Opens the test page; no script may fail on it."""

    # Three seconds without a silent moment: a note every quarter of a second; the first second is a prime.
    steady = {  # noqa: RUF012  # nobody changes it
        "notes": [[i / 4, i / 4 + 0.4, 48 + i * 7 % 36, 60 + i * 5, round(i * 0.8, 1)] for i in range(12)],
        "pedal": [[0.5, 127], [0.9, 0]],
        "prime_seconds": 1.0,
        "seconds": 3.2,
    }
    one = {"notes": [[0, 0.3, 60, 100, None]], "pedal": [], "prime_seconds": 0, "seconds": 3.0}  # noqa: RUF012
    last = 48 + 11 * 7 % 36  # the pitch of the last note of `steady`, at 2.75 s

    def __init__(self, browser: Any, address: str) -> None:
        """Open nothing yet."""
        self.browser, self.address = browser, address
        self.contexts: list[Any] = []
        self.errors: list[str] = []
        self.usual: Any = None  # one page for all tests that ask for nothing special: opening pages takes time

    def __call__(
        self,
        music: object = None,
        *,
        width: int = 1000,
        height: int = 760,
        dark: bool = False,
        calm: bool = False,
        sounds: str = "",
        **special: Any,
    ) -> StagePage:
        """A page with a new stage on it.

        Args:
            music: what is shown, if anything.
            width, height, dark, calm: of the window; calm asks for less motion.
            sounds: where samples are; without it plain tones play.
            special: `script` runs before the page's own modules, the rest goes to playwright's new_context.
        """
        if special or self.usual is None:
            page = self._page(**special)
            self.usual = self.usual if special else page
        else:
            page = self.usual
        page.set_viewport_size({"width": width, "height": height})
        theme, motion = "dark" if dark else "light", "reduce" if calm else "no-preference"
        page.emulate_media(color_scheme=theme, reduced_motion=motion)
        page.evaluate("sounds => fresh(sounds)", sounds)
        seen = StagePage(page)
        if music is not None:
            page.evaluate("music => stage.show(music)", music)
        seen.settle()
        return seen

    def _page(self, script: str = "", **special: Any) -> Any:
        context = self.browser.new_context(**special)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        if script:
            page.add_init_script(script)
        page.goto(self.address)
        page.wait_for_function("typeof fresh === 'function'")
        return page

    def tidy(self, everything: bool = False) -> None:
        """Close what was opened for one test."""
        for context in self.contexts:
            if everything or self.usual is None or context is not self.usual.context:
                context.close()
        self.contexts = [] if everything or self.usual is None else [self.usual.context]


@pytest.fixture(scope="module")
def opener(browser: Any, address: str) -> Iterator[Opener]:
    """Opens pages, and keeps one open."""
    opener = Opener(browser, address)
    yield opener
    opener.tidy(everything=True)


@pytest.fixture
def stage(opener: Opener) -> Iterator[Opener]:
    """stage(music) gives the test page with a new stage that shows the music. No script may fail on it."""
    opener.errors.clear()
    yield opener
    opener.tidy()
    assert opener.errors == []
