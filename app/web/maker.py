"""What the scheduler knows of whatever can be made here: notes, sound, and the next one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol

from musicgen.app.web.ticket import Ticket


class Row(Protocol):
    """One take in a batch."""

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""


class Batch(Protocol):
    """Tickets that are made together, a block at a time."""

    tickets: list[Ticket[Any]]

    @property
    def rows(self) -> Sequence[Row]:
        """Of all its tickets."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it any more."""

    def step(self) -> None:
        """Draw one block, and emit what it says."""

    def fail(self, message: str) -> None:
        """Tell everybody who still waits that it cannot be done."""


class Maker(Protocol):
    """Makes what one kind of request asks for.  The scheduler calls all of it in its own thread."""

    @property
    def kind(self) -> str:
        """That of its requests."""

    def open(self) -> None:
        """Load what has to be there before anybody is served.  Raises MusicgenError."""

    def close(self) -> None:
        """Give back what `open` took."""

    def facts(self) -> Any:
        """What the page has to know of what is open, which can be told to another process."""

    def learn(self, facts: Any) -> None:
        """Know this of what is open in another process."""

    def batch_key(self, request: Any) -> Hashable | None:
        """Requests of one key can share a batch and still be made again exactly; None: only ever alone."""

    def start(self, tickets: Sequence[Ticket[Any]]) -> Batch:
        """Begin a batch of tickets with one key.  Raises MusicgenError if it cannot be made."""

    def prepare(self) -> Iterator[None]:
        """Find out how quick this machine is, and compile what will be needed, a little at each `next`: somebody who
        comes meanwhile waits for no more than that."""
