"""Piano music from Python.

    import musicgen

    model = musicgen.load()
    piece = model.generate("prime.mid", seconds=30, seed=7)
    piece.save("new.mid")

See `load`, `Model` and `Piece`; `load_audio` is the same for recordings, and `transcribe` hears their notes.  What a
person can do something about is raised as a `MusicgenError` whose message is one line.  Importing this imports nothing
else: each name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# A clone holds the parts beside this folder, an installation within it.  Python started in a clone finds this folder
# first, also when musicgen is installed elsewhere.
_HERE = os.path.dirname(__file__)
if not os.path.isdir(os.path.join(_HERE, "app")):
    __path__.append(os.path.dirname(_HERE))

if TYPE_CHECKING:
    from musicgen.app.audio.continuation import Sound
    from musicgen.app.errors import BadInput, EnvironmentProblem, MusicgenError
    from musicgen.app.evaluation.likelihood import Score
    from musicgen.app.library import Model, SoundModel, load, load_audio, transcribe
    from musicgen.app.piece import Note, Piece
    from musicgen.app.settings import Settings
    from musicgen.app.transcription import Transcript

__all__ = [
    "BadInput",
    "EnvironmentProblem",
    "Model",
    "MusicgenError",
    "Note",
    "Piece",
    "Score",
    "Settings",
    "Sound",
    "SoundModel",
    "Transcript",
    "load",
    "load_audio",
    "transcribe",
]

_PLACES = {
    "musicgen.app.audio.continuation": ("Sound",),
    "musicgen.app.errors": ("BadInput", "EnvironmentProblem", "MusicgenError"),
    "musicgen.app.evaluation.likelihood": ("Score",),
    "musicgen.app.library": ("Model", "SoundModel", "load", "load_audio", "transcribe"),
    "musicgen.app.piece": ("Note", "Piece"),
    "musicgen.app.settings": ("Settings",),
    "musicgen.app.transcription": ("Transcript",),
}


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
