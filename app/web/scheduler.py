"""Models that many people share: a fair queue, batches of what can be made together, and turns between batches.

Fair means: everybody's first click comes before anybody's second.  A click is given a round, one later than the same
person's last one and never earlier than the round now played; rounds are served in order.  In a round addresses take
turns, since one can call itself many persons, and clicks from one address are served in the order they came.  A few
batches are at work at once and draw their blocks in turn, so that a long piece does not keep everybody waiting.  The
thread that does all this is the only one that touches the engines: that of notes, and that of sound if there is one.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import EnvironmentProblem, MusicgenError
from musicgen.app.generate import Model
from musicgen.app.web.dials import USUAL, Dials
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.notes.batch import Asked, Job, Ticket, batch_key
from musicgen.app.web.notes.speeds import Speeds, measuring, warm
from musicgen.app.web.sound.batch import SoundJob, SoundModel, measured_sound
from musicgen.app.web.sound.request import SoundOrder, dials_of

if TYPE_CHECKING:
    from musicgen.app.audio.continuation import AudioModel
    from musicgen.data_prep.evaluation.memorisation_index import Index

LOG = logging.getLogger("musicgen")
WENT_WRONG = "something went wrong while this was made: try again, and report it if it happens again"


class Busy(MusicgenError):
    """There is no room for one more at the moment."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What the studio is doing: clicks that wait, batches and rows at work, pieces finished since the start."""

    waiting: int
    batches: int
    rows: int
    finished: int


