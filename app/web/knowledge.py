"""What the page knows of the weights that make its music, and who teaches them a person's own pieces."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

from musicgen import checkpoints
from musicgen.app.audio.model import AudioModel
from musicgen.app.evaluation.memorisation_report import find_index, open_index
from musicgen.app.generate import Model, open_model, open_weights
from musicgen.app.output import data_folder
from musicgen.app.styles import styles_of
from musicgen.app.web.credits import credit
from musicgen.app.web.dials import Dials
from musicgen.app.web.notes.quality import quality_of
from musicgen.app.web.notes.surprise import Scorer
from musicgen.app.web.service import Service
from musicgen.app.web.teach.shelf import Shelf
from musicgen.app.web.teach.teacher import Teacher
from musicgen.app.web.teach.weights import Turn
from musicgen.checkpoints import Released


def knowledge(released: Released, checkpoint: str | None, sound: AudioModel | None) -> dict[str, Any]:
    """What a service is to know of weights of notes, and of those of sound beside them; see `Service.know`."""
    dials = Dials(released.config.latents, released.config.context)
    indexed = find_index(checkpoint) is not None
    return {
        "quality": quality_of(released.sha256, dials),
        "scorer": Scorer(released),
        "open_index": functools.partial(open_index, None, checkpoint) if indexed else None,
        "credits": [credit(weights) for weights in (released, *([sound.released] if sound is not None else []))],
        "styles": styles_of(released.tokenizer, released.about),
    }


def open_teacher(service: Service, released: Released, sound: AudioModel | None) -> Teacher | None:
    """Who teaches the weights that come with the package, and what was taught them before; None for others, and where
    training is not installed."""
    base = released.about.get(checkpoints.BASE) or {"name": released.name, "sha256": released.sha256}
    if base["name"] not in checkpoints.names() or importlib.util.find_spec("optax") is None:
        return None

    async def use(weights: str | Path) -> None:
        found: list[Released] = []

        def opened() -> Model:
            found.append(open_weights(str(weights)))
            return open_model(found[0])

        def turned() -> None:
            service.know(**knowledge(found[0], str(weights), sound))

        await service.turn(Turn(opened, turned))

    try:
        return Teacher(Shelf(data_folder("weights"), base["name"], base["sha256"]), service.limits, use)
    except RuntimeError:  # there is no home folder
        return None
