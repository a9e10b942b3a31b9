"""What many people share: a fair queue, batches of what can be made together, and turns between batches.

Fair means: everybody's first click comes before anybody's second.  A click is given a round, one later than the same
person's last one and never earlier than the round now played; rounds are served in order.  In a round addresses take
turns, since one can call itself many persons, and clicks from one address are served in the order they came.  A few
batches are at work at once and draw their blocks in turn, so that a long piece does not keep everybody waiting.

Lanes share one queue.  Each has makers, and so engines, of its own, which only its thread touches: one lane makes music
in this process, more of them have a process each (see `remote`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from musicgen.app.errors import STOPPING, BadInput, Busy, EnvironmentProblem, MusicgenError
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.maker import Batch, Maker
from musicgen.app.web.ticket import Asked, Event, Ticket, Watch, unwatched

LOG = logging.getLogger("musicgen")
LONGEST_REST = 1.0  # seconds between two pieces of what is prepared while nobody waits
LAST_BLOCK = 2.0  # seconds; what takes longer, such as compiling, ends with the process
WENT_WRONG = "something went wrong while this was made: try again, and report it if it happens again"


@dataclasses.dataclass(frozen=True)
class Load:
    """What the scheduler is doing: clicks that wait, batches and rows at work, pieces finished since the start."""

    waiting: int
    batches: int
    rows: int
    finished: int


class Lane:
    """Makers of its own, the batches they have begun, and what they do while nobody waits, a little at a time."""

    def __init__(self, makers: Sequence[Maker]) -> None:
        """makers: one of each kind."""
        self.makers = {maker.kind: maker for maker in makers}
        self.batches: list[Batch] = []
        self.preparations = itertools.chain(*(maker.prepare() for maker in makers))
        self.preparing = False

    def prepare(self) -> float:
        """Nobody waits: do a little of what will be needed.  Seconds for which to leave the machine to others then."""
        began = time.perf_counter()
        try:
            self.preparing = next(self.preparations, self) is not self
        except Exception:
            LOG.exception("not everything could be prepared")
        return min(time.perf_counter() - began, LONGEST_REST)


class Scheduler:
    """Takes requests, gives tickets."""

    def __init__(self, *lanes: Sequence[Maker], limits: Limits = LIMITS, watch: Watch = unwatched) -> None:
        """Start a thread for each lane.

        Args:
            lanes: makers, one of each kind and in each lane the same kinds; opened in the lane's own thread, so that a
                page is there before them.
            limits: what may be asked.
            watch: see `Ticket`.
        """
        self.limits, self._watch = limits, watch
        self.ready = threading.Event()  # set when all makers are open, or never will be
        self.problem: str | None = None
        self.draining = False
        self._lanes = [Lane(makers) for makers in lanes]
        self._open = 0  # lanes
        self._change = threading.Condition()
        self._waiting: list[Ticket[Any]] = []
        self._tickets: dict[str, Ticket[Any]] = {}  # those that somebody listens to, by name
        self._rounds: dict[str, int] = {}
        self._round = self._number = self._finished = 0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, args=[lane], name="scheduler", daemon=True) for lane in self._lanes
        ]
        for thread in self._threads:
            thread.start()

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
        if request.kind not in self._lanes[0].makers:
            raise EnvironmentProblem(f"no weights for {request.kind} are installed here")
        ticket = Ticket(request, client, on_event, self._watch)
        with self._change:
            if self.problem is not None:
                raise EnvironmentProblem(self.problem)
            near = [other for other in self._waiting if other.address == ticket.address]
            if (refusal := self._refusal(client, near)) is not None:
                self._watch(ticket, {"event": "refused"})
                raise Busy(refusal)
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

    def _refusal(self, client: str, near: Sequence[Ticket[Any]]) -> str | None:
        """Why one more cannot wait.  near: those from the same address that do."""
        mine = sum(other.client == client for other in near)
        if mine >= self.limits.waiting_each:
            return f"you have {mine} requests waiting already: let one of them finish first"
        if len(near) >= self.limits.waiting_address:
            return f"{len(near)} requests from your address are waiting already: try again in a few minutes"
        if len(self._waiting) >= self.limits.waiting:
            return f"{len(self._waiting)} people are waiting already: try again in a few minutes"
        return None

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
            batches = [batch for lane in self._lanes for batch in lane.batches]
            rows = sum(not row.done for batch in batches for row in batch.rows)
            return Load(len(self._waiting), len(batches), rows, self._finished)

    def prepare(self) -> None:
        """From now on measure and compile what will be needed, while nobody waits; nothing else of ours is to keep the
        machine busy by then."""
        with self._change:
            for lane in self._lanes:
                lane.preparing = True
            self._change.notify_all()

    def drain(self) -> None:
        """Take nothing more, and tell whoever waits; what is being made goes on."""
        with self._change:
            self.draining, self.problem = True, STOPPING
            self._end_waiting(STOPPING)

    def stop_all(self) -> None:
        """Let everybody keep what there is of their pieces."""
        with self._change:
            for ticket in self._tickets.values():
                ticket.stopping = True

    def give_up(self) -> None:
        """Tell everybody who still has no end that there will be none."""
        with self._change:
            for ticket in self._tickets.values():
                ticket.emit("error", message=STOPPING)

    def close(self) -> None:
        """Stop the threads, and wait for the blocks that they draw; whoever waits is told."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(LAST_BLOCK)
        for lane in self._lanes:
            for maker in lane.makers.values():
                maker.close()

    def _work(self, lane: Lane) -> None:
        try:
            for maker in lane.makers.values():
                maker.open()
        except MusicgenError as error:
            self._refuse(lane, str(error))
            return
        except Exception:
            LOG.exception("the model could not be loaded")
            self._refuse(lane, "the model could not be loaded: see musicgen doctor")
            return
        with self._change:
            self._open += 1
            if self._open == len(self._lanes):
                self.ready.set()
        while True:
            with self._change:
                while not (self._waiting or lane.batches or self._closing or lane.preparing):
                    self._change.wait()
                if self._closing:
                    break
                chosen = self._choose() if len(lane.batches) < self.limits.streams else []
            if chosen:
                self._start(lane, chosen)
            elif not lane.batches:
                rest = lane.prepare()
                with self._change:
                    self._change.wait_for(lambda: self._waiting or self._closing, rest)
            for batch in list(lane.batches):
                self._step(batch)
                if batch.over:
                    with self._change:
                        lane.batches.remove(batch)
                        self._finished += sum(ticket.over for ticket in batch.tickets)
        self._refuse(lane, STOPPING)

    def _refuse(self, lane: Lane, problem: str) -> None:
        """The end of a lane; what others have begun is theirs to end."""
        with self._change:
            self.problem = problem
            self._end_waiting(problem)
            for batch in lane.batches:
                batch.fail(problem)
            lane.batches.clear()
        self.ready.set()

    def _end_waiting(self, problem: str) -> None:
        for ticket in self._waiting:
            ticket.emit("error", message=problem)
        self._waiting.clear()

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
        key = self._lanes[0].makers[request.kind].batch_key(request)
        return None if key is None else (request.kind, key)

    def _start(self, lane: Lane, tickets: list[Ticket[Any]]) -> None:
        try:
            batch = lane.makers[tickets[0].request.kind].start(tickets)
        except Exception as error:
            message, yours = complaint(error), isinstance(error, BadInput)
            for ticket in tickets:
                ticket.emit("error", message=message, yours=yours)
            return
        with self._change:
            lane.batches.append(batch)

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