class Studio:
    """Takes orders, gives tickets."""

    def __init__(
        self,
        open_model: Callable[[], Model],
        limits: Limits = LIMITS,
        *,
        sound: AudioModel | None = None,
    ) -> None:
        """Start the thread.

        Args:
            open_model: loads the model; called once, in the studio's own thread, so that a page is there before it.
            limits: what may be asked.
            sound: weights for sound; they are made ready in the studio's thread, too, when they are first needed.
        """
        self.limits = limits
        self.model: Model | None = None
        self.ready = threading.Event()  # set when the model is there, or never will be
        self.problem: str | None = None
        self._open_model, self._preparing = open_model, False
        self.sound = sound
        self._sound_model: SoundModel | None = None
        self.sound_speeds: dict[tuple[int, int], float] = {}  # (latents, context) in codes -> seconds of sound a second
        self._unmeasured_sound: list[tuple[int, int]] = []
        self._change = threading.Condition()
        self._waiting: list[Ticket[Any]] = []
        self._tickets: dict[str, Ticket[Any]] = {}  # those that somebody listens to, by name
        self._jobs: list[Job | SoundJob] = []
        self._rounds: dict[str, int] = {}
        self._round = self._number = self._finished = 0
        self._closing = False
        self.speeds: Speeds | None = None  # of the presets, once they are known
        self._measuring: Iterator[Speeds | None] | None = None
        self._unwarmed: list[int] = []  # sizes of batches that nothing is compiled for yet
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    def submit(
        self, order: Asked, client: str, on_event: Callable[[], None] = lambda: None, index: Index | None = None
    ) -> Ticket[Asked]:
        """Queue an order.

        Args:
            order: what is to be made.
            client: whose turn it takes: an address, then, after a space, what whoever is there calls itself.
            on_event, index: see `Ticket`.

        Raises:
            Busy: this client, its address, or everybody together, waits for too much already.
            EnvironmentProblem: there is no model.
        """
        ticket = Ticket(order, client, on_event, index)
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
            self._tell_places()
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
                ticket.tell("end", stopped=True)
                self._tell_places()
            return True

    def leave(self, ticket: Ticket[Any]) -> None:
        """Nobody listens to this ticket any more: it has ended, or its place is free now."""
        with self._change:
            ticket.cancelled = True
            self._tickets.pop(ticket.name, None)
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._tell_places()
            self._change.notify_all()

    def load(self) -> Load:
        """How busy it is."""
        with self._change:
            rows = sum(not row.done for job in self._jobs for row in job.rows)
            return Load(len(self._waiting), len(self._jobs), rows, self._finished)

    def prepare(self) -> None:
        """From now on measure and compile what will be needed, while nobody waits; nothing else of ours is to keep the
        machine busy by then."""
        with self._change:
            self._preparing = True
            self._change.notify_all()

    def close(self) -> None:
        """Stop the thread; whoever waits is told."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        try:
            self.model = self._open_model()
        except MusicgenError as error:
            self._refuse(str(error))
            return
        except Exception:
            LOG.exception("the model could not be loaded")
            self._refuse("the model could not be loaded: see musicgen doctor")
            return
        self._measuring = measuring(self.model, preset_dials(self.model), self._wanted)
        self._unwarmed = [rows for rows in (2, 4, 8) if rows <= self.limits.rows]
        self._unmeasured_sound = sound_dials(self.sound)
        self.ready.set()
        while True:
            with self._change:
                while not (self._waiting or self._jobs or self._closing or self._unprepared):
                    self._change.wait()
                if self._closing:
                    break
                chosen = self._choose() if len(self._jobs) < self.limits.streams else []
            if chosen:
                self._start(chosen, self.model)
            elif not self._jobs and self._unprepared:
                self._work_ahead(self.model)
            for job in list(self._jobs):
                self._guarded(job, job.step)
                if job.over:
                    with self._change:
                        self._jobs.remove(job)
                        self._finished += sum(ticket.over for ticket in job.tickets)
        self._refuse("the server is being stopped: try again later")

    def _work_ahead(self, model: Model) -> None:
        """Nobody waits: do a little of what will be needed."""
        if self._measuring is not None:
            self._measure(self._measuring)
        elif self._unmeasured_sound:
            self._measure_sound()
        else:
            self._warm(model, self._unwarmed.pop(0))

    def _measure(self, measuring: Iterator[Speeds | None]) -> None:
        """Go on measuring the presets, which compiles their functions, too."""
        try:
            self.speeds = next(measuring)
        except Exception:
            LOG.exception("the presets could not be measured")
            self.speeds = Speeds({})
        if self.speeds is not None:
            self._measuring = None

    @property
    def _unprepared(self) -> bool:
        left = self._measuring is not None or self._unwarmed or self._unmeasured_sound
        return self._preparing and bool(left)

    def _measure_sound(self) -> None:
        """As `_measure`, for sound; what cannot be made ready is told to whoever asks for it."""
        pair = self._unmeasured_sound[0]
        try:
            speed = measured_sound(self._ready_sound(), *pair, self._wanted)
        except Exception as error:
            LOG.warning("the speed of sound could not be measured: %s", error)
        else:
            if speed is None:
                return
            self.sound_speeds[pair] = speed
        self._unmeasured_sound = self._unmeasured_sound[1:]

    def _ready_sound(self) -> SoundModel:
        """The model of sound, opened when it is first asked for.  Raises MusicgenError if it cannot be had."""
        if self.sound is None:
            raise EnvironmentProblem("no weights for sound are installed here")
        if self._sound_model is None:
            self._sound_model = SoundModel.of(self.sound)
        return self._sound_model

    def _wanted(self) -> bool:
        """Whether there is something better to do than to prepare."""
        return bool(self._waiting) or self._closing

    def _warm(self, model: Model, rows: int) -> None:
        """Compile what the page's own preset needs for a batch of this size."""
        try:
            warm(model, *preset_dials(model)[0], rows, self._wanted)
        except Exception:
            LOG.exception("a batch of %d cannot be made here", rows)

    def _refuse(self, problem: str) -> None:
        with self._change:
            self.problem = problem
            for ticket in self._waiting:
                ticket.tell("error", message=problem)
            self._waiting.clear()
            for job in self._jobs:
                job.fail(problem)
            self._jobs.clear()
        self.ready.set()

    def _choose(self) -> list[Ticket[Any]]:
        """Take the next ticket off the queue, and those that can share its batch."""
        queue = sorted(self._waiting, key=_turn)
        if not queue:
            return []
        chosen, rows = [queue[0]], queue[0].order.takes
        key = batch_key(queue[0].order)
        for ticket in queue[1:]:
            if key is not None and rows + ticket.order.takes <= self.limits.rows and batch_key(ticket.order) == key:
                chosen.append(ticket)
                rows += ticket.order.takes
        self._round = max(self._round, chosen[0].round)
        self._waiting = [ticket for ticket in self._waiting if ticket not in chosen]
        if not self._waiting:
            self._rounds.clear()
        self._tell_places()
        return chosen

    def _start(self, tickets: list[Ticket[Any]], model: Model) -> None:
        job: Job | SoundJob
        try:
            if isinstance(tickets[0].order, SoundOrder):
                job = SoundJob(tickets, self._ready_sound(), self.limits)
            else:
                job = Job(tickets, model, self.limits)
        except Exception as error:
            self._tell_wrong(tickets, error)
            return
        with self._change:
            self._jobs.append(job)

    def _guarded(self, job: Job | SoundJob, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            for row in job.rows:
                row.done = True
            self._tell_wrong(job.tickets, error)

    def _tell_wrong(self, tickets: list[Ticket[Any]], error: Exception) -> None:
        message = str(error) if isinstance(error, MusicgenError) else WENT_WRONG
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            message = "the server has run out of memory: ask for fewer takes, or try again later"
        elif not isinstance(error, MusicgenError):
            LOG.error("a batch failed", exc_info=error)
        for ticket in tickets:
            ticket.tell("error", message=message)

    def _tell_places(self) -> None:
        for place, ticket in enumerate(sorted(self._waiting, key=_turn), start=1):
            if ticket.place != place:
                ticket.place = place
                ticket.tell("waiting", place=place, name=ticket.name)


def preset_dials(model: Model) -> list[tuple[int, int]]:
    """(M, N) of the presets, the page's own first."""
    presets = Dials(model.latents, model.context).presets
    return list(dict.fromkeys([presets[USUAL], *presets.values()]))


def sound_dials(sound: AudioModel | None) -> list[tuple[int, int]]:
    """(M, N) in codes of the presets for sound, the page's own first; none if there is no sound."""
    presets = dials_of(sound).presets if sound is not None else {}
    return list(dict.fromkeys([presets[USUAL], *presets.values()])) if presets else []


def _turn(ticket: Ticket[Any]) -> tuple[int, int, int]:
    return ticket.round, ticket.turn, ticket.number
