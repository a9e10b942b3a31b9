"""What the page does for the hands: nothing is lost by a press, focus is seen, and what is needed is within reach."""

from __future__ import annotations

from typing import Any

import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow


def make(visit: Visit, takes: int) -> None:
    page = visit.page
    page.get_by_label("How much new music").first.fill("5")
    page.get_by_label("Takes").first.fill(str(takes))
    page.click("#mg-make")
    page.wait_for_function("document.body.dataset.mgBusy === 'yes'")
    visit.finished()


def test_undo_never_takes_a_finished_take_away(browser: Any, site: Site) -> None:
    """Undo takes back what a person did, and every change of the list is said."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    make(visit, 2)
    said = lambda: page.inner_text("#mg-message").strip()  # noqa: E731
    undo = page.locator("button:text-is('Undo')")
    assert undo.is_disabled(), "nothing has been done but making music"
    page.click("[data-take='2'] >> button:text-is('Remove')")
    assert said() == "Take 2 is removed: Undo brings it back."
    page.click("[data-take='1'] >> button:text-is('☆ Keep')")
    assert said() == "Take 1 is kept."
    undo.focus()
    for told in ("Take 1 is no longer kept.", "Take 2 is back."):
        page.keyboard.press("Enter")
        assert said() == told
    assert undo.is_disabled() and page.locator("[data-take]").count() == 2
    assert not visit.complaints
    visit.context.close()
