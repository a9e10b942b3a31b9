"""The Audio tab: ways to begin; the sound and its takes, which `page/sound_page.js` shows.

That module asks the server (see `routes.Sounds`) and plays the sound as it comes.
"""

from __future__ import annotations

from musicgen.app.web import components as parts
from musicgen.app.web.sound.request import dials_of
from musicgen.app.web.sound.service import SoundService

FORM = "mg-sound-form"
WAYS = [
    ("My recording", "file", "A sound file goes on"),
    ("I record now", "microphone", "What you play near it goes on"),
    ("Surprise me", "nothing", "Sound out of thin air"),
]


def sound_tab(sounds: SoundService) -> str:
    """The tab's content."""
    return (
        parts.begin(
            FORM,
            "mg-sound",
            parts.cards("How to begin", WAYS, "file", FORM),
            "sound",
            f'<div id="mg-sound-source" class="mg-more"></div><div class="mg-line">{_line(sounds)}</div>',
        )
        + '<div id="mg-sound-message"></div><div id="mg-sound-stage" class="mg-frame"></div>'
        + '<section id="mg-sound-shelf" aria-label="Takes of sound"></section>'
        + parts.folded("mg-sound-fine", "For researchers", _fine(sounds), "mg-fine")
    )


def _line(sounds: SoundService) -> str:
    limits = sounds.limits
    longest = min(60, int(limits.sound_seconds))
    content = parts.number_box(
        "seconds", "How much new sound", (2, longest), 1, 10, f"seconds, {longest} at most", FORM
    ) + parts.takes_box(limits.sound_takes, FORM)
    return parts.folded("mg-sound-settings", "Length, takes", content, "mg-settings")


def _fine(sounds: SoundService) -> str:
    rate = sounds.model.codec.config.frame_rate * sounds.model.codebooks
    return (
        '<p class="mg-wide">Sound is written as codes, many for each moment, and each is drawn from what the model'
        " finds likely after the ones before. Automatic takes the best setting that is quick enough here to play while"
        " it is made.</p>"
        + parts.presets(
            dials_of(sounds.model),
            FORM,
            "mg-sound",
            latents="how many of the latest codes it thinks hard about",
            context=f"how many codes it looks back on; a second has {rate:,.0f}",
        )
        + parts.sampling_boxes(FORM)
        + parts.seed_box("same number, same sound; empty: any", FORM)
    )
