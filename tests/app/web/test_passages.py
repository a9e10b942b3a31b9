"""A passage written anew in a real browser: drawn or chosen with the keys, compared, undone; accompaniments."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest

from musicgen.app.bundled import FOLDER
from musicgen.data_prep import read_midi
from musicgen.data_prep.smf_writer import write_file

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
BACH, _ = read_midi(FOLDER / "bach.mid")
GONE = "Not your fault: the server does not answer. It may have been stopped: start it again, then try once more."
SHOWN = "async () => { const { rollPlayer, showing } = await musicgen.page; return [showing, rollPlayer.position]; }"


class Editor(Visit):
    """Somebody who edits."""

    def opening(self) -> None:
        """Bach on the roll, ready to be edited."""
        self.begin("opening")
        self._staged("(count) => stage.music.notes.length === count", len(BACH))  # the example on it has more
        self.page.locator("button:text-is('Choose a passage')").wait_for()

    def drag(self, begin: tuple[float, int], end: tuple[float, int]) -> None:
        """With the mouse, from a time and a pitch to others."""
        self.page.locator(".mg-stage").scroll_into_view_if_needed()
        for press, (time, pitch) in ((self.page.mouse.down, begin), (self.page.mouse.up, end)):
            self.page.mouse.move(*self.place_of(time, pitch), steps=3)
            press()

    def place_of(self, time: float, pitch: int) -> list[float]:
        """Where on the screen that is, once nothing moves any more."""
        before, at = [0.0], [1.0]
        while before != at:
            self.page.wait_for_timeout(100)
            before, at = (
                at,
                self.page.evaluate(
                    """([time, pitch]) => [stage.xOf(time), stage.scroller.getBoundingClientRect().top
                      + stage.place().y(pitch) + stage.place().row / 2]""",
                    [time, pitch],
                ),
            )
        return at

    def written(self, take: int) -> None:
        """Wait for a take."""
        self.page.wait_for_selector(f"[data-take='{take}']")
        self.finished()

    def music(self) -> Any:
        """The take on the stage, by its MIDI file."""
        return read_midi(self.download("MIDI"))[0]

    def status(self) -> str:
        return str(self.page.inner_text(".mg-status"))


def outside(music: Any, start: float, stop: float, low: int = 0, high: int = 127) -> list[tuple[float, int]]:
    """Onsets and pitches of the notes that a passage leaves alone."""
    goes = (music.onset >= start) & (music.onset < stop) & (music.pitch >= low) & (music.pitch <= high)
    return [*zip(np.round(music.onset[~goes], 3).tolist(), music.pitch[~goes].tolist(), strict=True)]


def test_a_passage_is_drawn_written_compared_and_undone(browser: Any, site: Site) -> None:
    """Two regions one after the other; A and B play from two seconds before; undo and redo go through the edits."""
    visit = Editor(browser, site.url, 1440, "light")
    page = visit.page
    visit.opening()
    assert page.inner_text("#mg-player .mg-name") == "Bach: Prelude in C"
    visit.drag((6.0, 79), (9.0, 60))
    told = page.inner_text(".mg-passage")
    assert told.endswith("C4 to G5") and abs(float(told.split(" ")[0]) - 6) < 0.1
    page.click("text=Write this anew")
    visit.written(2)
    assert page.inner_text("#mg-message").strip().startswith("Take 2 is ready.")
    page.wait_for_function("globalThis.firstSound")
    page.wait_for_function(
        "document.querySelector('.mg-versions').getBoundingClientRect().bottom"
        " <= document.querySelector('#mg-dock').getBoundingClientRect().top"
    )
    assert page.evaluate("globalThis.firstSound.seconds") > 4.5, "it is heard from shortly before the passage"
    region = page.evaluate("stage.region.value")
    assert region["low"] == 60 and region["high"] == 79, "again is one press"
    first = visit.music()
    kept = outside(BACH, region["from"], region["to"], 60, 79)
    assert outside(first, region["from"], region["to"], 60, 79) == kept
    assert outside(first, 0, 0) != outside(BACH, 0, 0)

    page.locator(".mg-scroller").focus()
    for key, take in (("b", 1), ("b", 2), ("a", 1), ("b", 2)):
        page.evaluate("stage.seek(20)")
        page.keyboard.press(key)
        shown, position = page.evaluate(SHOWN)
        assert shown == take and position == pytest.approx(region["from"] - 2, abs=0.5)
    assert page.get_attribute(".mg-versions button:text-is('B: Take 2')", "aria-pressed") == "true"

    visit.drag((15.0, 64), (18.0, 64))
    assert page.inner_text(".mg-passage").endswith("all keys")
    visit.fill("takes", 2)
    page.click("text=Write this anew")
    visit.written(4)
    told = page.inner_text("#mg-message")
    assert re.search(r"(Take [34]), Take [34] are ready. The model finds \1 the likeliest.", told)
    heard = page.evaluate(SHOWN)[0]
    second = visit.music()
    assert outside(second, 15.0, 18.1) == outside(first, 15.0, 18.1), "it goes on from the first edit"
    shelf = page.inner_text("#mg-shelf")
    assert "Passages of Take 2" in shelf and "Passages of Bach: Prelude in C" in shelf
    for press, take in (("Undo edit", 2), ("Undo edit", 1), ("Redo edit", 2), ("Redo edit", heard)):
        page.get_by_role("button", name=press).click()
        assert page.evaluate(SHOWN)[0] == take
    assert page.get_by_role("button", name="Redo edit").is_disabled()
    page.reload()
    page.click(f"[data-take='{heard}'] h3")
    page.get_by_role("button", name="Undo edit").click()
    assert len(visit.music()) == len(first), "the passages are kept with the takes"
    assert not visit.overflowing() and not visit.complaints
    visit.context.close()


def test_a_passage_is_chosen_with_the_keys(browser: Any, site: Site) -> None:
    """On a narrow page: every position is spoken, Enter writes it, Ctrl+Z and Ctrl+Shift+Z go back and forth."""
    visit = Editor(browser, site.url, 390, "dark")
    page = visit.page
    visit.opening()
    page.evaluate("stage.seek(10)")
    page.locator(".mg-scroller").focus()
    page.keyboard.press("r")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    spoken = page.locator("#mg-player [aria-live]").filter(has_text="Passage: 9.8 s to 13.5 s, all keys.")
    spoken.wait_for(state="attached")
    page.keyboard.press("Enter")
    visit.written(2)
    assert not visit.overflowing()
    for keys, take in (("Control+z", 1), ("Control+Shift+Z", 2), ("Control+z", 1), ("Control+y", 2)):
        page.keyboard.press(keys)
        assert page.evaluate(SHOWN)[0] == take
    page.locator("[data-take='2'] >> button:text-is('Remove')").click()
    page.click("[data-take='1'] h3")
    assert not page.locator(".mg-versions").is_visible(), "there is nothing to compare any more"
    assert not visit.complaints
    visit.context.close()


def two_tracks() -> bytes:
    """A file with a melody of eight notes and a bass of two."""
    melody = [(at * 480 + off, bytes([0x90, 72 + at, 80 * (1 - off // 400)])) for at in range(8) for off in (0, 400)]
    bass = [(at * 1920 + off, bytes([0x90, 40, 80 * (1 - off // 1900)])) for at in range(2) for off in (0, 1900)]
    return write_file(480, [[(0, b"\xff\x03Flute"), *melody], [(0, b"\xff\x03Bass"), *bass]])


def test_a_track_is_accompanied(browser: Any, site: Site) -> None:
    """One of a file with several: its notes stay, the others' go; then something is wrong, and is said in words."""
    visit = Editor(browser, site.url, 1440, "light")
    page = visit.page
    visit.begin("file")
    file = {"name": "duo.mid", "mimeType": "audio/midi", "buffer": two_tracks()}
    page.set_input_files("#mg-file-input", file)
    visit.made(9)
    tracks = page.get_by_label("Which track is accompanied")
    tracks.select_option("Flute")
    page.get_by_label("Which hand is written").select_option("left")
    page.click("text=Accompany this")
    visit.written(2)
    assert "Passages of duo.mid" in page.inner_text("#mg-shelf")
    music, _ = read_midi(visit.download("MIDI"))
    melody = [(round(at / 2, 3), 72 + at) for at in range(8)]
    made = [*zip(np.round(music.onset, 3).tolist(), music.pitch.tolist(), strict=True)]
    assert set(melody) <= set(made)
    assert not {(0.0, 40), (2.0, 40)} <= set(made), "a fill may strike a key of the bass by chance, but not all"
    page.keyboard.press("a")
    assert page.evaluate(SHOWN)[0] == 1

    page.evaluate("stage.region.set({ from: 1, to: 3, low: 21, high: 108 })")
    page.route("**/musicgen/fill", lambda route: route.abort())
    page.click("text=Write this anew")
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    assert visit.alert() == GONE
    visit.context.close()


