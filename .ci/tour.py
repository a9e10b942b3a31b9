"""Takes the pictures of docs/tour.md from a page that is being served.

musicgen app --port 7871 &
python .ci/tour.py http://127.0.0.1:7871 docs
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

PATIENCE = 180_000  # ms
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def take_pictures(url: str, folder: Path, browser: Any) -> None:
    """Visit the page at an address and write app.png and tour-*.png."""
    page = _open(browser, url, 1280, 800, "light")
    page.screenshot(path=folder / "app.png")
    page.wait_for_selector(".mg-passages:not([hidden])")  # not before the weights are there
    page.evaluate("stage.region.set({ from: 10.2, to: 14.2, low: 66, high: 80 })")
    page.evaluate("document.querySelector('.mg-passages').scrollIntoView({ block: 'nearest' })")
    page.wait_for_timeout(300)
    page.screenshot(path=folder / "tour-passage.png")
    _make(page)
    page.screenshot(path=folder / "tour-take.png")
    page.close()
    phone = _open(browser, url, 390, 780, "dark")
    phone.screenshot(path=folder / "tour-phone.png")
    phone.close()


def _open(browser: Any, url: str, width: int, height: int, scheme: str) -> Any:
    """The first screen, with its example on the roll."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_function("globalThis.musicgen?.page")
    page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
    page.wait_for_function("stage.music.notes.length > 0")
    page.wait_for_timeout(500)
    return page


def _make(page: Any) -> None:
    """Two takes that go on from Bach's opening."""
    page.click(".mg-way:has([value='opening'])")
    page.wait_for_function("stage.selectable")
    page.evaluate("stage.trim.put('to', 10); document.querySelector('#mg-settings').open = true")
    page.fill("#mg-form-takes", "2")
    page.fill("#mg-form-seconds", "15")
    page.evaluate("document.querySelector('#mg-settings').open = false")
    page.click("#mg-make")
    page.wait_for_selector("[data-take='2']")
    page.wait_for_function("document.body.dataset.mgBusy === 'no'")
    page.evaluate("stage.pause(); stage.seek(10); document.querySelector('#mg-shelf').scrollIntoView({ block: 'end' })")
    page.wait_for_timeout(300)


def main(url: str, folder: str) -> None:
    """With the Chromium of the system."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        take_pictures(url, Path(folder), browser)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
