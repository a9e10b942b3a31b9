"""What the parameters of the API's endpoints mean: in its panel, in /gradio_api/info, and for agents that call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from gradio.context import get_blocks_context
from gradio.events import api

from musicgen.app.controls import SAMPLING

PARAMETERS = {
    "prime": "What the music continues: the name of an opening (see `about`), or a MIDI file as base64 text; empty for"
    " none",
    "prime_from": "Second of the prime at which the part that is continued begins",
    "prime_to": "Second of the prime at which the new music begins",
    "piece": "The name of an opening (see `about`), or a MIDI file as base64 text",
    "midi": "A MIDI file as base64 text",
    "recording": "A WAV, FLAC, MP3, Ogg or AIFF file as base64 text; empty for none",
    "recording_from": "Second of the recording at which the part that is continued begins",
    "recording_to": "Second of the recording at which the new sound begins",
    "seconds": "How much new music is made; `about` says how much at most",
    "start": "Second at which the passage begins",
    "stop": "Second at which the passage ends",
    "pitches": "[lowest, highest] MIDI pitch, 0 to 127, of what is written anew; other notes stay",
    "hand": "The hand that is written, left or right; none for both",
    "track": "Of a file with several tracks, the name of the one that is accompanied",
    "keep_track": "The name of a track that stays as it is",
    "amount": "The share of the notes that is new, above 0 and up to 1",
    "pedal": "keep leaves the pedal as it is, new writes it anew",
    "takes": "How many versions; `about` says how many at most",
    "seed": "A whole number from 0; the same one gives the same music; none for any",
    "latents": "How many of the latest tokens (of sound: codes) the model thinks hard about; none for its own choice",
    "context": "How many tokens (of sound: codes) the model looks back on; none for its own choice",
    "end": "Whether the piece comes to an end by itself near `seconds`; otherwise it is cut off there",
    "apart": "Whether a take that shares too much with a training piece is made again",
    "style": "The kind of music, one of those that `about` names",
    "recipe": "The `recipe` that came with a take",
    "form": "The type of file: wav, flac, ogg or mp3",
    **{one.name: f"{one.help[:1].upper()}{one.help[1:]}; none for {one.default:g}" for one in SAMPLING if one.slider},
}
FORMS = {
    "picture": "The type of file: svg or png",
    "score": "musicxml for notation programs, svg for a picture, mid for the same music with an estimated beat",
}


def add_endpoint(endpoint: Callable[..., Any]) -> None:
    """Add an endpoint to the page that is being built, with what each of its parameters means.

    Raises KeyError for a parameter without a description.
    """
    name = endpoint.__name__
    names = [one for one in inspect.signature(endpoint).parameters if one != "request"]
    told = {one: FORMS.get(name, PARAMETERS[one]) if one == "form" else PARAMETERS[one] for one in names}
    # Gradio finds descriptions in the docstring when it speaks to agents, and nowhere else.
    lines = "".join(f"\n    {one}: {text}" for one, text in told.items())
    endpoint.__doc__ = f"{inspect.getdoc(endpoint)}\n\nArgs:{lines}\n"
    api(endpoint, api_name=name, concurrency_limit=None)
    page = get_blocks_context()
    assert page is not None
    added: Any = page.fns[max(page.fns)]
    for component, (one, text) in zip(added.inputs, told.items(), strict=True):
        component.label = one
        component._api_info = {**component._api_info, "description": text, "additional_description": text}
