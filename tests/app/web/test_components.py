"""What page, endpoints and requests take from the table of controls."""

from __future__ import annotations

import dataclasses
import inspect
from html.parser import HTMLParser
from typing import Any

import pytest

from musicgen.app.controls import CONTROLS, SAMPLING
from musicgen.app.settings import Settings
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.settings import ELSEWHERE

pytestmark = pytest.mark.slow


def test_every_slider_of_the_sampling_is_a_parameter_of_the_api() -> None:
    """In the order that programs rely on, which may call by position."""
    pytest.importorskip("gradio", reason="the page needs the extra app")
    from musicgen.app.web.endpoints import _that_make

    make, _ = _that_make(None)  # type: ignore[arg-type]
    assert inspect.isasyncgenfunction(make)
    before = "request prime seconds prime_from prime_to takes seed latents context"
    sliders = [one.name for one in SAMPLING if one.slider is not None]
    assert sliders[:3] == ["temperature", "top_p", "min_p"]
    assert list(inspect.signature(make).parameters) == [*before.split(), *sliders, "end", "apart", "style"]


class Named(HTMLParser):
    """The boxes of a piece of HTML, by name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.boxes: dict[str, dict[str, str | None]] = {}
        self.labels: dict[str | None, str] = {}
        self._for: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if name := about.get("name"):
            self.boxes[name] = about
        self._for = about.get("for") if tag == "label" else None

    def handle_data(self, data: str) -> None:
        if self._for is not None:
            self.labels[self._for] = data


def test_each_part_of_the_page_is_known_by_one_name() -> None:
    """With its range, default and label from the table of controls."""
    from musicgen.app.web.components import sampling_boxes

    named = Named(sampling_boxes("form"))
    assert list(named.boxes) == [one.name for one in SAMPLING if one.slider is not None]
    for one in SAMPLING:
        if one.slider is not None:
            box = named.boxes[one.name]
            numbers = [float(str(box[part])) for part in ("min", "max", "step", "value")]
            assert numbers == [*one.slider, one.step, one.default] and box["form"] == "form"
            assert named.labels[box["id"]] == one.label


def test_texts_of_the_page_cannot_become_html() -> None:
    from musicgen.app.web.components import choice, number_box, text

    evil = '"><script>'
    drawn = number_box("a", evil, (0, 1), 1, 0, evil, "f") + choice("b", evil, [(evil, evil)], evil, "f")
    assert "<script>" not in drawn and drawn.count("&lt;script&gt;") == 7
    assert text({"a": '"'}) == "{&quot;a&quot;: &quot;\\&quot;&quot;}"


def test_requests_that_differ_in_a_setting_never_share_a_batch(make_scheduler: Any) -> None:
    """Whichever settings there are; only what a row has for itself may differ."""
    fixture = make_scheduler()
    maker: NoteMaker = fixture.notes
    request = fixture.request(settings={"latents": 16, "context": 64, "end": True, "temperature": 0.9})
    values = request.settings.to_dict() | {"end": True, "style": "jazz"}
    request = dataclasses.replace(request, settings=Settings.of(**values))
    key = maker.batch_key(request)
    other = {bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value / 2 + 0.1}
    other[str] = lambda value: "pop"
    for one in CONTROLS:
        if one.name not in values or values[one.name] is None:
            continue
        changed = Settings.of(**(values | {one.name: other[one.kind](values[one.name])}))
        same = maker.batch_key(dataclasses.replace(request, settings=changed)) == key
        assert same == (one.name in ("num_samples", "keep_prime")), one.name
    assert "num_samples" in ELSEWHERE
