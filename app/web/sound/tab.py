"""The Audio tab: dials on the left; on the right the sound and its takes, which `page/sound_page.js` shows.

Buttons hand the dials' values to that module, which asks the server (see `routes.sound_routes`) and plays the sound as
it comes.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from musicgen.app.web.dials import USUAL
from musicgen.app.web.parts import OWN, attribute, html, sampling_dials, seed_dial, turned_back
from musicgen.app.web.sound.request import dials_of
from musicgen.app.web.sound.service import SoundService

SOUND_HEAD = (
    '<link rel="stylesheet" href="musicgen/page/sound.css">'
    '<script type="module" src="musicgen/page/sound_page.js"></script>'
)
STARTS = [
    ("A recording of mine", "file"),
    ("Something I record now", "microphone"),
    ("Nothing: sound out of thin air", "nothing"),
]
CHANGED = "(...values) => globalThis.musicgenSound?.changed(values)"
START = "(value) => globalThis.musicgenSound?.start(value)"
ASK = "(...values) => globalThis.musicgenSound?.make(values)"
STOP = "() => globalThis.musicgenSound?.stop()"


def sound_tab(sounds: SoundService) -> None:
    """Build the tab inside the page that is being built."""
    with gr.Row(elem_id="mg-sound-columns", equal_height=False):
        with gr.Column(scale=0, min_width=330, elem_id="mg-sound-dials"):
            start, make, stop, *values = _dials(sounds)
        with gr.Column(scale=1, min_width=320, elem_id="mg-sound"):
            html('<div id="mg-sound-message"></div>')
            html('<div id="mg-sound-stage"></div>')
            html('<section id="mg-sound-shelf" aria-label="Takes of sound"></section>')
    quietly: dict[str, Any] = {"api_visibility": "private", "queue": False}
    start.change(None, start, None, js=START, **quietly)
    make.click(None, values, None, js=ASK, **quietly)
    stop.click(None, None, None, js=STOP, **quietly)


def _dials(sounds: SoundService) -> list[Any]:
    """Start, Make, Stop, then the values that `page/sound_page.js` takes in this order."""
    limits, dials = sounds.limits, dials_of(sounds.model)
    start = gr.Radio(STARTS, value="file", label="Begin with", elem_id="mg-sound-start")
    html('<div id="mg-sound-source"></div>')
    longest = min(60, int(limits.sound_seconds))
    seconds = gr.Slider(2, longest, value=10, step=1, label="How much new sound", info="seconds")
    preset = gr.Radio(list(dials.presets), value=USUAL, label="Speed or quality", elem_id="mg-sound-preset")
    html(f'<div id="mg-sound-cost" data-presets="{attribute(dials.presets)}"></div>')
    takes = gr.Slider(1, limits.sound_takes, value=1, step=1, label="Takes", info="different versions made at once")
    with gr.Row(elem_id="mg-sound-buttons"):
        make = gr.Button("Make sound", variant="primary", size="lg", elem_id="mg-sound-make")
        stop = gr.Button("Stop", size="lg", elem_id="mg-sound-stop")
    with gr.Accordion("Fine tuning", open=False, elem_id="mg-sound-fine"):
        sampling = sampling_dials()
        latents = gr.Dropdown(
            [OWN, *map(str, dials.latent_choices)],
            value=OWN,
            label="Thinking",
            info="latents: how many of the latest codes it thinks hard about",
        )
        rate = sounds.model.codec.config.frame_rate * sounds.model.codebooks
        context = gr.Dropdown(
            [OWN, *map(str, dials.context_choices)],
            value=OWN,
            label="Memory",
            info=f"context: how many codes it looks back on; a second has {rate:,.0f}",
        )
        turned_back(preset, latents, context)
        pair: list[Any] = [preset, latents, context]
        for dial in pair:
            dial.change(None, pair, None, js=CHANGED, api_visibility="private", queue=False)
        seed = seed_dial("mg-sound-seed", "same number, same sound; empty: any")
    return [start, make, stop, seconds, preset, takes, *sampling, latents, context, seed]
