"""What page, endpoints and requests take from the table of controls."""

from __future__ import annotations

import dataclasses
import inspect
import json
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


def test_each_part_of_the_page_is_known_by_one_name() -> None:
    pytest.importorskip("gradio", reason="the page needs the extra app")
    from musicgen.app.web.components import by_name, sampling_sliders

    sliders = sampling_sliders()
    assert list(sliders) == [one.name for one in SAMPLING if one.slider is not None]
    for one in SAMPLING:
        if one.name in sliders:
            slider = sliders[one.name]
            assert (slider.minimum, slider.maximum) == one.slider and slider.step == one.step
            assert (slider.value, slider.label) == (one.default, one.label)
    assert f"make(Object.fromEntries({json.dumps(list(sliders))}.map(" in by_name("make", sliders)


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
        assert same == (one.name == "num_samples"), one.name
    assert "num_samples" in ELSEWHERE
