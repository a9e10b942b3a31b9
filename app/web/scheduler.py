"""What many people share: a fair queue, batches of what can be made together, and turns between batches.

Fair means: everybody's first click comes before anybody's second.  A click is given a round, one later than the same
person's last one and never earlier than the round now played; rounds are served in order.  In a round addresses take
turns, since one can call itself many persons, and clicks from one address are served in the order they came.  A few
batches are at work at once and draw their blocks in turn, so that a long piece does not keep everybody waiting.  The
thread that does all this is the only one that touches the makers, and so the engines.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from musicgen.app.errors import BadInput, Busy, EnvironmentProblem, MusicgenError
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.maker import Batch, Maker
from musicgen.app.web.ticket import Asked, Event, Ticket

LOG = logging.getLogger("musicgen")
LAST_BLOCK = 2.0  # seconds; what takes longer, such as compiling, ends with the process
WENT_WRONG = "something went wrong while this was made: try again, and report it if it happens again"


@dataclasses.dataclass(frozen=True)
class Load:
    """What the scheduler is doing: clicks that wait, batches and rows at work, pieces finished since the start."""

    waiting: int
    batches: int
    rows: int
    finished: int


class Scheduler:
    """Takes requests, gives tickets."""

    def __init__(self, makers: Sequence[Maker], limits: Limits = LIMITS) -> None:
        """Start the thread.

        Args:
            makers: one of each kind, opened in the scheduler's own thread, so that a page is there before them.
            limits: what may be asked.
        """
        self.limits = limits
        self.ready = threading.Event()  # set when the makers are open, or never will be
        self.problem: str | None = None
        self._makers = {maker.kind: maker for maker in makers}
        # What is done while nobody waits, a little at a time.
        self._preparations = itertools.chain(
            *(maker.measure(self._wanted) for maker in makers), *(maker.warm(self._wanted) for maker in makers)
        )
        self._preparing = False
        self._change = threading.Condition()
        self._waiting: list[Ticket[Any]] = []
        self._tickets: dict[str, Ticket[Any]] = {}  # those that somebody listens to, by name
        self._batches: list[Batch] = []
        self._rounds: dict[str, int] = {}
        self._round = self._number = self._finished = 0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    async def events(self, request: Asked, client: str) -> AsyncIterator[Event]:
        """The events of a request (see `Ticket`), until it has ended; whoever stops reading gives the place back."""
        wake = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_event() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(wake.set)

        ticket = self.submit(request, client, on_event)
        try:
            while not ticket.over or ticket.events:
                await wake.wait()
                wake.clear()
                for event in ticket.drain():
                    yield event
        finally:
            self.leave(ticket)

    def submit(self, request: Asked, client: str, on_event: Callable[[], None] = lambda: None) -> Ticket[Asked]:
        """Queue a request.

        Args:
            request: what is to be made.
            client: whose turn it takes: an address, then, after a space, what whoever is there calls itself.
            on_event: see `Ticket`.

        Raises:
            Busy: this client, its address, or everybody together, waits for too much already.
            EnvironmentProblem: there is nothing that makes it.
        """
        if request.kind not in self._makers:
            raise EnvironmentProblem(f"no weights for {request.kind} are installed here")
        ticket = Ticket(request, client, on_event)
        with self._change:
            if self.problem is not None:
                raise EnvironmentProblem(self.problem)
            mine = sum(other.client == client for other in self._waiting)
            if mine >= self.limits.waiting_each:
                raise Busy(f"you have {mine} requests waiting already: let one of them finish first")
            near = [other for other in self._waiting if other.address == ticket.address]
            if len(near) >= self.limits.waiting_address:
                raise Busy(f"{len(near)} requests from your address are waiting already: try again in a few minutes")
            if len(self._waiting) >= self.limits.waiting:
                raise Busy(f"{len(self._waiting)} people are waiting already: try again in a few minutes")
            self._number += 1
            ticket.number = self._number
            ticket.round = max(self._round, self._rounds.get(client, -1) + 1)
            self._rounds[client] = ticket.round
            ticket.turn = max((other.turn + 1 for other in near if other.round == ticket.round), default=0)
            self._waiting.append(ticket)
            self._tickets[ticket.name] = ticket
            self._emit_places()
            self._change.notify_all()
        return ticket

    def stop(self, name: str) -> bool:
        """Let the ticket of this name keep what there is of its piece.  Returns whether there is such a ticket."""
        with self._change:
            ticket = self._tickets.get(name)
            if ticket is None:
                return False
            ticket.stopping = True
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                ticket.emit("end", stopped=True)
                self._emit_places()
            return True

    def leave(self, ticket: Ticket[Any]) -> None:
        """Nobody listens to this ticket any more: it has ended, or its place is free now."""
        with self._change:
            ticket.cancelled = True
            self._tickets.pop(ticket.name, None)
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._emit_places()
            self._change.notify_all()

    def load(self) -> Load:
        """How busy it is."""
        with self._change:
            rows = sum(not row.done for batch in self._batches for row in batch.rows)
            return Load(len(self._waiting), len(self._batches), rows, self._finished)

    def prepare(self) -> None:
        """From now on measure and compile what will be needed, while nobody waits; nothing else of ours is to keep the
        machine busy by then."""
        with self._change:
            self._preparing = True
            self._change.notify_all()

    def close(self) -> None:
        """Stop the thread, and wait for the block that it draws; whoever waits is told."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(LAST_BLOCK)

    def _work(self) -> None:
        try:
            for maker in self._makers.values():
                maker.open()
        except MusicgenError as error:
            self._refuse(str(error))
            return
        except Exception:
            LOG.exception("the model could not be loaded")
            self._refuse("the model could not be loaded: see musicgen doctor")
            return
        self.ready.set()
        while True:
            with self._change:
                while not (self._waiting or self._batches or self._closing or self._preparing):
                    self._change.wait()
                if self._closing:
                    break
                chosen = self._choose() if len(self._batches) < self.limits.streams else []
            if chosen:
                self._start(chosen)
            elif not self._batches:
                self._prepare()
            for batch in list(self._batches):
                self._step(batch)
                if batch.over:
                    with self._change:
                        self._batches.remove(batch)
                        self._finished += sum(ticket.over for ticket in batch.tickets)
        self._refuse("the server is being stopped: try again later")

    def _prepare(self) -> None:
        """Nobody waits: do a little of what will be needed."""
        try:
            self._preparing = next(self._preparations, self) is not self
        except Exception:
            LOG.exception("not everything could be prepared")

    def _wanted(self) -> bool:
        """Whether there is something better to do than to prepare."""
        return bool(self._waiting) or self._closing

    def _refuse(self, problem: str) -> None:
        with self._change:
            self.problem = problem
            for ticket in self._waiting:
                ticket.emit("error", message=problem)
            self._waiting.clear()
            for batch in self._batches:
                batch.fail(problem)
            self._batches.clear()
        self.ready.set()

    def _choose(self) -> list[Ticket[Any]]:
        """Take the next ticket off the queue, and those that can share its batch."""
        queue = sorted(self._waiting, key=_turn)
        if not queue:
            return []
        chosen, rows = [queue[0]], queue[0].request.takes
        key = self._key(queue[0])
        for ticket in queue[1:]:
            if key is not None and rows + ticket.request.takes <= self.limits.rows and self._key(ticket) == key:
                chosen.append(ticket)
                rows += ticket.request.takes
        self._round = max(self._round, chosen[0].round)
        self._waiting = [ticket for ticket in self._waiting if ticket not in chosen]
        if not self._waiting:
            self._rounds.clear()
        self._emit_places()
        return chosen

    def _key(self, ticket: Ticket[Any]) -> tuple[Any, ...] | None:
        """Tickets of one key can share a batch; None: only ever alone."""
        request = ticket.request
        key = self._makers[request.kind].batch_key(request)
        return None if key is None else (request.kind, key)

    def _start(self, tickets: list[Ticket[Any]]) -> None:
        try:
            batch = self._makers[tickets[0].request.kind].start(tickets)
        except Exception as error:
            message, yours = complaint(error), isinstance(error, BadInput)
            for ticket in tickets:
                ticket.emit("error", message=message, yours=yours)
            return
        with self._change:
            self._batches.append(batch)

    def _step(self, batch: Batch) -> None:
        try:
            batch.step()
        except Exception as error:
            batch.fail(complaint(error))

    def _emit_places(self) -> None:
        for place, ticket in enumerate(sorted(self._waiting, key=_turn), start=1):
            if ticket.place != place:
                ticket.place = place
                ticket.emit("waiting", place=place, name=ticket.name)


def complaint(error: Exception) -> str:
    """What is said of an error to those who waited for what it ended."""
    if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
        return "the server has run out of memory: ask for fewer takes, or try again later"
    if isinstance(error, MusicgenError):
        return str(error)
    LOG.error("a batch failed", exc_info=error)
    return WENT_WRONG


def _turn(ticket: Ticket[Any]) -> tuple[int, int, int]:
    return ticket.round, ticket.turn, ticket.number