def test_weights_that_cannot_fill_have_no_buttons(browser: Any, site: Site) -> None:
    visit = Editor(browser, site.url, 1440, "light")
    page = visit.page
    visit.opening()
    page.evaluate("async () => { const page = await musicgen.page; page.learned({ ...page.about, fills: false }); }")
    assert not page.locator(".mg-passages").is_visible() and not page.evaluate("stage.region.on")
    page.locator(".mg-scroller").focus()
    page.keyboard.press("r")
    assert page.evaluate("stage.region.value") is None
    visit.context.close()


def test_a_program_has_passages_written(site: Site) -> None:
    """The endpoints of the API; what is wrong is told in one line."""
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(site.url, verbose=False, analytics_enabled=False)
    made = client.predict(
        piece="bach", start=6, stop=9, pitches=[21, 59], takes=2, seed=7, apart=True, api_name="/fill"
    )
    assert [take["rank"] for take in made["takes"]] == [1, 2]
    assert made["takes"][0]["nats_per_note"] <= made["takes"][1]["nats_per_note"]
    music, _ = read_midi(base64.b64decode(made["takes"][1]["midi"]))
    assert outside(music, 6, 9, 21, 59) == outside(BACH, 6, 9, 21, 59)
    again = client.predict(made["takes"][1]["recipe"], api_name="/remake")
    assert again["takes"][0]["midi"] == made["takes"][1]["midi"]
    both = client.predict(piece=base64.b64encode(two_tracks()).decode(), track="Flute", seed=1, api_name="/accompany")
    assert len(read_midi(base64.b64decode(both["takes"][0]["midi"]))[0]) > 8
    with pytest.raises(AppError, match="start 60 is not in it"):
        client.predict(piece="bach", start=60, stop=70, api_name="/fill")
