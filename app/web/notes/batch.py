"""One batch on its way through the engine: rows that people wait for, told note by note."""

from __future__ import annotations

import collections
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from musicgen.app import novelty as apart
from musicgen.app.best_ending import RINGS_ON, lead
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.generate import Model, Sample, begin, finished, new_seed
from musicgen.app.novelty import ATTEMPTS
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes import take
from musicgen.app.web.notes.decoder import NoteStream
from musicgen.app.web.notes.request import Order
from musicgen.data_prep import EOS, STEPS_PER_SECOND

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

Event = dict[str, Any]
Asked = TypeVar("Asked")  # an Order, or a SoundOrder


class Ticket(Generic[Asked]):
    """One click that is waited for.  The studio writes events into it, one listener reads them.

    Events are JSON objects with a field ``event``: waiting (place: 1 is next), begin (seed, music: the prime),
    notes (take, notes, seconds, rate), take (take, and what `take.take` gives), error (message), end (stopped);
    again (take, shares: notes, title): what was told of this take is void, it is made once more.
    Those of sound are told in `sound_job`.
    """

    def __init__(
        self, order: Asked, client: str, on_event: Callable[[], None] = lambda: None, index: Index | None = None
    ) -> None:
        """on_event: called from the studio's thread after every event.  index: what takes are compared with."""
        self.order, self.client, self.index = order, client, index
        self.name = secrets.token_urlsafe(16)  # whoever knows it may stop it
        self.on_event = on_event
        self.events: collections.deque[Event] = collections.deque()
        self.there = threading.Event()
        self.address = client.split(" ")[0]
        self.round = self.turn = self.number = 0
        self.place: int | None = None
        self.stopping = self.cancelled = self.over = False

    def tell(self, event: str, **fields: Any) -> None:
        """Hand an event to the listener."""
        if self.over or self.cancelled:
            return
        self.over = event in ("end", "error")
        self.events.append({"event": event, **fields})
        self.there.set()
        self.on_event()

    def taken(self) -> list[Event]:
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
            for event in self.taken():
                yield event
                if event["event"] in ("end", "error"):
                    return


@dataclasses.dataclass
class Row:
    """One take of a ticket in one row of a batch."""

    ticket: Ticket[Order]
    take: int  # number among the ticket's takes, from 1
    row: int  # in the batch, from 0
    listener: NoteStream
    tokens: list[np.ndarray] = dataclasses.field(default_factory=list)
    done: bool = False
    near: Sample | None = None  # what was made, if it is too near to the training set


