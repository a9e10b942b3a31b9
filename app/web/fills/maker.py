"""Passages and accompaniments, as the scheduler has them made."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable, Iterator, Sequence

from musicgen.app.bundled import FOLDER, bundled_primes
from musicgen.app.fill import Filling, request_accompaniment, request_fill
from musicgen.app.web.fills.batch import FillBatch
from musicgen.app.web.fills.request import FillAsked
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.ticket import Ticket

LOG = logging.getLogger("musicgen")


class FillMaker:
    """Fills with the model that another maker has opened."""

    kind = "fill"

    def __init__(self, notes: NoteMaker, limits: Limits = LIMITS) -> None:
        """notes: of the model."""
        self.notes, self.limits = notes, limits

    def open(self) -> None:
        """Nothing: the model is that of notes."""

    def close(self) -> None:
        """Nothing."""

    def facts(self) -> None:
        """Nothing: what there is to know is known of the model."""

    def learn(self, facts: None) -> None:
        """Nothing."""

    def batch_key(self, request: FillAsked) -> Hashable | None:
        """All settings but those that each row has for itself.  A seed that somebody chose means a batch of its own."""
        if request.seed is not None:
            return None
        return dataclasses.replace(request.fill.settings, num_samples=1, seconds=1.0)

    def start(self, tickets: Sequence[Ticket[FillAsked]]) -> FillBatch:
        """Begin a batch."""
        return FillBatch(tickets, self.notes.opened, self.limits)

    def prepare(self) -> Iterator[None]:
        """Compile what the first passage and the first accompaniment need."""
        if not (self.notes.opened.can_fill and self.notes.opened.engine.compiles):
            return
        data = (FOLDER / f"{bundled_primes()[0]}.mid").read_bytes()
        for asked in (request_fill(data, start=4.0, stop=8.0), request_accompaniment(data)):
            try:
                Filling([asked], self.notes.opened).step()
            except Exception:
                LOG.exception("passages cannot be written here")
            yield
