"""What somebody sees and hears first: music at the first click, all ways to begin, plain words, little to load."""

from __future__ import annotations

from typing import Any

import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
MOST = 1_500_000  # bytes before the first sound

# Whether a press in the middle of each part would reach it.
IN_REACH = """(parts) => parts.filter((part) => {
  const one = document.querySelector(part);
  const { x, y, width, height } = one.getBoundingClientRect();
  const hit = document.elementFromPoint(x + width / 2, y + height / 2);
  return !hit || !(one.contains(hit) || hit.contains(one));
})"""


# Whether a part shows all of its words.
SHOWN_WHOLE = """(part) => {
  const one = document.querySelector(part);
  return one.innerText && one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight;
}"""


def test_all_that_one_begins_with_is_above_the_fold(browser: Any, site: Site) -> None:
    """Four cards, Make, the kind of music, the line of settings, Play and what it plays, at any size; on a phone Make
    stays there."""
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    ways = [f".mg-way:has([value='{way}'])" for way in ("nothing", "opening", "file", "keys")]
    parts = [*ways, "#mg-make", "#mg-form-style", "#mg-settings > summary", ".mg-play"]
    for width, height in ((1440, 900), (1024, 768), (390, 780), (320, 640)):
        page.evaluate("scrollTo(0, 0)")
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate(IN_REACH, parts) == [], f"{width} x {height}"
        assert page.evaluate(SHOWN_WHOLE, ".mg-dock .mg-name"), f"{width} x {height}"
        if width < 700:
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            assert page.evaluate(IN_REACH, ["#mg-make"]) == []
    words = page.evaluate("document.querySelector('#mg-notes').innerText").lower()
    assert not [word for word in ("nats", "latent", "token", "branch") if word in words]
    visit.context.close()


def test_music_at_the_first_click_and_little_to_load(browser: Any, site: Site) -> None:
    """The example plays with no work of the server's but what any file takes, and before all samples are there."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    loaded: list[int] = []
    network.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    page.add_init_script("document.addEventListener('musicgen-playing', () => (globalThis.sounds = true))")
    page.goto(site.url)
    page.wait_for_function("globalThis.musicgen?.page")
    page.evaluate("async () => void (globalThis.stage = (await musicgen.page).rollPlayer)")
    page.wait_for_function("stage.music.notes.length > 100")
    page.wait_for_load_state("networkidle")
    before = sum(loaded)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url.removeprefix(site.url)}"))
    page.click(".mg-play")
    page.wait_for_function("globalThis.sounds", timeout=90_000)
    page.wait_for_function("!document.querySelector('#mg-message').innerText.includes('Press Play')")
    assert not [one for one in asked if not one.startswith(("GET /musicgen/samples/", "GET /musicgen/about"))]
    assert 100_000 < before < MOST, "piano samples are loaded as they are needed"
    assert page.evaluate("stage.sound.samples.size") < 25
    context.close()


PACES = [
    ({"Fast": 9.0, "Balanced": 6.0, "Best": 3.0}, 1, "Best"),
    ({"Fast": 9.0, "Balanced": 6.0, "Best": 3.0}, 4, "Balanced"),
    ({"Fast": 1.0, "Balanced": 0.5, "Best": 0.2}, 1, "Fast"),
    ({}, 1, "Balanced"),
]


def test_the_best_setting_that_keeps_up_is_chosen(browser: Any, site: Site) -> None:
    """By what the server has measured and how many takes are wanted, unless somebody has chosen another."""
    visit = Visit(browser, site.url, 1024, "light")
    page = visit.page
    page.wait_for_function("document.querySelector('#mg-cost').textContent.includes('Here, 30 seconds')")
    chosen = """async ([pace, takes]) => {
      const page = await musicgen.page;
      page.learned({ ...page.about, pace });
      page.form.set({ takes: String(takes) });
      page.changed("takes");
      const { latents, context } = page.settings(page.values).settings;
      return Object.entries(page.about.presets).find(([, [m, n]]) => m === latents && n === context)[0];
    }"""
    assert [page.evaluate(chosen, [pace, takes]) for pace, takes, _ in PACES] == [name for *_, name in PACES]
    visit.unfold("#mg-fine")
    page.click("#mg-preset >> text=Fast")
    assert page.evaluate(chosen, [PACES[0][0], 1]) == "Fast"
    visit.context.close()
