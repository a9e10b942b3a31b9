"""The pictures of docs/tour.md can be taken: the page still does what the tour shows."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from .serving import Site

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def test_the_pictures_of_the_tour_can_be_taken(browser: Any, site: Site, tmp_path: Path) -> None:
    """All that the tour names, of the sizes that they have there."""
    runpy.run_path(str(ROOT / ".ci" / "tour.py"))["take_pictures"](site.url, tmp_path, browser)
    tour = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    for path in sorted(tmp_path.iterdir()):
        assert f"({path.name})" in tour
        assert path.read_bytes()[16:24] == (ROOT / "docs" / path.name).read_bytes()[16:24], "width and height"
    assert len(list(tmp_path.iterdir())) == tour.count(".png)")
    site.until_idle()
