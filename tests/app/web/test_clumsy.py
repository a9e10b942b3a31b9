"""The page under clumsy hands, in a real browser: pressed twice, reloaded, given the wrong thing, asked too early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from musicgen.data_prep import write_midi

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
# A press at a moment of the test's choosing, however busy the machine is.
PRESS = """([selector, moment]) => {
  const press = new MouseEvent("click", { bubbles: true });
  Object.defineProperty(press, "timeStamp", { value: moment });
  document.querySelector(selector).dispatchEvent(press);
}"""

# Gradio has not drawn the last of the page when it is first looked for.
LATE = """
const now = document.getElementById;
const looks = {};
document.getElementById = function (id) {
  looks[id] = (looks[id] ?? 0) + 1;
  return ["mg-surprise", "mg-preset", "mg-cost"].includes(id) && looks[id] < 4 ? null : now.call(this, id);
};
"""


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    """Somebody on the page of a quick site."""
    visitor = Visit(browser, site.url, 1440, "light")
    yield visitor
    assert not visitor.complaints
    visitor.context.close()
    site.until_idle()


def test_a_double_click_is_one_press(visit: Visit, site: Site) -> None:
    """Stop stands where Make was, and Make where Stop was."""
    page = visit.page
    visit.fill("seconds", 120)
    with site.held():
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


def test_a_preset_takes_the_place_of_what_was_chosen_apart(visit: Visit) -> None:
    """More thinking than memory is refused; a click on a preset brings both dials back."""
    page = visit.page
    cost = page.locator("#mg-cost")
    visit.unfold("#mg-fine")
    cost.filter(has_text="Remembers").wait_for()
    for label, value in (("Thinking", "64"), ("Memory", "32")):
        page.get_by_label(label).select_option(value)
    cost.filter(has_text="Your own setting").wait_for()
    page.click("#mg-preset >> text=Best")
    cost.filter(has_text="Remembers").wait_for()
    visit.fill("seconds", 5)
    page.click("#mg-make")
    visit.finished()
    made = visit.facts().settings
    assert (made.latents, made.context) == (64, 256)
    assert [page.get_by_label(label).input_value() for label in ("Thinking", "Memory")] == ["", ""]


def test_the_page_waits_for_all_of_its_parts(visit: Visit) -> None:
    """However late Gradio draws them, nothing that the page looks up on its way is missing."""
    visit.context.add_init_script(LATE)
    visit.page.reload()
    visit.page.locator("#mg-cost").filter(has_text="Remembers").wait_for(state="attached")


def test_the_stage_shows_what_is_begun_with(visit: Visit) -> None:
    """Who turns from an opening to nothing, or to a file not chosen yet, sees that it is not meant any more."""
    page = visit.page
    for way in ("file", "keys"):
        visit.begin("opening")
        visit.made(100)
        visit.begin(way)
        visit.emptied()
        page.locator("#mg-player .mg-status").filter(has_text="No music yet.").wait_for()
        assert not page.is_visible(".mg-handle-to")
    visit.begin("opening")
    visit.made(100)
    visit.begin("nothing")
    page.wait_for_function("stage.music.label.startsWith('Example')")
    assert not page.is_visible(".mg-handle-to")
    visit.fill("seconds", 5)
    visit.begin("nothing")
    page.click("#mg-make")
    visit.finished()
    visit.begin("file")
    page.wait_for_function("document.body.dataset.mgStart === 'file'")
    visit.made(5)  # a take stays on the stage


def test_a_file_takes_the_place_of_the_one_before(visit: Visit, piece: Any) -> None:
    """A good one ends the complaint about the last one; a broken one is not silently replaced by the good one."""
    page = visit.page
    visit.begin("file")

    def choose(name: str, data: bytes) -> None:
        page.set_input_files("#mg-file-input", {"name": name, "mimeType": "audio/midi", "buffer": data})

    choose("large.mid", b"x" * 100_001)
    page.wait_for_selector("text=large.mid is too large")
    choose("good.mid", write_midi(piece(), None))
    page.wait_for_selector("text=good.mid: ")
    assert not visit.alert()
    for name, data, complaint in (
        ("broken.mid", b"no notes", "This file cannot be used"),
        ("large.mid", b"x" * 100_001, "is too large"),
    ):
        choose("good.mid", write_midi(piece(), None))
        page.wait_for_selector("text=good.mid: ")
        visit.made(30)
        choose(name, data)
        page.locator(".mg-failed").filter(has_text=complaint).first.wait_for()
        page.wait_for_selector("text=Choose another MIDI file")
        visit.emptied()
        page.click("#mg-make")
        page.wait_for_selector("text=Choose a MIDI file first.")
        page.wait_for_timeout(700)  # two presses of Make in less are one
    visit.complaints = [line for line in visit.complaints if "400" not in line]


def test_make_ends_what_is_being_recorded(visit: Visit) -> None:
    """On the keys: Make is pressed while they still record, and goes on from what was played."""
    page = visit.page
    visit.begin("keys")
    page.click("#mg-keys >> button:text-is('Record')")
    for key in "asd":
        page.keyboard.press(key, delay=50)
    visit.fill("seconds", 5)
    page.click("#mg-make")
    visit.finished()
    assert visit.facts().prime_notes == 3
    assert page.is_visible("#mg-keys >> button:text-is('Record')")


def test_leaving_asks_while_something_is_made(visit: Visit, site: Site) -> None:
    """And only then: the browser asks when the event is refused."""
    page = visit.page
    leaves = "() => dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leaves)
    visit.fill("seconds", 120)
    with site.held():
        page.click("#mg-make")
        page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0.05")
        assert not page.evaluate(leaves)
        visit.stop()
        visit.finished()
    assert page.evaluate(leaves)


@pytest.mark.parametrize("recipe", ["AAAA", "e30"])
def test_a_broken_link_is_said_to_be_one(visit: Visit, site: Site, recipe: str) -> None:
    """Letters that are no recipe, and a recipe of nothing."""
    visit.page.goto("about:blank")
    visit.page.goto(f"{site.url}/#recipe={recipe}")
    visit.page.wait_for_selector("text=This link to a take is broken or cut short: ask for it again.")
    assert visit.page.query_selector("text=Make the take in this link") is None
