"""Taking takes away in a real browser: dragged, zipped, as the new part alone, as sheet music, to a connected piano."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from musicgen.data_prep import read_midi

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
PIANO = """
globalThis.sent = [];
const port = {name: "Toy piano", open: async () => {}, send: (message) => sent.push([...message]), clear() {}};
navigator.requestMIDIAccess = async () => ({inputs: new Map(), outputs: new Map([["1", port]])});
"""


@pytest.fixture(scope="module")
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    """A take that continues an opening stands on the page."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    page.evaluate(PIANO)
    visit.begin("opening")
    visit.fill("seconds", 3)
    page.click("#mg-make")
    visit.finished()
    page.wait_for_selector(".mg-carry >> text=MIDI")
    yield visit
    assert not visit.complaints and not visit.elsewhere
    visit.context.close()


def test_the_new_part_begins_at_once(visit: Visit) -> None:
    whole, _ = read_midi(visit.download("MIDI"))
    new, _ = read_midi(visit.download("New part"))
    assert 0 < len(new) < len(whole)
    assert new.onset[0] < 1
    assert new.pitch.tolist() == whole.pitch[-len(new) :].tolist()


def test_a_take_is_dragged_as_its_midi_file(visit: Visit) -> None:
    told = visit.page.evaluate("""() => {
        const data = new DataTransfer();
        const button = [...document.querySelectorAll(".mg-carry button")].find((one) => one.textContent === "MIDI");
        button.dispatchEvent(new DragEvent("dragstart", {dataTransfer: data, bubbles: true}));
        return data.getData("DownloadURL");
    }""")
    kind, name, content = told.split(":", 2)
    assert kind == "audio/midi" and name.endswith(".mid")
    data = base64.b64decode(content.partition("base64,")[2])
    assert data == visit.download("MIDI")


def test_other_files_fold_away(visit: Visit) -> None:
    """One button opens them, Escape or a choice closes them, and the keys are where they were."""
    page = visit.page
    button, files = page.get_by_role("button", name="Other files"), page.get_by_role("group", name="Other files")
    assert not files.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert 8 <= files.get_by_role("button").count() <= 9
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not files.is_visible()
    assert page.evaluate("document.activeElement.textContent") == "Other files"
    assert b"<svg" in visit.download("SVG") and not files.is_visible()


def test_kept_takes_come_as_one_archive(visit: Visit) -> None:
    page = visit.page
    assert page.is_disabled("button:text-is('Download kept')")
    page.click("[data-take='1'] button:has-text('Keep')")
    with page.expect_download() as waiting:
        page.click("button:text-is('Download kept')")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.testzip() is None
        (name,) = archive.namelist()
        assert name.startswith("musicgen-take-1") and name.endswith(".mid")
        read_midi(archive.read(name))


def test_the_score_is_shown_and_put_away(visit: Visit) -> None:
    page = visit.page
    page.click(".mg-carry button:text-is('Score')")
    page.wait_for_selector(".mg-score img")
    page.wait_for_function("document.querySelector('.mg-score img').naturalWidth > 100")
    assert "A reading aid" in page.text_content(".mg-score figcaption")
    page.click(".mg-carry button:text-is('Score')")
    page.wait_for_selector(".mg-score", state="detached")
    assert b"<score-partwise" in visit.download("MusicXML")


def test_a_connected_piano_plays_along(visit: Visit) -> None:
    """Every key that goes down there comes up again when it is paused."""
    page = visit.page
    page.click(".mg-carry button:text-is('To my piano')")
    page.wait_for_selector(".mg-carry button[aria-pressed='true']:text-is('To my piano')")
    page.click("[data-take='1'] button:text-is('Play')")
    page.wait_for_function("sent.some(([kind]) => kind === 0x90)")
    page.evaluate("() => globalThis.musicgen.page.then((page) => page.rollPlayer.pause())")
    page.wait_for_function("sent.at(-1)[0] === 0xb0 && sent.at(-1)[1] === 120")
    down: set[int] = set()
    for kind, pitch, _ in page.evaluate("sent"):
        if kind == 0x90:
            down.add(pitch)
        elif kind == 0x80:
            down.discard(pitch)
    assert not down
