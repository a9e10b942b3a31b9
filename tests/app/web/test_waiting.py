"""A slow machine makes a piece with an ending: it plays to its end, or says beforehand where it stops."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from .serving import Site
from .test_browser import Visit

pytestmark = pytest.mark.slow
# What the player says, in order; and how much was said when it stopped.
LISTEN = """async () => {
  const { rollPlayer } = await musicgen.page;
  globalThis.said = [];
  globalThis.stops = [];
  new MutationObserver(() => said.push(rollPlayer.dock.status.textContent))
    .observe(rollPlayer.dock.status, { childList: true });
  document.addEventListener("musicgen-underrun", () => stops.push(said.length));
}"""


def test_a_piece_plays_to_its_end(browser: Any, site: Site) -> None:
    visit = Visit(browser, site.url, 1440, "light")
    page = visit.page
    page.evaluate(LISTEN)
    visit.fill("seconds", 12)
    with site.slowed():
        page.click("#mg-make")
        page.wait_for_function("globalThis.firstSound")
        visit.finished()
    page.wait_for_function("said.at(-1)?.includes(' notes, ')")
    said = page.evaluate("said")
    for stop in page.evaluate("stops"):
        assert any("it will have to wait for about" in text for text in said[:stop]), said[:stop][-5:]
    counted = [int(match[1]) for text in said if (match := re.search(r"begins in about (\d+) s", text))]
    assert all(after <= 1.2 * before for before, after in itertools.pairwise(counted)), counted
    assert not visit.complaints
    visit.context.close()