class Job:
    """A stream of the engine and the rows in it."""

    def __init__(self, tickets: Sequence[Ticket[Order]], model: Model, limits: Limits) -> None:
        """tickets: of one `batch_key`, at most ``limits.rows`` takes together."""
        self.tickets, self.model, self.limits = list(tickets), model, limits
        self.began = self.drawn_since = time.perf_counter()
        order = tickets[0].order
        self.first_seed = self.seed = order.seed if order.seed is not None else new_seed()
        self.draws = 1
        self.rows: list[Row] = []
        at = order.again[1] - 1 if order.again is not None else 0
        for ticket in tickets:
            shown = take.opening(ticket.order.prime) if ticket.order.prime is not None else None
            for number in range(1, ticket.order.takes + 1):
                self.rows.append(Row(ticket, number, at, _listener(ticket.order, shown)))
                at += 1
            ticket.tell("begin", seed=self.seed, takes=ticket.order.takes, music=shown, name=ticket.name)
        self.size = order.again[0] if order.again is not None else padded(len(self.rows))
        # Rows that nobody waits for are copies: the shapes that are compiled stay few.
        self.primes = [order.before] * self.size
        for row in self.rows:
            self.primes[row.row] = row.ticket.order.before
        self.stream = begin(model, self.primes, order.settings, self.seed)

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it any more."""
        return all(row.done for row in self.rows)

    def step(self) -> None:
        """Draw one block, tell what it says, finish the rows that are long enough or have been stopped."""
        self._stop_rows()
        if not self.over:
            self._draw()
            self._stop_rows()
        if self.over:
            self._draw_again()

    def _draw(self) -> None:
        block = np.asarray(next(self.stream))
        now = time.perf_counter()
        for row in self.rows:
            if row.done:
                continue
            self._hear(row, block[row.row], now)

    def _draw_again(self) -> None:
        """Make the takes again that were too near to the training set, or say that they cannot be had.

        The seeds are those of `apart.generate_apart`: a chosen first one gives the pieces of the command line.
        """
        for row in self.rows:
            if row.near is not None and (row.ticket.stopping or self._late or self.draws == ATTEMPTS):
                shares, title = _nearest(row.near)
                row.ticket.tell(
                    "error",
                    message=f"take {row.take} shares {shares} notes with {title}, which the model was trained on, and"
                    " is not kept: make another, or begin with something else",
                )
        near = [row for row in self.rows if row.near is not None and not (row.ticket.over or row.ticket.cancelled)]
        if not near:
            return
        self.seed = apart.next_seed(self.first_seed, self.draws)
        self.draws += 1
        for row in near:
            assert row.near is not None
            shares, title = _nearest(row.near)
            row.ticket.tell("again", take=row.take, shares=shares, title=title)
            order = row.ticket.order
            row.listener = _listener(order, take.opening(order.prime) if order.prime is not None else None)
            row.tokens, row.done, row.near = [], False, None
        del self.stream  # its memory is free before the next one takes some
        self.stream = begin(self.model, self.primes, self.tickets[0].order.settings, self.seed)
        self.drawn_since = time.perf_counter()

    def _hear(self, row: Row, tokens: np.ndarray, now: float) -> None:
        """Tell what these tokens say, and finish the row if it is long enough or has ended by itself."""
        settings = row.ticket.order.settings
        row.tokens.append(tokens)
        over = np.flatnonzero(tokens == EOS)
        notes = row.listener.feed(tokens[: over[0]].tolist() if over.size else tokens.tolist())
        limit = settings.seconds + (RINGS_ON if settings.end else 0.0)
        stop = row.listener.offset + limit
        inside = [note for note in notes if note[0] is not None and note[0] < stop]
        for note in inside:
            note[1] = round(min(note[1], stop), 4) if note[1] is not None else None
        row.ticket.tell(
            "notes",
            take=row.take,
            notes=inside,
            seconds=round(min(row.listener.offset + row.listener.seconds, stop), 4),
            rate=round(row.listener.seconds / max(now - self.drawn_since, 1e-3), 3),
        )
        if over.size or row.listener.step >= round(limit * STEPS_PER_SECOND):
            self._finish(row, settings.seconds)

    def fail(self, message: str) -> None:
        """Tell everybody who still waits that it cannot be done."""
        for row in self.rows:
            row.done = True
        for ticket in self.tickets:
            ticket.tell("error", message=message)

    def _stop_rows(self) -> None:
        """Rows of people who have gone are dropped, those of people who said stop keep what there is."""
        for row in self.rows:
            if row.done:
                continue
            if row.ticket.cancelled:
                row.done = True
            elif row.ticket.stopping or self._late:
                self._stop(row)

    @property
    def _late(self) -> bool:
        return time.perf_counter() - self.began > self.limits.wall_seconds

    def _stop(self, row: Row) -> None:
        """Keep what there is.  A piece whose ending has begun ends first: its settings could not say what was cut."""
        settings = row.ticket.order.settings
        if not settings.end:
            self._finish(row, row.listener.seconds)
        elif row.listener.seconds < settings.seconds - lead(settings.seconds):
            self._finish(row, row.listener.seconds, end=False)

    def _finish(self, row: Row, seconds: float, end: bool | None = None) -> None:
        """Close a row at so many seconds of new music; what is said of it makes the same piece again."""
        row.done = True
        ticket = row.ticket
        if seconds > 0:
            settings = dataclasses.replace(ticket.order.settings, seconds=seconds, num_samples=self.size)
            settings = dataclasses.replace(settings, end=settings.end if end is None else end)
            whole = np.concatenate(row.tokens)
            sample = finished(
                whole, ticket.order.prime, ticket.order.before, settings, self.seed, row.row + 1, self.model
            )
            if ticket.index is not None:
                sample = apart.with_match(sample, ticket.index)
                if apart.length(sample) >= THRESHOLD and ticket.order.again is None:
                    row.near = sample
                    return
            ticket.tell("take", take=row.take, **take.take(sample, ticket.order.prime))
        if all(other.done and other.near is None for other in self.rows if other.ticket is ticket):
            ticket.tell("end", stopped=seconds < ticket.order.settings.seconds)


def batch_key(order: object) -> tuple[object, ...] | None:
    """Orders of one key can share a batch and still be made again exactly; None: only ever alone.

    The engine reads the rows of a batch in passes of one length, which their primes' lengths decide: only primes of
    as many tokens, or all longer than a pass, leave each other's music untouched.  A seed that somebody chose means
    a batch of its own, since one seed is shared by all rows.  Sound is made for one person at a time.
    """
    if not isinstance(order, Order) or order.seed is not None:
        return None
    settings = order.settings
    assert settings.latents is not None and settings.context is not None
    read = min(len(order.before), settings.context - settings.latents // 2)
    ending = settings.seconds if settings.end else None
    return (settings.latents, settings.context, settings.sampling, read, ending)


def padded(rows: int) -> int:
    """The size of batch that so many rows run in: 1, 2, 4, 8."""
    return 1 << (rows - 1).bit_length()


def _nearest(sample: Sample) -> tuple[int, str]:
    """How many notes a compared take shares with a training piece, and with which."""
    match = sample.facts.memorisation or {}
    return apart.length(sample), str(match.get("title") or match.get("name"))


def _listener(order: Order, shown: dict[str, Any] | None) -> NoteStream:
    if order.prime is None or shown is None:
        return NoteStream(order.before, 0.0)
    held = {pitch: (onset, velocity) for onset, end, pitch, velocity, _ in shown["notes"] if end is None}
    return NoteStream(order.before, order.prime.seconds, held)
