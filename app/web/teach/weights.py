"""Other weights for the notes: opened by the scheduler, between what it makes with those of before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from musicgen.app.generate import Model
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class Turn:
    """A request for other weights.  open_model: loads them; on_turned: called when music is made with them."""

    open_model: Callable[[], Model]
    on_turned: Callable[[], None]
    kind: str = "weights"
    takes: int = 1


@dataclasses.dataclass
class Turning:
    """A batch of one request."""

    tickets: list[Ticket[Any]]
    notes: NoteMaker
    done: bool = False

    @property
    def rows(self) -> Sequence[Turning]:
        """It is its own one row."""
        return [self]

    @property
    def over(self) -> bool:
        """Whether they are open, or cannot be."""
        return self.done

    def step(self) -> None:
        """Open them.  What is being made goes on with the weights that it was begun with.  Raises MusicgenError."""
        (ticket,) = self.tickets
        self.notes.model = ticket.request.open_model()
        ticket.request.on_turned()
        self.done = True
        ticket.emit("end", stopped=False)

    def fail(self, message: str) -> None:
        """Those of before stay."""
        self.done = True
        self.tickets[0].emit("error", message=message)


class Weights:
    """Opens the model of another maker anew."""

    kind = "weights"

    def __init__(self, notes: NoteMaker) -> None:
        """notes: of the model."""
        self.notes = notes

    def open(self) -> None:
        """Nothing: the first model is opened by the other maker."""

    def batch_key(self, request: Turn) -> Hashable | None:
        """Each for itself."""
        return None

    def start(self, tickets: Sequence[Ticket[Turn]]) -> Turning:
        """Begin."""
        return Turning(list(tickets), self.notes)

    def prepare(self) -> Iterator[None]:
        """Nothing."""
        yield from ()

    def close(self) -> None:
        """Nothing: the model is that of the other maker."""

    def facts(self) -> None:
        """Nothing: what there is to know is known of the model."""

    def learn(self, facts: None) -> None:
        """Nothing."""
