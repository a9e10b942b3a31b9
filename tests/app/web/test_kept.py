"""Nothing heard is lost: a dead server, a reload and a closed tab in the middle leave a take to go on with."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow


class Line:
    """The way from a browser to a site, which can be cut."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url).port
        self.ends: list[socket.socket] = []
        self.open()

    def open(self, port: int = 0) -> None:
        self.door = socket.create_server(("127.0.0.1", port))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.door,), daemon=True).start()

    def _accept(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for one in (self.door, *self.ends):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.ends.clear()


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    line = Line(site.url)
    yield line
    line.cut()


# How many notes of what is being made the browser has kept for whoever opens the page next.
KEPT = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("musicgen-growing");
  opening.onerror = reject;
  opening.onsuccess = () => {
    const reading = opening.result.transaction("events").objectStore("events").getAll();
    reading.onerror = reject;
    reading.onsuccess = () => {
      opening.result.close();
      resolve(reading.result.flatMap(({ event, notes }) => (event === "notes" ? notes : [])).length);
    };
  };
})"""


def begin(visit: Visit, name: str) -> None:
    """Make two minutes of music, and hear the first seconds, of which more than five notes are kept."""
    page = visit.page
    visit.fill("seconds", 120)
    page.click("#mg-make")
    page.wait_for_selector(f".mg-card:has-text('{name}') progress")
    page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0.03")
    deadline = time.monotonic() + 60
    while page.evaluate(KEPT) <= 5:
        assert time.monotonic() < deadline, "hardly anything is kept"
        page.wait_for_timeout(50)


def test_a_server_that_dies_leaves_what_was_heard(browser: Any, site: Site, line: Line) -> None:
    """It is on the list under its name, whose fault it is is said, and it is gone on with when the server is back."""
    visit = Visit(browser, f"http://127.0.0.1:{line.port}", 1440, "light")
    page = visit.page
    with site.held():
        begin(visit, "Take 1")
        line.cut()
        page.wait_for_selector("[data-take='1']")
    told = "Not your fault: the connection to the server was lost. What there was of Take 1 is on the list"
    assert visit.alert().startswith(told)
    assert "stopped early" in page.inner_text("[data-take='1']")
    heard = page.evaluate("async () => (await musicgen.page).store.get(1).music.notes.length")
    assert heard > 5
    visit.finished()
    line.open(line.port)
    page.wait_for_timeout(700)  # a press on Make so soon would be the second half of a double click
    visit.fill("seconds", 5)
    page.click("[data-take='1'] >> button:text-is('Continue')")
    page.wait_for_selector("[data-take='2']")
    visit.finished()
    assert visit.facts().prime_notes == heard, "all of it is continued"
    visit.context.close()
    site.until_idle()


def test_a_page_that_goes_leaves_what_was_heard(browser: Any, site: Site) -> None:
    """Reloaded or closed in the middle, it finds the take when it comes back, once, and its name stays the same."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    page.on("dialog", lambda dialog: dialog.accept())
    with site.held():
        begin(visit, "Take 1")
        page.reload()
        page.wait_for_selector("[data-take='1']")
        told = "Take 1 was being made when the page was closed: what there was is on the list."
        page.locator("#mg-message").filter(has_text=told).wait_for()
        begin(visit, "Take 2")
        page.close()
        page = visit.page = visit.context.new_page()
        page.goto(site.url)
        page.wait_for_selector("[data-take='2']")
        assert page.evaluate("async () => (await musicgen.page).store.get(2).music.notes.length") > 5
    page.reload()
    page.wait_for_selector("[data-take='2']")
    page.wait_for_timeout(300)
    assert page.locator("[data-take]").count() == 2, "what has been taken over is forgotten"
    assert page.locator("[data-take='2'] h3").inner_text() == "Take 2"
    visit.context.close()
    site.until_idle()
