"""The page: ways to begin and Make, the roll with its player, the takes, and what researchers want to turn.

Its parts are plain HTML (see `components`), which Gradio shows; the modules in `player/` and `page/` draw the roll, the
keyboard and the takes, read the controls and ask the server (see `routes`): nothing of anybody's is kept in Python.
The same things are named API endpoints for programs (see `endpoints`).
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from musicgen.app.bundled import bundled_primes
from musicgen.app.controls import AVOID_COPIES, control
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.web import components as parts
from musicgen.app.web.credits import foot
from musicgen.app.web.dials import Dials
from musicgen.app.web.endpoints import add_endpoints
from musicgen.app.web.help import HELP
from musicgen.app.web.service import Service
from musicgen.app.web.sound.tab import sound_tab
from musicgen.app.web.teach.section import teach_section

FORM = "mg-form"
OPENINGS = {
    "bach": "Bach: Prelude in C",
    "beethoven": "Beethoven: Moonlight Sonata",
    "satie": "Satie: Gymnopédie no. 1",
}
WAYS = [
    ("Surprise me", "nothing", "A new piece out of thin air"),
    ("Finish a famous opening", "opening", "Bach, Beethoven or Satie begins"),
    ("My file", "file", "Your MIDI file goes on"),
    ("I play", "keys", "On these keys or your own"),
]
HERE = Path(__file__).parent
# The players and the keyboard bring their own style sheets; named here they are there before anything is drawn.
SHEETS = (
    "page/page.css",
    "page/begin.css",
    "page/form.css",
    "page/takes.css",
    "player/stage.css",
    "player/dock.css",
    "player/keyboard.css",
)


def theme() -> gr.themes.Base:
    """Quiet greys and the system's own fonts, so that nothing is fetched from anywhere; the page's parts have their
    colours from page.css."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "Consolas", "monospace"]
    ).set(body_background_fill="#f6f6f4", body_background_fill_dark="#0f1115", block_padding="0px")


