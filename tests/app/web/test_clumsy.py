"""The page under clumsy hands, in a real browser: pressed twice, reloaded, given the wrong thing, asked too early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
# A press at a moment of the test's choosing, however busy the machine is.
PRESS = """([selector, moment]) => {
  const press = new MouseEvent("click", { bubbles: true });
  Object.defineProperty(press, "timeStamp", { value: moment });
  document.querySelector(selector).dispatchEvent(press);
}"""


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    """Somebody on the page of a quick site."""
    visitor = Visit(browser, site.url, 1440, "light")
    yield visitor
    assert not visitor.complaints
    visitor.context.close()
    site.until_idle()


def test_a_double_click_is_one_press(visit: Visit) -> None:
    """Stop stands where Make was, and Make where Stop was."""
    page = visit.page
    page.get_by_label("How much new music").first.fill("120")
    page.evaluate(PRESS, ["#mg-make", 10_000])
    page.wait_for_selector("#mg-stop", state="visible")
    page.evaluate(PRESS, ["#mg-stop", 10_400])
    page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0.05")
    assert "Stopp" not in page.inner_text("#mg-message")
    page.evaluate(PRESS, ["#mg-stop", 10_700])
    visit.finished()
    assert page.inner_text("#mg-message").strip() == "Take 1 is ready, stopped early."
    page.evaluate(PRESS, ["#mg-make", 11_000])
    page.wait_for_timeout(300)
    assert page.is_visible("#mg-make")
