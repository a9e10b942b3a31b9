"""One click that is waited for, and the events that its listener gets."""

from __future__ import annotations

import collections
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

Event = dict[str, Any]
Watch = Callable[["Ticket[Any]", Event], None]


class Request(Protocol):
    """What a ticket asks for, checked.  kind: of the maker that makes it; takes: how many pieces."""

    @property
    def kind(self) -> str: ...

    @property
    def takes(self) -> int: ...


Asked = TypeVar("Asked", bound=Request)


def unwatched(ticket: Ticket[Any], event: Event) -> None:
    """Nobody counts."""


class Ticket(Generic[Asked]):
    """One click that is waited for.  The scheduler writes events into it, one listener reads them.

    Events are JSON objects with a field ``event``: waiting (place: 1 is next), begin (seed, music: the prime,
    told_until: seconds up to which notes are told as they come, density: tokens in a second of the prime),
    notes (take, notes, seconds, drawn: tokens so far, left: tokens that would take as long as what comes behind
    told_until), take (take, and what `take.take` gives), error (message, yours: whether what was asked is the cause;
    take, shares, title: of a take that is not kept, as it shares too many notes with a piece), end (stopped);
    again (take, shares: notes, title): what was said of this take is void, it is made once more.
    Those of sound are listed in `SoundBatch`.
    """

    def __init__(
        self,
        request: Asked,
        client: str,
        on_event: Callable[[], None] = lambda: None,
        watch: Watch = unwatched,
    ) -> None:
        """on_event: called from the scheduler's thread after every event.  watch: likewise, of whoever counts."""
        self.request, self.client, self.watch = request, client, watch
        self.asked_at = time.monotonic()
        self.name = secrets.token_urlsafe(16)  # whoever knows it may stop it
        self.on_event = on_event
        self.events: collections.deque[Event] = collections.deque()
        self.there = threading.Event()
        self.address = client.split(" ")[0]
        self.round = self.turn = self.number = 0
        self.place: int | None = None
        self.stopping = self.cancelled = self.over = False

    def emit(self, event: str, **fields: Any) -> None:
        """Hand an event to the listener."""
        if self.over or self.cancelled:
            return
        self.over = event in ("end", "error")
        told = {"event": event, **fields}
        self.watch(self, told)
        self.events.append(told)
        self.there.set()
        self.on_event()

    def refuse_copy(self, take: int, shares: int, title: str, otherwise: str) -> None:
        """Say that a take is not kept, and what to do but to make another."""
        self.emit(
            "error",
            take=take,
            shares=shares,
            title=title,
            message=f"take {take} shares {shares} notes with {title}, which the model was trained on, and"
            f" is not kept: make another, or {otherwise}",
        )

    def drain(self) -> list[Event]:
        """The events since the last call."""
        self.there.clear()
        events = []
        while self.events:
            events.append(self.events.popleft())
        return events

    def __iter__(self) -> Iterator[Event]:
        """All events to the end, for a listener that has a thread of its own."""
        while True:
            self.there.wait()
            for event in self.drain():
                yield event
                if event["event"] in ("end", "error"):
                    return
