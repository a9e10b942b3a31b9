"""Dials that both tabs of the page have."""

from __future__ import annotations

import html as escaping
import json
from typing import Any

import gradio as gr

from musicgen.app.settings import Settings

OWN = "as chosen above"
ROLL = "() => String(Math.floor(Math.random() * 1e9))"


def sampling_dials() -> list[gr.Slider]:
    """Temperature, top-p, min-p."""
    usual = Settings().sampling
    temperature = gr.Slider(
        0.5, 1.3, value=usual.temperature, step=0.01, label="Daring", info="temperature: low is safe, high is wild"
    )
    top_p = gr.Slider(
        0.5, 1.0, value=usual.top_p, step=0.01, label="Leave out the unlikeliest", info="top-p: 1 leaves nothing out"
    )
    min_p = gr.Slider(
        0.0, 0.2, value=usual.min_p, step=0.005, label="Leave out the far-fetched", info="min-p: 0 leaves nothing out"
    )
    return [temperature, top_p, min_p]


def seed_dial(name: str, info: str) -> gr.Textbox:
    """The seed, with dice beside it; name: of the row's element."""
    with gr.Row(elem_id=name, elem_classes="mg-seed"):
        seed = gr.Textbox("", label="Seed", info=info, placeholder="any", max_lines=1, min_width=120)
        dice = gr.Button("Roll the dice", min_width=100)
    dice.click(None, None, seed, js=ROLL, api_visibility="private", queue=False)
    return seed


def turned_back(preset: gr.Radio, latents: gr.Dropdown, context: gr.Dropdown) -> None:
    """A preset that is clicked is meant: latents and context that were chosen apart go back to it."""
    back = f"() => ['{OWN}', '{OWN}']"
    preset.input(None, None, [latents, context], js=back, api_visibility="private", queue=False)


def html(content: str, **options: Any) -> gr.HTML:
    """Our own HTML, which Gradio's style for running text must leave alone."""
    return gr.HTML(content, apply_default_css=False, **options)


def attribute(value: object) -> str:
    """A JSON value as it stands between the quotes of an HTML attribute."""
    return escaping.escape(json.dumps(value), quote=True)
