"""Makers in a process of their own: a lane of the scheduler that shares neither Python's lock nor a GPU.

What the scheduler calls here is asked of the process over a pipe, one question at a time, and the events of a block
come back with its answer.  A process that has died is started again by whoever asks for something next.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable, Hashable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import EnvironmentProblem, MusicgenError
from musicgen.app.web.maker import Batch, Maker
from musicgen.app.web.ticket import Event, Ticket
from musicgen.data_prep.dataset.workers import live_with_parent

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

LOG = logging.getLogger("musicgen")
DIED = "the process that made this has died, and is started again: try again"
DEVICES = "CUDA_VISIBLE_DEVICES"
OURS = Path("/proc/driver/nvidia/gpus")  # a folder for each

MakeMakers = Callable[[], Sequence[Maker]]


def remote_lanes(
    locals: Sequence[Maker], make_makers: MakeMakers, open_index: Callable[[], Index] | None, count: int
) -> list[list[Maker]]:
    """Lanes whose music is made in processes of their own.

    Args:
        locals: makers that are not open, of which the page learns what is.
        make_makers: makes the same ones in each process, where they are opened; it can be pickled.
        open_index: reads there what the model was trained on, if that is known; it can be pickled.
        count: of the lanes, which have equal shares of this machine's processors and GPUs.
    """
    engines = [Engine(make_makers, open_index, number, count) for number in range(count)]
    return [[RemoteMaker(engine, local) for local in locals] for engine in engines]


class Engine:
    """A process in which makers are open."""

    def __init__(
        self, make_makers: MakeMakers, open_index: Callable[[], Index] | None, number: int, count: int
    ) -> None:
        """Nothing is started yet; see `remote_lanes`."""
        self._given = make_makers, open_index, number, count
        self.process: Any = None
        self._pipe: Connection | None = None

    def open(self) -> None:
        """Start the process, if none is alive.  Raises MusicgenError if its makers cannot be opened."""
        if self.process is not None and self.process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, *self._given), name="engine", daemon=True)
        self.process.start()
        theirs.close()
        self.ask("open")

    def ask(self, what: str, *given: object) -> Any:
        """The process's answer.

        Args:
            what: a method of `Desk`.
            given: what it is given.

        Raises what that raised; EnvironmentProblem if the process has died.
        """
        assert self._pipe is not None
        try:
            self._pipe.send_bytes(_pack((what, given)))
            answer = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self.close()  # its end of the pipe may be gone before the process is: it must not be asked again
            raise EnvironmentProblem(DIED) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()  # it holds nothing that has to be kept
            self.process.join()


class RemoteMaker:
    """A maker that is open in another process.  local: the same one, not open, which knows what the page asks."""

    def __init__(self, engine: Engine, local: Maker) -> None:
        """engine: where it is open."""
        self.engine, self.local = engine, local

    @property
    def kind(self) -> str:
        """That of its requests."""
        return self.local.kind

    def open(self) -> None:
        """Start the process, and learn what the page has to know."""
        self.engine.open()
        self.learn(self.engine.ask("facts", self.kind))

    def close(self) -> None:
        """End the process."""
        self.engine.close()

    def facts(self) -> Any:
        """What it has learnt."""
        return self.local.facts()

    def learn(self, facts: Any) -> None:
        """Know this."""
        self.local.learn(facts)

    def batch_key(self, request: Any) -> Hashable | None:
        """As here."""
        return self.local.batch_key(request)

    def start(self, tickets: Sequence[Ticket[Any]]) -> RemoteBatch:
        """Begin a batch there, where another process may have to be started first."""
        self.engine.open()
        return RemoteBatch(self.engine, self.kind, tickets)

    def prepare(self) -> Iterator[None]:
        """There, and learn what is found."""
        more = True
        while more:
            more = self.engine.ask("prepare", self.kind)
            self.learn(self.engine.ask("facts", self.kind))
            yield


@dataclasses.dataclass(frozen=True)
class RemoteRow:
    """What is known here of a take there."""

    done: bool


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a batch says: (number of a ticket, event), which of its rows are done, whether all of it is over."""

    events: list[tuple[int, Event]]
    done: list[bool]
    over: bool


