"""The page for everybody: axe finds nothing in any state of either tab, fingers hit what they press, at any width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .serving import Site, serving
from .test_browser import Visit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(loud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with both tabs."""
    with serving(tmp_path_factory.mktemp("both"), 0.01, prepared=False, sound=loud) as served:
        yield served


def complaints(page: Any) -> list[str]:
    """What axe, by its rules for all levels and its best practices, finds on the page as it is now."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe (extra dev)")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


# What a finger presses. Of a mark and a card it is the whole label.
SMALL = """() => [...document.querySelectorAll("button, summary, select, a, input, [role=tab]")]
  .filter((one) => one.checkVisibility() && !one.closest(".mg-live"))
  .map((one) => (one.matches("[type=radio], [type=checkbox], [type=file]") ? one.closest("label") : one))
  .map((one) => [one.outerHTML.slice(0, 100), one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 43.5 || height < 43.5)
  .map(([html, { width, height }]) => `${width} x ${height} ${html}`)"""


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (320, "dark")])
def test_every_state_is_accessible(browser: Any, both: Site, width: int, scheme: str) -> None:
    """Ways to begin, all that is folded away, a complaint, help, music in the making, takes, a passage; then sound."""
    visit = Visit(browser, both.url, width, scheme)
    page = visit.page
    page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
    found: dict[str, list[str]] = {}

    def look(state: str) -> None:
        found[state] = [*complaints(page), *page.evaluate(SMALL)]
        found[state] += visit.overflowing()

    page.wait_for_function("stage.music.notes.length > 0")
    look("first screen")
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    visit.begin("keys")
    page.wait_for_selector(".mg-keyboard .mg-key")
    look("keyboard, all unfolded")
    visit.begin("file")
    page.click("#mg-make")
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    look("complaint")
    page.keyboard.press("?")
    look("help")
    page.keyboard.press("Escape")
    visit.begin("opening")
    visit.made(100)
    look("opening")
    visit.fill("seconds", 5)
    with both.held():
        page.wait_for_timeout(650)
        page.click("#mg-make")
        page.wait_for_function("document.querySelector('.mg-card progress')")
        look("being made")
    visit.finished()
    page.evaluate("stage.region.set({ from: 1, to: 3, low: 40, high: 80 })")
    page.click(".mg-carry button:has-text('Other files')")
    look("take, passage, all files")
    page.get_by_role("tab", name="Audio").click()
    page.locator("#mg-sound-message").get_by_text("Press Play to hear an example").wait_for()
    assert page.is_enabled("#mg-player .mg-dock:not([hidden]) .mg-play")
    for way in ("file", "microphone", "nothing"):
        visit.begin(way, "mg-sound")
        look(f"sound: {way}")
    assert {state: lines for state, lines in found.items() if lines} == {}
    visit.context.close()
    both.until_idle()


def test_a_number_that_cannot_be_had_is_set_to_one_that_can(browser: Any, site: Site) -> None:
    """And that is said beside the box; a request never holds another number than the box shows."""
    visit = Visit(browser, site.url, 390, "light")
    page = visit.page
    for typed, shown in (("9999", "120"), ("-3", "5"), ("", "30"), ("7.5", "7.5")):
        visit.fill("seconds", 40)
        page.fill("#mg-form-seconds", typed)
        page.press("#mg-form-seconds", "Tab")
        assert page.input_value("#mg-form-seconds") == shown
        told = page.inner_text("#mg-form-seconds-note")
        assert told == ("" if typed == shown else f"5 to 120: it is {shown} now.")
        assert page.inner_text("#mg-settings > summary") == f"{shown} seconds, comes to an end, 1 take"
    page.fill("#mg-form-takes", "99")  # and left there: what is asked for is what can be had
    assert page.evaluate("async () => (await musicgen.page).values.takes") == 4
    visit.context.close()


def test_help_and_tabs_answer_to_the_keyboard(browser: Any, both: Site) -> None:
    """? opens the list of keys anywhere but in a box for text; the arrows change tabs."""
    visit = Visit(browser, both.url, 1024, "light")
    page = visit.page
    shown = page.locator("#mg-help-keys")
    page.keyboard.press("?")
    assert shown.is_visible() and "play or pause" in shown.inner_text()
    page.keyboard.press("Escape")
    assert not shown.is_visible()
    visit.unfold("#mg-fine")
    page.focus("#mg-form-seed")
    page.keyboard.press("?")
    assert not shown.is_visible()
    page.focus("#mg-tab-notes")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#mg-audio") and not page.is_visible("#mg-notes")
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#mg-notes") and page.evaluate("document.activeElement.id") == "mg-tab-notes"
    visit.context.close()


def test_the_piano_stays_under_the_fingers(browser: Any, site: Site) -> None:
    """Whatever is played, recorded and said meanwhile, no key moves by a pixel."""
    visit = Visit(browser, site.url, 390, "light")
    page = visit.page
    visit.begin("keys")
    page.wait_for_selector(".mg-keyboard .mg-key")
    page.click("#mg-keys >> button:text-is('Record')")
    keys = "() => JSON.stringify(document.querySelector('.mg-keys').getBoundingClientRect())"
    before = page.evaluate(keys)
    for key in "asdfgh":
        page.keyboard.press(key, delay=40)
        assert page.evaluate(keys) == before
    page.locator("#mg-keys .mg-record").evaluate("button => button.click()")
    visit.made(5)
    assert page.evaluate(keys) == before
    page.evaluate("async () => (await musicgen.page).fail(new Error('a complaint'))")
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    assert page.evaluate(keys) == before
    visit.context.close()
