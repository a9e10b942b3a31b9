"""The page in a real browser: make, hear, stop, download, branch, and what it says when something is wrong."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen.app import provenance as facts
from musicgen.app.novelty import next_seed
from musicgen.data_prep import read_midi, write_midi
from musicgen.data_prep.midi import read_text

from .serving import Site
from .test_site import mutations

pytestmark = pytest.mark.slow
PATIENCE = 90_000  # ms; the machine may be busy
# Whatever plays on the page also runs into an analyser, which is asked how loud it is.
EAR = """
globalThis.ears = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode && to.context instanceof AudioContext) {
    const ear = new AnalyserNode(to.context, { fftSize: 2048 });
    connect.call(this, ear);
    ears.push(ear);
  }
  return connect.call(this, to, ...rest);
};
globalThis.loudness = () => Math.max(0, ...ears.map((ear) => {
  const wave = new Float32Array(ear.fftSize);
  ear.getFloatTimeDomainData(wave);
  return Math.sqrt(wave.reduce((sum, value) => sum + value * value, 0) / wave.length);
}));
document.addEventListener("musicgen-playing", (event) => (globalThis.firstSound = event.detail));
document.addEventListener("musicgen-underrun", () => (globalThis.underruns = (globalThis.underruns ?? 0) + 1));
"""


# Presses Copy link: whether copying has begun when the press is over.
COPIED = """() => {
  let begun = false;
  navigator.clipboard.write = async ([item]) => {
    begun = true;
    globalThis.copied = await (await item.getType("text/plain")).text();
  };
  [...document.querySelectorAll(".mg-carry button")].find((one) => one.textContent === "Copy link").click();
  return begun;
}"""


@pytest.fixture
def slow_site(browser: Any, site: Site) -> Iterator[Site]:
    """The site, which makes music about as fast as a small machine meanwhile."""
    with site.slowed():
        yield site


class Visit:
    """Somebody on the page."""

    def __init__(self, browser: Any, url: str, width: int, scheme: str) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.add_init_script(EAR)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self._watch(request.url, url))
        self.page.goto(url)
        self.page.wait_for_selector(".mg-stage")
        self.page.wait_for_function("document.body.dataset.mgStart")

    def _watch(self, asked: str, home: str) -> None:
        if not asked.startswith((home, "data:", "blob:")):
            self.elsewhere.append(asked)

    def begin(self, way: str, tab: str = "mg") -> None:
        """Choose a card: nothing, opening, file, keys, microphone."""
        self.page.click(f"#{tab}-form .mg-way:has([value='{way}'])")

    def unfold(self, identity: str) -> None:
        """Open or close what is folded away."""
        self.page.click(f"{identity} > summary")

    def fill(self, name: str, value: float, tab: str = "mg") -> None:
        """Type a number into a box of the line of settings, which is opened for it."""
        if not self.page.is_visible(f"#{tab}-form-{name}"):
            self.unfold(f"#{tab}-settings")
        self.page.fill(f"#{tab}-form-{name}", str(value))

    def finished(self) -> None:
        self.page.wait_for_function("document.body.dataset.mgBusy === 'no'")

    def made(self, notes: int) -> None:
        """Wait until the stage shows more notes than that."""
        self._staged("(count) => stage.music.notes.length > count", notes)

    def emptied(self) -> None:
        """Wait until the stage shows nothing."""
        self._staged("(count) => stage.music.notes.length === count", 0)

    def _staged(self, condition: str, count: int) -> None:
        # What is waited for must not be a promise: that one is true whatever comes of it.
        self.page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
        self.page.wait_for_function(condition, arg=count)

    def overflowing(self) -> list[str]:
        """Parts of the page that reach beyond the screen, which Gradio would cut off without a scroll bar."""
        parts = "#mg-page, #mg-make, .mg-way, .mg-field, .mg-stage, .mg-bar, .mg-card, .mg-card button, "
        parts += ".mg-carry button"
        told = self.page.evaluate(
            """(parts) => [...document.querySelectorAll(parts)]
              .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 0.5)
              .map((one) => one.outerHTML.slice(0, 80))""",
            parts,
        )
        return list(told)

    def stop(self) -> None:
        """As a person does it, not as the second half of the click on Make."""
        self.page.wait_for_timeout(650)
        self.page.click("#mg-stop")

    def alert(self) -> str:
        return str(self.page.inner_text(".mg-failed"))

    def download(self, label: str) -> bytes:
        if not self.page.is_visible(one := f".mg-carry button:is(:text-is('{label}'), :has(b:text-is('{label}')))"):
            self.page.click(".mg-carry button:has-text('Other files')")
        with self.page.expect_download() as waiting:
            self.page.click(one)
        return Path(waiting.value.path()).read_bytes()

    def facts(self) -> facts.Provenance:
        """How the take on the stage was made, by its MIDI file."""
        told = facts.read(read_text(self.download("MIDI")))
        assert told is not None
        return told


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (375, "dark")])
def test_a_musicians_visit(browser: Any, slow_site: Site, width: int, scheme: str) -> None:
    """Everything a first visit is likely to be, on a service and on a phone."""
    visit = Visit(browser, slow_site.url, width, scheme)
    page = visit.page
    visit.begin("opening")
    visit.made(100)
    assert not visit.overflowing()

    handle = page.locator(".mg-handle-to[aria-valuenow]")
    handle.wait_for()
    whole = float(handle.get_attribute("aria-valuenow"))
    for _ in range(40):  # the page may still be busy with the opening and take the focus away
        handle.press("ArrowLeft")
        page.wait_for_timeout(100)
        if float(handle.get_attribute("aria-valuenow")) < whole - 7.5:
            break
    visit.fill("seconds", 90)  # long enough to be stopped, however slow whoever stops it
    page.focus("#mg-make")
    page.keyboard.press("Enter")
    page.wait_for_function("globalThis.firstSound")
    page.wait_for_function("loudness() > 0.003")
    page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0.05")
    assert page.is_visible("#mg-stop") and not page.is_visible("#mg-make")
    visit.stop()
    visit.finished()
    assert "Take 1 is ready, stopped early." in page.inner_text("#mg-message")
    assert page.evaluate("globalThis.underruns ?? 0") == 0

    data = visit.download("MIDI")
    music, _ = read_midi(data)
    told, packed = facts.find_texts(read_text(data))
    assert told is not None and packed is not None
    made = facts.Provenance.from_json(told)
    assert 60 < made.prime_notes < 128, "the handle has chosen a part"
    assert len(music) > made.prime_notes

    page.evaluate("async () => (await musicgen.page).rollPlayer.seek(12)")
    page.click(".mg-card >> button:text-is('From here')")
    page.wait_for_selector("text=Being made")
    page.wait_for_function("document.querySelector('.mg-card progress')?.value > 0.02")
    visit.stop()
    visit.finished()
    assert "After Take 1" in page.inner_text("#mg-shelf")
    branch, _ = read_midi(visit.download("MIDI"))
    early = music.onset < 12.0
    assert np.allclose(branch.onset[: int(early.sum())], music.onset[early], atol=1e-3)
    assert not visit.overflowing()

    page.reload()
    page.wait_for_selector("[data-take='2']")
    page.click("[data-take='1'] >> button:text-is('Remove')")
    assert page.query_selector("[data-take='1']") is None
    page.click("button:text-is('Undo')")
    assert page.query_selector("[data-take='1']") is not None

    assert not visit.elsewhere, f"the page asks other hosts: {visit.elsewhere}"
    assert not visit.complaints
    visit.context.close()


def test_several_takes_and_the_same_again(browser: Any, slow_site: Site) -> None:
    """Two takes at once from a seed; a recipe and a link make one of them again."""
    visit = Visit(browser, slow_site.url, 1440, "light")
    page = visit.page
    visit.fill("seconds", 5)
    visit.fill("takes", 2)
    visit.unfold("#mg-fine")
    page.get_by_label("Seed").fill("7")
    page.click("#mg-make")
    page.locator(".mg-card >> button:text-is('Play')").evaluate("button => button.click()")
    visit.finished()
    assert page.locator("[data-take]").count() == 2
    page.click("[data-take='2']")
    first = visit.download("MIDI")
    recipe = visit.download("Recipe")
    heard = read_text(first)[1].removeprefix("musicgen: ")
    assert "beat" in heard and page.inner_text(".mg-carry > small") == f"In the MIDI file {heard}."
    assert "MIDI with bars" not in str(page.text_content("#mg-files"))
    visit.begin("file")
    page.set_input_files("#mg-file-input", {"name": "r.json", "mimeType": "application/json", "buffer": recipe})
    page.click("text=Make this take exactly again")
    page.wait_for_selector("[data-take='3']")
    visit.finished()
    assert visit.download("MIDI") == first
    for label, begin in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("FLAC", b"fLaC")):
        assert visit.download(label).startswith(begin)
    assert page.evaluate(COPIED), "a browser may let nothing be copied that is not begun in the press itself"
    page.wait_for_selector("text=The link is copied")
    assert page.evaluate("copied").startswith(f"{slow_site.url}/#recipe=")
    assert not visit.complaints
    visit.context.close()


def test_a_setting_is_chosen_in_the_table(browser: Any, site: Site) -> None:
    """The table shows where the dials stand, and turns them; what is made is made with them."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    visit.unfold("#mg-fine")
    pressed = page.locator(".mg-cell[aria-pressed=true]")
    pressed.filter(has_text="Best").wait_for()  # what is chosen for this machine, once it has been measured
    page.click("#mg-preset >> text=Fast")
    pressed.filter(has_text="Fast").wait_for()
    page.click("#mg-preset >> text=Best")
    pressed.filter(has_text="Best").wait_for()
    page.locator(".mg-cell[data-latents='32'][data-context='256']").focus()
    page.keyboard.press("Enter")
    pressed.filter(has_text="1.800").wait_for()
    assert pressed.count() == 1
    assert [page.get_by_label(label).input_value() for label in ("Thinking", "Memory")] == ["32", "256"]
    visit.fill("seconds", 5)
    page.click("#mg-make")
    visit.finished()
    made = visit.facts().settings
    assert (made.latents, made.context) == (32, 256)
    assert not visit.complaints
    visit.context.close()