def build(service: Service, dials: Dials) -> gr.Blocks:
    """The page and its API.

    Args:
        service: what answers.
        dials: the settings of latents and context that are offered.
    """
    with gr.Blocks(title="musicgen: piano music", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(whole(service, dials), apply_default_css=False, padding=False)
        add_endpoints(service)
    return page


def head(service: Service) -> str:
    """What the page loads besides Gradio: our own style and modules, all of them asked for at once."""
    sheets, main = [*SHEETS], ["page/main.js"]
    modules = [f"{path.parent.name}/{path.name}" for path in sorted(HERE.glob("p*/*.js"))]
    needed = [module for module in modules if service.sounds is not None or not _of_sound(module)]
    if service.sounds is not None:
        sheets.append("page/sound.css")
        main.append("page/sound_page.js")
    if service.teacher is not None:
        sheets.append("page/teach.css")
        main.append("page/teach.js")
    else:
        needed.remove("page/teach.js")
    return "".join(
        [
            *(f'<link rel="stylesheet" href="musicgen/{sheet}">' for sheet in sheets),
            *(f'<link rel="modulepreload" href="musicgen/{module}">' for module in needed),
            *(f'<script type="module" src="musicgen/{module}"></script>' for module in main),
        ]
    )


def _of_sound(module: str) -> bool:
    return module.endswith(
        ("sound_page.js", "sound_storage.js", "recordings.js", "sound_player.js", "stream.js", "wave.js")
    )


def whole(service: Service, dials: Dials) -> str:
    """All that is seen."""
    tabs = sound = ""
    if service.sounds is not None:
        both = _tab("notes", True) + _tab("audio", False)
        tabs = f'<div role="tablist" id="mg-tabs" aria-label="What is made">{both}</div>'
        sound = _panel("audio", sound_tab(service.sounds), hidden=True, tab=True)
    return (
        '<div id="mg-page"><header class="mg-head"><h1><i aria-hidden="true"></i>musicgen</h1>'
        f"<p>Piano music that goes on where you stop.</p>{tabs}"
        '<button type="button" id="mg-help" class="mg-plain" aria-haspopup="dialog" aria-label="Help: all keys"'
        ' title="All keys (?)">?</button></header>'
        f"{_panel('notes', _notes(service, dials), hidden=False, tab=bool(tabs))}{sound}{foot(service.credits)}"
        f'<div id="mg-dock" role="region" aria-label="Player"><div id="mg-player"></div></div>{HELP}</div>'
    )


def _tab(name: str, chosen: bool) -> str:
    return (
        f'<button type="button" role="tab" id="mg-tab-{name}" aria-controls="mg-{name}"'
        f' aria-selected="{json.dumps(chosen)}" tabindex="{0 if chosen else -1}">{name.title()}</button>'
    )


def _panel(name: str, content: str, hidden: bool, tab: bool) -> str:
    """A tab's content; the only one is no tab."""
    role = f' role="tabpanel" aria-labelledby="mg-tab-{name}"' if tab else ""
    return f'<div id="mg-{name}" class="mg-panel"{role}{" hidden" if hidden else ""}>{content}</div>'


def _notes(service: Service, dials: Dials) -> str:
    """How to begin, the roll, the takes, and what is for researchers."""
    known = [(OPENINGS.get(name, name.title()), name) for name in bundled_primes()]
    more = parts.pills(
        "opening", "Which opening", known, known[0][1], FORM, id="mg-opening", class_="mg-more mg-when-opening"
    )
    more += '<div id="mg-file" class="mg-more mg-when-file"></div><div id="mg-keys" class="mg-more mg-when-keys"></div>'
    return (
        parts.begin(
            FORM,
            "mg",
            parts.cards("How to begin", WAYS, "nothing", FORM),
            "music",
            more + f'<div class="mg-line">{_line(service)}</div>',
        )
        + '<div id="mg-message"></div><div id="mg-stage" class="mg-frame"></div>'
        + '<section id="mg-shelf" aria-label="Takes"></section>'
        + (teach_section(service.limits) if service.teacher is not None else "")
        + parts.folded("mg-fine", "For researchers", _fine(service, dials), "mg-fine")
    )


def _line(service: Service) -> str:
    """Kind of music, then length, ending and takes in one line that opens."""
    length, ending, kind = control("seconds"), control("end"), control("style")
    kinds = [(name.capitalize(), name) for name in (kind.default, *service.styles)]
    most = service.limits.seconds
    content = (
        parts.number_box(
            "seconds",
            length.label,
            (length.step, most),
            length.step,
            length.default,
            f"seconds, {most:g} at most",
            FORM,
        )
        + parts.takes_box(service.limits.takes, FORM)
        + parts.mark("end", ending.label, True, "otherwise it is cut off at that moment", FORM)
    )
    style = parts.choice("style", kind.label, kinds, "", FORM) if service.styles else ""
    return style + parts.folded("mg-settings", "Length, ending, takes", content, "mg-settings")


def _fine(service: Service, dials: Dials) -> str:
    """What decides how the model draws, each with a sentence."""
    apart = parts.mark(
        "apart",
        AVOID_COPIES.label,
        False,
        f"a take that shares {THRESHOLD} notes or more with one of them is made again",
        FORM,
    )
    return (
        '<p class="mg-wide">The model writes a piece as tokens, about four to a note, and draws each from what it finds'
        " likely after the ones before. These decide how much it reads, how hard it thinks and how boldly it draws."
        " Automatic takes the best setting that is quick enough here to play while it is made.</p>"
        + parts.presets(
            dials,
            FORM,
            "mg",
            latents="how many of the latest tokens it thinks hard about",
            context="how many tokens it looks back on; a note takes about four",
        )
        + (f'<div class="mg-wide">{service.quality.picture(dials)}</div>' if service.quality is not None else "")
        + parts.sampling_boxes(FORM)
        + parts.seed_box("same number, same piece; empty: any", FORM)
        + '<div class="mg-field"><span id="mg-surprise"></span>'
        + "<small>how little the model expected each note: one nat more is about a third as likely</small></div>"
        + (apart if service.open_index is not None else "")
    )
