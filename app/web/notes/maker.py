"""Notes, as the scheduler has them made."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.generate import Model
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.notes.batch import Batch
from musicgen.app.web.notes.request import GenerateRequest
from musicgen.app.web.notes.speeds import Speeds, keep_speeds, kept_speeds, measuring, warming
from musicgen.app.web.ticket import Ticket

if TYPE_CHECKING:
    from musicgen.model.engine import Engine

LOG = logging.getLogger("musicgen")


class NoteMaker:
    """One model of notes.

    model: once it is there.  speeds: of its presets, once they are known.
    """

    kind = "notes"

    def __init__(self, open_model: Callable[[], Model], limits: Limits = LIMITS) -> None:
        """open_model: loads the model."""
        self._open_model, self.limits = open_model, limits
        self.model: Model | None = None
        self.speeds: Speeds | None = None

    def open(self) -> None:
        """Load the model, and what is known of its speed here.  Raises MusicgenError."""
        self.model = self._open_model()
        self.speeds = kept_speeds(self.model, self._presets)

    def close(self) -> None:
        """Nothing."""

    def facts(self) -> tuple[Model | None, Speeds | None]:
        """The model without its engine, and the speeds."""
        model = self.model
        return (None if model is None else dataclasses.replace(model, engine=cast("Engine", None))), self.speeds

    def learn(self, facts: tuple[Model | None, Speeds | None]) -> None:
        """Of a model in another process."""
        self.model, self.speeds = facts

    @property
    def opened(self) -> Model:
        """The model.  Raises EnvironmentProblem before it is there."""
        if self.model is None:
            raise EnvironmentProblem("there is no model")
        return self.model

    @property
    def _presets(self) -> list[tuple[int, int]]:
        return Dials(self.opened.latents, self.opened.context).preset_pairs

    def batch_key(self, request: GenerateRequest) -> Hashable | None:
        """See `Settings.batch_key`.  A seed that somebody chose means a batch of its own: all rows share one here."""
        return request.settings.batch_key(len(request.before)) if request.seed is None else None

    def start(self, tickets: Sequence[Ticket[GenerateRequest]]) -> Batch:
        """Begin a batch."""
        return Batch(tickets, self.opened, self.limits, self.speeds)

    def prepare(self) -> Iterator[None]:
        """Compile what takes of each preset, and batches of each size, need; then the presets' speeds, unless they are
        known."""
        model, (usual, *others) = self.opened, self._presets
        batches = [(usual, 1), *((pair, 1) for pair in others), *((usual, rows) for rows in (2, 4, 8))]
        for pair, rows in batches if model.engine.compiles else batches[:1]:  # which loads all that there is
            try:
                if rows <= self.limits.rows:
                    yield from warming(model, pair, rows)
            except Exception:
                LOG.exception("latents %d, context %d: a batch of %d cannot be made here", *pair, rows)
        try:
            for speeds in measuring(model, self._presets) if self.speeds is None else ():
                yield
                if speeds is not None:
                    self.speeds = speeds
                    keep_speeds(model, speeds)
        except Exception:
            LOG.exception("the presets could not be measured")
            self.speeds = Speeds({})
