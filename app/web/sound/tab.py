"""The Audio tab: controls on the left; on the right the sound and its takes, which `page/sound_page.js` shows.

Buttons hand the values to that module, which asks the server (see `routes.Sounds`) and plays the sound as
it comes.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from musicgen.app.web.components import (
    QUIET,
    by_name,
    html,
    own_dials,
    preset_radio,
    sampling_sliders,
    seed_box,
    takes_slider,
)
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


def sound_tab(sounds: SoundService) -> None:
    """Build the tab inside the page that is being built."""
    with gr.Row(elem_id="mg-sound-columns", equal_height=False):
        with gr.Column(scale=0, min_width=330, elem_id="mg-sound-dials"):
            start, make, stop, values = _controls(sounds)
        with gr.Column(scale=1, min_width=320, elem_id="mg-sound"):
            html('<div id="mg-sound-message"></div>')
            html('<div id="mg-sound-stage"></div>')
            html('<section id="mg-sound-shelf" aria-label="Takes of sound"></section>')
    start.change(None, start, None, js="(value) => globalThis.musicgenSound?.start(value)", **QUIET)
    make.click(None, list(values.values()), None, js=by_name("globalThis.musicgenSound?.make", values), **QUIET)
    stop.click(None, None, None, js="() => globalThis.musicgenSound?.stop()", **QUIET)
    cost = {name: values[name] for name in ("preset", "latents", "context")}
    for part in cost.values():
        part.change(None, list(cost.values()), None, js=by_name("globalThis.musicgenSound?.changed", cost), **QUIET)


def _controls(sounds: SoundService) -> tuple[gr.Radio, gr.Button, gr.Button, dict[str, Any]]:
    """Start, Make, Stop, then the controls by the names that `page/sound_page.js` knows them by."""
    limits, dials = sounds.limits, dials_of(sounds.model)
    start = gr.Radio(STARTS, value="file", label="Begin with", elem_id="mg-sound-start")
    html('<div id="mg-sound-source"></div>')
    longest = min(60, int(limits.sound_seconds))
    seconds = gr.Slider(2, longest, value=10, step=1, label="How much new sound", info="seconds")
    preset = preset_radio(dials, "mg-sound")
    takes = takes_slider(limits.sound_takes)
    with gr.Row(elem_id="mg-sound-buttons"):
        make = gr.Button("Make sound", variant="primary", size="lg", elem_id="mg-sound-make")
        stop = gr.Button("Stop", size="lg", elem_id="mg-sound-stop")
    values = {"seconds": seconds, "preset": preset, "takes": takes}
    with gr.Accordion("Fine tuning", open=False, elem_id="mg-sound-fine"):
        values |= sampling_sliders()
        rate = sounds.model.codec.config.frame_rate * sounds.model.codebooks
        values |= own_dials(
            dials,
            preset,
            latents="how many of the latest codes it thinks hard about",
            context=f"how many codes it looks back on; a second has {rate:,.0f}",
        )
        values["seed"] = seed_box("mg-sound-seed", "same number, same sound; empty: any")
    return start, make, stop, values
