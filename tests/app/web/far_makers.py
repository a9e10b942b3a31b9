"""Makers with the made-up engine, for processes that find this module by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fake_site import fake_engine  # type: ignore[import-not-found]

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.generate import Model, open_model, open_weights
from musicgen.app.web.fills.maker import FillMaker
from musicgen.app.web.limits import Limits
from musicgen.app.web.maker import Maker
from musicgen.app.web.notes.maker import NoteMaker


class Slow:
    """An engine whose blocks take a while; seed 13 kills its process."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.nats, self.nats_of_last = engine, engine.nats, engine.nats_of_last
        self.compiles = engine.compiles

    def start(self, primes: Sequence[np.ndarray], **settings: Any) -> Iterator[np.ndarray]:
        for block in self.engine.start(primes, **settings):
            yield block
            if settings["seed"] == 13:
                os._exit(1)
            time.sleep(0.002)


def fake_model() -> Model:
    model: Model = fake_engine().fake_model()
    object.__setattr__(model, "engine", Slow(model.engine))
    return model


def lane(limits: Limits = Limits(streams=1)) -> list[Maker]:
    notes = NoteMaker(fake_model, limits)
    return [notes, FillMaker(notes, limits)]


def broken() -> list[Maker]:
    def open_model() -> Model:
        raise EnvironmentProblem("the weights have gone: install them")

    return [NoteMaker(open_model)]


def tiny() -> list[Maker]:
    """Of released weights."""
    return [NoteMaker(lambda: open_model(open_weights("maestro-tiny")), Limits(streams=1))]