class RemoteBatch:
    """A batch in another process."""

    def __init__(self, engine: Engine, kind: str, tickets: Sequence[Ticket[Any]]) -> None:
        """Begin it."""
        self.tickets, self.engine, self.process = list(tickets), engine, engine.process
        self.rows: list[RemoteRow] = []
        self.over = False
        self.number, answer = engine.ask("start", kind, [(ticket.name, ticket.request) for ticket in tickets])
        self._hear(answer)

    def step(self) -> None:
        """Draw one block there, and emit what it says."""
        if self.process is not self.engine.process:
            raise EnvironmentProblem(DIED)
        self._hear(self.engine.ask("step", self.number, [(one.stopping, one.cancelled) for one in self.tickets]))

    def fail(self, message: str) -> None:
        """Tell everybody who still waits that it cannot be done."""
        self.rows, self.over = [], True
        for ticket in self.tickets:
            ticket.emit("error", message=message)

    def _hear(self, answer: Answer) -> None:
        self.rows, self.over = [RemoteRow(done) for done in answer.done], answer.over
        for number, event in answer.events:
            fields = dict(event)
            self.tickets[number].emit(fields.pop("event"), **fields)


class Desk:
    """The other end of the pipe: what a process is asked."""

    def __init__(self, makers: Sequence[Maker]) -> None:
        """makers: one of each kind."""
        self.makers = {maker.kind: maker for maker in makers}
        self._preparations = {kind: maker.prepare() for kind, maker in self.makers.items()}
        self._batches: dict[int, Batch] = {}
        self._begun = 0

    def open(self) -> None:
        """Open all makers."""
        for maker in self.makers.values():
            maker.open()

    def facts(self, kind: str) -> Any:
        """What is to be known of a maker."""
        return self.makers[kind].facts()

    def prepare(self, kind: str) -> bool:
        """Prepare a little; whether there is more of it."""
        return next(self._preparations[kind], self) is not self

    def start(self, kind: str, asked: Sequence[tuple[str, Any]]) -> tuple[int, Answer]:
        """Begin a batch of (name of a ticket, request); its number."""
        tickets: list[Ticket[Any]] = []
        for name, request in asked:
            tickets.append(Ticket(request, ""))
            tickets[-1].name = name
        self._begun += 1
        self._batches[self._begun] = batch = self.makers[kind].start(tickets)
        return self._begun, self._said(batch)

    def step(self, number: int, wishes: Sequence[tuple[bool, bool]]) -> Answer:
        """Draw one block of a batch.  wishes: of each ticket, whether it is to stop and whether nobody listens."""
        batch = self._batches[number]
        for ticket, (stopping, cancelled) in zip(batch.tickets, wishes, strict=True):
            ticket.stopping, ticket.cancelled = stopping, cancelled
        try:
            batch.step()
        except Exception:
            del self._batches[number]
            raise
        if batch.over:
            del self._batches[number]
        return self._said(batch)

    def _said(self, batch: Batch) -> Answer:
        events = [(number, event) for number, ticket in enumerate(batch.tickets) for event in ticket.drain()]
        return Answer(events, [row.done for row in batch.rows], batch.over)


def work(
    pipe: Connection, make_makers: MakeMakers, open_index: Callable[[], Index] | None, number: int, count: int
) -> None:
    """Answer until nobody asks any more; what a process is started for."""
    live_with_parent()
    _take_share(number, count)
    indexes: list[Index] = []

    def index() -> Index:
        if not indexes:
            assert open_index is not None
            indexes.append(open_index())
        return indexes[0]

    desk = Desk(make_makers())
    while True:
        try:
            what, given = _unpack(pipe.recv_bytes(), index)
        except (EOFError, OSError):
            return
        try:
            answer = getattr(desk, what)(*given)
        except MusicgenError as error:
            answer = error
        except MemoryError:
            answer = MemoryError()
        except Exception as error:
            LOG.exception("a batch failed")
            answer = RuntimeError(str(error))
        pipe.send_bytes(_pack(answer))


def _take_share(number: int, count: int) -> None:
    """Of this machine's processors and GPUs, if there are enough."""
    if count > 1 and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors[number % len(processors) :: count])
    known = os.environ.get(DEVICES)
    devices = known.split(",") if known else [str(n) for n in range(len(list(OURS.glob("*"))))]
    if count > 1 and len(devices) > 1:
        os.environ[DEVICES] = devices[number % len(devices)]


class _Pickler(pickle.Pickler):
    """An index stays where it is: the other process has its own."""

    def persistent_id(self, obj: Any) -> str | None:
        from musicgen.data_prep.evaluation.memorisation_index import Index

        return "index" if isinstance(obj, Index) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, index: Callable[[], Index]) -> None:
        super().__init__(io.BytesIO(data))
        self._index = index

    def persistent_load(self, pid: Any) -> Index:
        return self._index()


def _pack(message: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(message)
    return buffer.getvalue()


def _unpack(data: bytes, index: Callable[[], Index]) -> Any:
    return _Unpickler(data, index).load()