def test_a_take_that_is_a_copy_is_made_again(browser: Any, site: Site) -> None:
    """The page says which piece it came too near to; what is kept is the other take."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    visit.fill("seconds", 20)
    page.get_by_label("Come to an end there").uncheck()
    visit.unfold("#mg-fine")
    page.click("#mg-preset >> text=Best")
    page.get_by_label("Seed").fill("77")
    page.get_by_label("Avoid copies of training pieces").check()
    page.click("#mg-make")
    page.wait_for_selector("text=with The Original, which the model was trained on: it is made again.")
    visit.finished()
    assert page.inner_text("#mg-message").strip() == "Take 1 is ready."
    data = visit.download("MIDI")
    text, _ = facts.find_texts(read_text(data))
    assert text is not None
    made = facts.Provenance.from_json(text)
    assert made.seed == next_seed(77, 1) and made.memorisation == {"length": 0}
    shown = page.evaluate("async () => (await musicgen.page).rollPlayer.music.notes.length")
    assert shown == len(read_midi(data)[0])
    assert not visit.complaints
    visit.context.close()


def test_what_goes_wrong_is_said(browser: Any, slow_site: Site, piece: Any) -> None:
    """Nothing chosen, a file that is too large, a broken file; then a good one works."""
    visit = Visit(browser, slow_site.url, 375, "light")
    page = visit.page
    visit.begin("file")
    page.click("#mg-make")
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    assert visit.alert() == "Choose a MIDI file first."

    def choose(name: str, data: bytes) -> None:
        page.evaluate("document.querySelector('.mg-failed').textContent = ''")
        page.set_input_files("#mg-file-input", {"name": name, "mimeType": "audio/midi", "buffer": data})

    choose("large.mid", b"x" * 100_001)
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    assert "large.mid is too large (0.1 MB are the most)" in visit.alert()
    choose("broken.mid", b"MThd" + os.urandom(40))
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    assert visit.alert().startswith("This file cannot be used: ")
    choose("good.mid", write_midi(piece(), None))
    page.wait_for_selector("text=good.mid: ")
    visit.made(30)
    visit.context.close()


def test_hostile_files_through_the_page(browser: Any, slow_site: Site) -> None:
    """Two hundred broken files, chosen one after the other: the page says what is wrong, or shows the notes."""
    visit = Visit(browser, slow_site.url, 1440, "light")
    page = visit.page
    visit.begin("file")
    outcomes = page.evaluate(
        """async (files) => {
          const { primeSource } = await musicgen.page;
          const outcomes = { shown: 0, refused: 0 };
          for (const text of files) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            document.querySelector(".mg-failed").textContent = "";
            await primeSource.open(new File([bytes], "hostile.mid"));
            const said = document.querySelector(".mg-failed").textContent;
            const shown = document.querySelector(".mg-file-name").textContent.startsWith("hostile.mid:");
            const wrong = said.startsWith("Something went wrong") || Boolean(said) === shown;
            if (wrong) throw new Error(said || "nothing said");
            outcomes[shown ? "shown" : "refused"] += 1;
          }
          return outcomes;
        }""",
        [base64.b64encode(data).decode() for data in mutations(200)],
    )
    assert outcomes["shown"] > 20 and outcomes["refused"] > 20
    page.click("#mg-make")
    page.wait_for_function("document.body.dataset.mgBusy === 'yes' || document.querySelector('.mg-failed').textContent")
    assert not [line for line in visit.complaints if "400" not in line]
    visit.context.close()
    slow_site.until_idle()


def test_everything_has_a_name_for_those_who_hear_the_page(browser: Any, slow_site: Site) -> None:
    """Every control can be reached by the keyboard and says what it is."""
    visit = Visit(browser, slow_site.url, 1440, "light")
    page = visit.page
    visit.begin("keys")
    visit.unfold("#mg-fine")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, [role=slider], [tabindex='0']")]
          .filter((one) => one.checkVisibility() && !one.disabled)
          .filter((one) => !["aria-label", "aria-labelledby", "title"].some((name) => one.getAttribute(name)))
          .filter((one) => !one.textContent.trim() && !one.labels?.length)
          .map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert not nameless
    assert page.evaluate("document.documentElement.lang") and page.title()
    visit.context.close()


CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const lightness = ([red, green, blue]) => {
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = [red, green, blue].map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const [red, green, blue, alpha = 1] = parts(getComputedStyle(one).backgroundColor);
      if (alpha > 0.95) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (one.closest("[disabled], .mg-live, style, script, noscript")) continue;
    const look = getComputedStyle(one);
    const large = parseFloat(look.fontSize) >= 24 || (parseFloat(look.fontSize) >= 18.6 && look.fontWeight >= 700);
    const pair = [lightness(parts(look.color)), lightness(ground(one))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${look.color} ${one.outerHTML.slice(0, 90)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, slow_site: Site, scheme: str) -> None:
    """All text that is seen has the contrast that WCAG's level AA asks for."""
    visit = Visit(browser, slow_site.url, 1440, scheme)
    page = visit.page
    visit.begin("file")
    visit.unfold("#mg-fine")
    page.click("#mg-make")
    page.wait_for_function("document.querySelector('.mg-failed').textContent")
    page.wait_for_timeout(500)  # colours fade in
    assert page.evaluate(CONTRASTS) == []
    faint = "<b style='color: #999; background: #fff'>faint</b>"
    page.evaluate("(text) => document.querySelector('#mg-message').insertAdjacentHTML('beforeend', text)", faint)
    assert len(page.evaluate(CONTRASTS)) == 1, "the test would not see faint text"
    visit.context.close()


def test_without_the_extra_a_recording_is_refused_in_a_sentence(browser: Any, site: Site) -> None:
    assert site.ask("musicgen/about").json["hears"] is None
    answer = site.ask("musicgen/heard", raw=b"RIFF", kind="application/octet-stream")
    assert answer.status == 503 and "cannot transcribe recordings: pip install" in answer.json["error"]
    visit = Visit(browser, site.url, 1440, "light")
    visit.begin("file")
    visit.page.set_input_files("#mg-file-input", {"name": "piano.wav", "mimeType": "audio/wav", "buffer": b"RIFF"})
    visit.page.locator(".mg-failed").filter(has_text="cannot hear notes in recordings").wait_for()
    visit.context.close()
