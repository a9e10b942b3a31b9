"""Parts that both tabs of the page have, and how their values reach the page's JavaScript."""

from __future__ import annotations

import html as escaping
import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from musicgen.app.controls import SAMPLING, SEED, control
from musicgen.app.web.dials import USUAL, Dials

OWN = "as chosen above"
ROLL = "() => String(Math.floor(Math.random() * 1e9))"
QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False}  # an event that stays in the browser


def by_name(function: str, parts: Mapping[str, Any]) -> str:
    """JavaScript that hands the values of these parts, which Gradio gives in their order, to a function by name."""
    names = json.dumps(list(parts))
    return f"(...values) => {function}(Object.fromEntries({names}.map((name, at) => [name, values[at]])))"


def sampling_sliders() -> dict[str, gr.Slider]:
    """A slider for each setting of the sampling that has one, by name."""
    return {
        one.name: gr.Slider(
            *one.slider,
            value=one.default,
            step=one.step,
            label=one.label,
            info=f"{one.option.removeprefix('--')}: {one.help}",
        )
        for one in SAMPLING
        if one.slider is not None
    }


def preset_radio(dials: Dials, name: str) -> gr.Radio:
    """The presets, and a line below them for what they cost.  name: what the elements' names begin with."""
    preset = gr.Radio(list(dials.presets), value=USUAL, label="Speed or quality", elem_id=f"{name}-preset")
    html(f'<div id="{name}-cost" data-presets="{attribute(dials.presets)}"></div>')
    return preset


def takes_slider(most: int) -> gr.Slider:
    """How many takes."""
    takes = control("num_samples")
    return gr.Slider(1, most, value=takes.default, step=1, label=takes.label, info="different versions made at once")


def own_dials(dials: Dials, preset: gr.Radio, latents: str, context: str) -> dict[str, gr.Dropdown]:
    """Latents and context apart from the preset, by name; latents, context: what is said of them."""
    offered = {"latents": (dials.latent_choices, latents), "context": (dials.context_choices, context)}
    own = {
        name: gr.Dropdown([OWN, *map(str, choices)], value=OWN, label=control(name).label, info=f"{name}: {info}")
        for name, (choices, info) in offered.items()
    }
    # A preset that is clicked is meant: what was chosen apart goes back to it.
    preset.input(None, None, list(own.values()), js=f"() => ['{OWN}', '{OWN}']", **QUIET)
    return own


def seed_box(name: str, info: str) -> gr.Textbox:
    """The seed, with dice beside it; name: of the row's element."""
    with gr.Row(elem_id=name, elem_classes="mg-seed"):
        seed = gr.Textbox("", label=SEED.label, info=info, placeholder="any", max_lines=1, min_width=120)
        dice = gr.Button("Roll the dice", min_width=100)
    dice.click(None, None, seed, js=ROLL, **QUIET)
    return seed


def html(content: str, **options: Any) -> gr.HTML:
    """Our own HTML, which Gradio's style for running text must leave alone."""
    return gr.HTML(content, apply_default_css=False, **options)


def attribute(value: object) -> str:
    """A JSON value as it stands between the quotes of an HTML attribute."""
    return escaping.escape(json.dumps(value), quote=True)
