"""Parts that both tabs of the page have, as HTML: cards, boxes for numbers, lists and marks, whose values
`page/form.js` reads by their names.

Each text comes from the table of controls (see `musicgen.app.controls`) or is escaped here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence

from musicgen.app.controls import SAMPLING, SEED, control
from musicgen.app.web.dials import Dials

AUTOMATIC = ""  # the preset of whoever has not chosen one: see `Tab.automatic` in page/tab.js
OWN = ("as chosen above", "")
# Drawn on 24 x 24, by lines.
ICONS = {
    "nothing": "M11 3l1.9 5.6 5.6 1.9-5.6 1.9L11 18l-1.9-5.6-5.6-1.9 5.6-1.9zM18.5 15.5l.8 2.2 2.2.8-2.2.8-.8 2.2"
    "-.8-2.2-2.2-.8 2.2-.8z",
    "opening": "M9 18V5.5L20 3.5V16M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM20 16a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0"
    "zM9 9.5l11-2",
    "file": "M13.5 3H6.5v18h11V7zM13.5 3v4h4M12 18v-6M9.5 14.2 12 11.7l2.5 2.5",
    "keys": "M3.5 5h17v14h-17zM9.2 5v14M14.8 5v14M7.8 5h2.8v7.5H7.8zM13.4 5h2.8v7.5h-2.8z",
    "microphone": "M12 3.5a3 3 0 0 1 3 3V11a3 3 0 0 1-6 0V6.5a3 3 0 0 1 3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5v3.5",
}


def text(value: object) -> str:
    """A text, or a JSON value, as it may stand in HTML, also between the quotes of an attribute."""
    return html.escape(value if isinstance(value, str) else json.dumps(value), quote=True)


def cards(legend: str, ways: Iterable[tuple[str, str, str]], chosen: str, form: str) -> str:
    """Ways to begin, side by side: each a name, a value and a line about it."""
    drawn = "".join(
        f'<label class="mg-way"><input type="radio" name="start" value="{value}" form="{form}"'
        f"{' checked' if value == chosen else ''}>"
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{ICONS[value]}"/></svg>'
        f"<b>{text(name)}</b><small>{text(line)}</small></label>"
        for name, value, line in ways
    )
    return f'<fieldset class="mg-ways"><legend>{text(legend)}</legend>{drawn}</fieldset>'


def pills(name: str, legend: str, choices: Iterable[tuple[str, str]], chosen: str, form: str, **options: str) -> str:
    """A few choices in one row, each a label and a value.  options: more attributes of the group."""
    drawn = "".join(
        f'<label class="mg-pill"><input type="radio" name="{name}" value="{text(value)}" form="{form}"'
        f"{' checked' if value == chosen else ''}><span>{_short(label)}</span></label>"
        for label, value in choices
    )
    more = "".join(f' {key.rstrip("_")}="{text(value)}"' for key, value in options.items())
    return f'<fieldset{more}><legend>{text(legend)}</legend><div class="mg-pills">{drawn}</div></fieldset>'


def _short(label: str) -> str:
    """A label of which a phone shows only what stands before the colon."""
    name, colon, rest = label.partition(":")
    return text(name) + (f'<span class="mg-spare">{text(colon + rest)}</span>' if rest else "")


def number_box(
    name: str, label: str, span: tuple[float, float], step: float, value: float, about: str, form: str
) -> str:
    """A number with a slider; what is out of its span is set to the nearer end, which is said beside it."""
    low, high = span
    span_of = f'min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}" form="{form}"'
    identity = f"{form}-{name}"
    return (
        f'<div class="mg-field"><label for="{identity}">{text(label)}</label>'
        f'<input type="number" inputmode="decimal" id="{identity}" name="{name}" {span_of}'
        f' aria-describedby="{identity}-about {identity}-note">'
        f'<input type="range" data-for="{name}" aria-label="{text(label)}, slider" {span_of}>'
        f'<small id="{identity}-about">{text(about)}</small>'
        f'<output id="{identity}-note" class="mg-note" for="{identity}" form="{form}"></output></div>'
    )


def mark(name: str, label: str, checked: bool, about: str, form: str) -> str:
    """Something that is on or off."""
    return (
        f'<div class="mg-field mg-mark"><label><input type="checkbox" name="{name}" form="{form}"'
        f'{" checked" if checked else ""} aria-describedby="{form}-{name}-about"> {text(label)}</label>'
        f'<small id="{form}-{name}-about">{text(about)}</small></div>'
    )


def choice(name: str, label: str, choices: Iterable[tuple[str, str]], about: str, form: str) -> str:
    """A list to choose one of; the first is chosen."""
    options = "".join(f'<option value="{text(value)}">{text(said)}</option>' for said, value in choices)
    more = f'<small id="{form}-{name}-about">{text(about)}</small>' if about else ""
    described = f' aria-describedby="{form}-{name}-about"' if about else ""
    return (
        f'<div class="mg-field"><label for="{form}-{name}">{text(label)}</label>'
        f'<select id="{form}-{name}" name="{name}" form="{form}"{described}>{options}</select>{more}</div>'
    )


def takes_box(most: int, form: str) -> str:
    """How many takes."""
    takes = control("num_samples")
    return number_box("takes", takes.label, (1, most), 1, takes.default, "different versions made at once", form)


def sampling_boxes(form: str) -> str:
    """A box for each setting of the sampling that has a slider."""
    return "".join(
        number_box(one.name, one.label, one.slider, one.step, one.default, f"{one.option[2:]}: {one.help}", form)
        for one in SAMPLING
        if one.slider is not None
    )


def presets(dials: Dials, form: str, prefix: str, latents: str, context: str) -> str:
    """The presets with a line about what the chosen one costs, then latents and context apart from it.

    prefix: what the elements' names begin with.  latents, context: what is said of them.
    """
    names = [("Automatic", AUTOMATIC), *((name, name) for name in dials.presets)]
    named = {"id": f"{prefix}-preset", "class_": "mg-group-field"}
    drawn = pills("preset", "How hard it thinks", names, AUTOMATIC, form, **named)
    drawn += f'<p id="{prefix}-cost" class="mg-cost" data-presets="{text(dials.presets)}"></p>'
    for name, offered, about in (
        ("latents", dials.latent_choices, latents),
        ("context", dials.context_choices, context),
    ):
        numbers: Sequence[tuple[str, str]] = [OWN, *((str(number), str(number)) for number in offered)]
        drawn += choice(name, control(name).label, numbers, f"{name}: {about}", form)
    return drawn


def seed_box(about: str, form: str) -> str:
    """The seed, with dice beside it."""
    return (
        f'<div class="mg-field mg-seed"><label for="{form}-seed">{SEED.label}</label>'
        f'<input type="text" inputmode="numeric" id="{form}-seed" name="seed" form="{form}" placeholder="any" size="11"'
        f' autocomplete="off" aria-describedby="{form}-seed-about">'
        '<button type="button" class="mg-plain mg-dice">Roll the dice</button>'
        f'<small id="{form}-seed-about">{text(about)}</small></div>'
    )


def begin(form: str, prefix: str, ways: str, makes: str, more: str) -> str:
    """The form of a tab: ways to begin, Make and Stop beside them, and what belongs to them below."""
    return (
        f'<form id="{form}" class="mg-begin" autocomplete="off">{ways}<div id="{prefix}-buttons" class="mg-buttons">'
        f'<button type="button" id="{prefix}-make" class="mg-make">Make {makes}</button>'
        f'<button type="button" id="{prefix}-stop" class="mg-stop">Stop</button></div>{more}</form>'
    )


def folded(identity: str, title: str, content: str, kind: str) -> str:
    """What is folded away behind a line of text."""
    return (
        f'<details id="{identity}" class="{kind}"><summary><span>{text(title)}</span></summary>'
        f'<div class="mg-fields">{content}</div></details>'
    )
