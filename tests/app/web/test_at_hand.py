"""What the page does for the hands: nothing is lost by a press, focus is seen, and what is needed is within reach."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow


def make(visit: Visit, takes: int) -> None:
    page = visit.page
    visit.fill("seconds", 5)
    visit.fill("takes", takes)
    page.evaluate("document.body.dataset.mgBusy = 'asked'")  # it may be over before one looks again
    page.click("#mg-make")
    visit.finished()
    page.wait_for_timeout(500)  # Gradio hears no press of a button before it has done with the last one


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


def test_a_branch_is_asked_for_where_it_begins(browser: Any, site: Site) -> None:
    """A take that is not on the stage has no playhead: it comes there, and nothing is made until it has been set."""
    visit = Visit(browser, site.url, 375, "light")
    page = visit.page
    make(visit, 2)
    branch = page.locator("[data-take='2'] >> button:text-is('From here')")
    for _ in range(2):
        branch.click()
        asked = "Take 2 is on the stage: put the playhead where the new music is to begin, then press From here again."
        assert page.inner_text("#mg-message").strip() == asked
        assert page.get_attribute("[data-take='2']", "aria-current") == "true"
    page.wait_for_function("document.querySelector('#mg-message').getBoundingClientRect().top > -1")
    page.evaluate("async () => (await musicgen.page).rollPlayer.seek(2)")
    branch.click()
    page.wait_for_selector("[data-take='3']")
    visit.finished()
    assert "from 2 s" in page.inner_text("[data-take='3']")
    assert not visit.complaints
    visit.context.close()


def test_a_take_that_goes_for_want_of_room_is_named(browser: Any, site: Site) -> None:
    """The list is full: what has to go for a new take is said; a browser that keeps nothing says so, too."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    page.evaluate("async () => { (await musicgen.page).store.limits.takes = 2; }")
    make(visit, 2)
    assert page.inner_text("#mg-message").strip() == "Take 1, Take 2 are ready."
    make(visit, 1)
    told = "Take 3 is ready. To make room, Take 1 left the list: press Keep on takes that must stay."
    assert page.inner_text("#mg-message").strip() == told
    assert page.query_selector("[data-take='1']") is None and page.query_selector("[data-take='2']") is not None
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    make(visit, 1)
    assert visit.alert().startswith("This browser keeps no takes")
    visit.context.close()


# The sliders whose thumb has a style of ours.
THUMBS = """() => [...document.styleSheets].filter(({ href }) => href?.includes("/musicgen/"))
  .flatMap(({ cssRules }) => [...cssRules].map(({ selectorText }) => selectorText ?? ""))
  .filter((selector) => selector.includes("slider-thumb") || selector.includes("range-thumb"))"""


def test_a_plain_slider_keeps_its_line(browser: Any, site: Site) -> None:
    """Firefox draws no line for a slider whose thumb has a style."""
    visit = Visit(browser, site.url, 1440, "light")
    assert visit.page.evaluate(THUMBS) == []
    visit.context.close()


FOCUSED = """() => {
  const one = document.activeElement;
  const { x, y, width, height } = (one.type === "radio" ? one.closest("label") : one).getBoundingClientRect();
  const name = one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent;
  return { name: name.trim(), x, y, width, height };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_focus_of_the_keyboard_is_seen(browser: Any, site: Site, scheme: str) -> None:
    """Wherever Tab goes among the dials, as many pixels change as a line two pixels wide around the dial has."""
    image = pytest.importorskip("PIL.Image", reason="Gradio brings pillow")
    visit = Visit(browser, site.url, 1440, scheme)
    page = visit.page
    page.add_style_tag(content="* { transition: none !important; }")  # or colours fade in
    page.evaluate("() => void (document.querySelector('#mg-settings').open = true)")
    drawn = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(drawn)
    shot = lambda: np.asarray(image.open(io.BytesIO(page.screenshot())).convert("L"), np.int16)  # noqa: E731
    plain = shot()
    seen: dict[str, bool] = {}
    while len(seen) < 30:
        page.keyboard.press("Tab")
        page.evaluate(drawn)
        where = page.evaluate(FOCUSED)
        left, top = max(0, int(where["x"]) - 8), max(0, int(where["y"]) - 8)
        box = np.s_[top : top + int(where["height"]) + 16, left : left + int(where["width"]) + 16]
        changed = int((np.abs(shot()[box] - plain[box]) > 60).sum())
        seen[where["name"]] = changed >= 4 * (where["width"] + where["height"])
        if where["name"] == "Play":
            break
    names = ["Help: all keys", "Make music", "Kind of music", "How much new music", "Takes, slider"]
    assert {*names, "Come to an end there", "Play"} <= {*seen} and any(name.startswith("Surprise me") for name in seen)
    assert [name for name, good in seen.items() if not good] == []
    visit.context.close()


class Phone(NamedTuple):
    """A browser whose windows are touched."""

    browser: Any

    def new_context(self, **options: Any) -> Any:
        return self.browser.new_context(**options, has_touch=True, is_mobile=True)


def test_a_phone_has_what_is_needed_within_reach(browser: Any, site: Site) -> None:
    """Stop beside the stage, one row of buttons and no letters at the piano, a whole seed, no dot alone at the foot."""
    visit = Visit(Phone(browser), site.url, 375, "light")
    page = visit.page
    assert page.locator("link[href$='keyboard.css']").count() == 1, "the keyboard is drawn before it is styled"
    assert "·" not in page.inner_text("footer")
    visit.begin("keys")
    page.wait_for_selector(".mg-keyboard .mg-key")
    assert page.locator("link[href$='keyboard.css']").count() == 1, "the style sheet is loaded twice"
    tops = "() => [...document.querySelectorAll('.mg-keyboard .mg-bar button')].map((one) => one.offsetTop)"
    assert len(set(page.evaluate(tops))) == 1
    assert page.locator(".mg-key kbd").count() and not page.locator(".mg-key kbd >> visible=true").count()
    page.click("[aria-label='An octave higher']")
    assert "letter" not in page.inner_text(".mg-keyboard .mg-status")
    visit.begin("nothing")
    visit.unfold("#mg-fine")
    seed = page.get_by_label("Seed")
    seed.fill("888888888")
    assert seed.evaluate("(one) => one.scrollWidth <= one.clientWidth"), "a figure of the seed is cut off"
    visit.fill("seconds", 120)
    with site.held():
        page.click("#mg-make")
        page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0")
        page.locator(".mg-stage").scroll_into_view_if_needed()
        reach = "() => { const { top, bottom } = document.querySelector('#mg-stop').getBoundingClientRect();"
        assert page.evaluate(reach + "return top > 0 && bottom <= innerHeight; }"), "Stop is out of sight"
        page.wait_for_timeout(650)  # or it would be a double press
        page.tap("#mg-stop")
        visit.finished()
    assert not visit.overflowing() and not visit.complaints
    visit.context.close()
