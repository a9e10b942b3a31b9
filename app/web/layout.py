"""The Gradio page: controls on the left, roll player and takes on the right.

Controls are Gradio's; roll player, keyboard and takes are drawn by the modules in `player/` and `page/`.  Buttons hand
the values to `page/main.js`, which asks the server (see `routes`) and shows the notes as they come: nothing of
anybody's is kept in Python.  The same things are named API endpoints for programs (see `endpoints`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from musicgen.app.bundled import bundled_primes
from musicgen.app.controls import AVOID_COPIES, control
from musicgen.app.evaluation.memorisation_report import THRESHOLD
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
from musicgen.app.web.credits import foot
from musicgen.app.web.dials import Dials
from musicgen.app.web.endpoints import add_endpoints
from musicgen.app.web.notes.quality import Quality
from musicgen.app.web.service import Service
from musicgen.app.web.sound.tab import SOUND_HEAD, sound_tab

OPENINGS = {
    "bach": "Bach: Prelude in C",
    "beethoven": "Beethoven: Moonlight Sonata",
    "satie": "Satie: Gymnopédie no. 1",
}
STARTS = [
    ("Nothing: a piece out of thin air", "nothing"),
    ("A famous opening", "opening"),
    ("A MIDI file of mine", "file"),
    ("Something I play now", "keys"),
]
# The players and the keyboard bring their own style sheets; named here they are there before anything is drawn.
SHEETS = ("page/page.css", "player/stage.css", "player/keyboard.css")
STYLE = "".join(f'<link rel="stylesheet" href="musicgen/{sheet}">' for sheet in SHEETS)
HEAD = f'{STYLE}<script type="module" src="musicgen/page/main.js"></script>'
TITLE = """<header class="mg-head"><h1>musicgen</h1>
<p>Piano music that continues where you stop. Choose how to begin, press <b>Make music</b>, and listen while it is being
made.</p>
</header>"""
# The module may come after the page: wait for it.
READY = """(async (values) => {
  while (!globalThis.musicgen) await new Promise((resolve) => setTimeout(resolve, 30));
  globalThis.musicgen.ready(values);
})"""
CELL = "() => globalThis.musicgen?.chosen ?? []"


def theme() -> gr.themes.Base:
    """Blue of the roll on quiet grey; the fonts are the system's own, so that nothing is fetched from anywhere."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue="blue",
        neutral_hue="slate",
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
        radius_size="lg",
    ).set(
        button_primary_background_fill="#0b5394",
        button_primary_background_fill_hover="#08416f",
        button_primary_background_fill_dark="#9fceff",
        button_primary_background_fill_hover_dark="#c3e1ff",
        button_primary_text_color="#ffffff",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_title_padding="0px",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        checkbox_label_background_fill_selected="#0b5394",
        checkbox_label_background_fill_selected_dark="#9fceff",
        checkbox_label_text_color_selected="#ffffff",
        checkbox_label_text_color_selected_dark="#0c1a28",
        # What can be pressed or filled in is seen to be there.
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        slider_color="#0b5394",
        slider_color_dark="#9fceff",
        button_primary_text_color_dark="#0c1a28",
    )


def build(service: Service, dials: Dials) -> gr.Blocks:
    """The page and its API.

    Args:
        service: what answers.
        dials: the settings of latents and context that are offered.
    """
    with gr.Blocks(title="musicgen: piano music", analytics_enabled=False, fill_width=True) as page:
        html(TITLE)
        if service.sounds is None:
            _piano(page, service, dials)
        else:
            with gr.Tabs(elem_id="mg-tabs"):
                with gr.Tab("Notes", id="notes", render_children=True):
                    _piano(page, service, dials)
                with gr.Tab("Audio", id="audio", render_children=True):
                    sound_tab(service.sounds)
        html(foot(service.credits))
        add_endpoints(service)
    return page


def head(service: Service) -> str:
    """What the page loads besides Gradio: our own style and modules."""
    return HEAD if service.sounds is None else HEAD + SOUND_HEAD


