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
from musicgen.app.web.notes.speeds import Speeds, measuring, warm
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
        """Load the model.  Raises MusicgenError."""
        self.model = self._open_model()

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

    def measure(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """The presets' speeds; their functions are compiled, too."""
        try:
            for speeds in measuring(self.opened, self._presets, interrupted):
                self.speeds = speeds
                yield
        except Exception:
            LOG.exception("the presets could not be measured")
            self.speeds = Speeds({})

    def warm(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """What the page's own preset needs for batches of each size."""
        for rows in (2, 4, 8):
            if rows > self.limits.rows:
                return
            try:
                warm(self.opened, *self._presets[0], rows, interrupted)
            except Exception:
                LOG.exception("a batch of %d cannot be made here", rows)
            yield