def _piano(page: gr.Blocks, service: Service, dials: Dials) -> None:
    """Controls on the left, roll player and takes on the right, and what joins them."""
    with gr.Row(elem_id="mg-columns", equal_height=False):
        with gr.Column(scale=0, min_width=330, elem_id="mg-dials"):
            values, make, stop = _controls(service, dials)
        with gr.Column(scale=1, min_width=320, elem_id="mg-music"):
            html('<div id="mg-message" role="alert"></div>')
            html('<div id="mg-stage" class="mg-frame"></div>')
            html('<section id="mg-shelf" aria-label="Takes"></section>')
    inputs = list(values.values())
    make.click(None, inputs, None, js=by_name("globalThis.musicgen?.make", values), **QUIET)
    stop.click(None, None, None, js="() => globalThis.musicgen?.stop()", **QUIET)
    begin = {name: values[name] for name in ("start", "opening")}
    for part in begin.values():
        part.change(None, list(begin.values()), None, js=by_name("globalThis.musicgen?.start", begin), **QUIET)
    for part in inputs:
        part.change(None, inputs, None, js=by_name("globalThis.musicgen?.changed", values), **QUIET)
    page.load(None, inputs, None, js=by_name(READY, values), **QUIET)


def _controls(service: Service, dials: Dials) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """The controls by the names that `page/main.js` knows them by, then Make and Stop."""
    start = gr.Radio(STARTS, value="nothing", label="Begin with", elem_id="mg-start")
    known = [(OPENINGS.get(name, name.title()), name) for name in bundled_primes()]
    opening = gr.Dropdown(
        known, value=known[0][1], label="Which opening", elem_id="mg-opening", elem_classes="mg-when-opening"
    )
    html('<div id="mg-file"></div>', elem_classes="mg-when-file")
    html('<div id="mg-keys"></div>', elem_classes="mg-when-keys")
    length, ending = control("seconds"), control("end")
    seconds = gr.Slider(
        length.step, service.limits.seconds, value=length.default, step=length.step, label=length.label, info="seconds"
    )
    end = gr.Checkbox(True, label=ending.label, info="otherwise it is cut off at that moment")
    kind = control("style")
    style = gr.Dropdown(
        [(name.capitalize(), name) for name in kind.choices],
        value=kind.default,
        label=kind.label,
        elem_id="mg-style",
        visible=bool(service.styles),
    )
    preset = preset_radio(dials, "mg")
    takes = takes_slider(service.limits.takes)
    with gr.Row(elem_id="mg-buttons"):
        make = gr.Button("Make music", variant="primary", size="lg", elem_id="mg-make")
        stop = gr.Button("Stop", size="lg", elem_id="mg-stop")
    values = {"start": start, "opening": opening, "seconds": seconds, "style": style}
    values |= {"preset": preset, "takes": takes, "end": end}
    with gr.Accordion("Fine tuning", open=False, elem_id="mg-fine"):
        values |= _fine(preset, dials, service.quality, service.open_index is not None)
    return values, make, stop


def _fine(preset: gr.Radio, dials: Dials, quality: Quality | None, comparable: bool) -> dict[str, Any]:
    sampling = sampling_sliders()
    own = own_dials(
        dials,
        preset,
        latents="how many of the latest tokens it thinks hard about",
        context="how many tokens it looks back on; a note takes about four",
    )
    seed = seed_box("mg-seed", "same number, same piece; empty: any")
    apart = gr.Checkbox(
        False,
        label=AVOID_COPIES.label,
        info=f"a take that shares {THRESHOLD} notes or more with one of them is made again",
        visible=comparable,
    )
    if quality is not None:
        html(quality.picture(dials))
        # Only its click is used: the table's buttons are not Gradio's, and only an event of Gradio's turns its dials.
        cell = gr.Button("Choose this setting", elem_id="mg-choose")
        cell.click(None, None, list(own.values()), js=CELL, **QUIET)
    return {**sampling, **own, "seed": seed, "apart": apart}
