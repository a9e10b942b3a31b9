"""One batch on its way through the engine: rows that people wait for, emitted note by note."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen.app import novelty
from musicgen.app.best_ending import RINGS_ON, lead
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.generate import Model, Sample, begin, finish, new_seed
from musicgen.app.novelty import ATTEMPTS
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes import take
from musicgen.app.web.notes.decoder import NoteStream
from musicgen.app.web.notes.left import EndingsLeft, Progress
from musicgen.app.web.notes.request import GenerateRequest
from musicgen.app.web.notes.speeds import Speeds
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep import EOS, STEPS_PER_SECOND

ENOUGH = 2.0  # seconds of a prime that say how lively it is


@dataclasses.dataclass
class Row:
    """One take of a ticket in one row of a batch."""

    ticket: Ticket[GenerateRequest]
    take: int  # number among the ticket's takes, from 1
    row: int  # in the batch, from 0
    decoder: NoteStream
    tokens: list[np.ndarray] = dataclasses.field(default_factory=list)
    done: bool = False
    near: Sample | None = None  # what was made, if it is too near to the training set


class Batch:
    """A stream of the engine and the rows in it."""

    def __init__(
        self,
        tickets: Sequence[Ticket[GenerateRequest]],
        model: Model,
        limits: Limits,
        speeds: Speeds | None = None,
    ) -> None:
        """tickets: of one `batch_key`, at most ``limits.rows`` takes together.  speeds: of this machine, if known."""
        self.tickets, self.model, self.limits = list(tickets), model, limits
        self.began = time.perf_counter()
        request = tickets[0].request
        self.first_seed = self.seed = request.seed if request.seed is not None else new_seed()
        self.draws = 1
        self.rows: list[Row] = []
        at = request.again[1] - 1 if request.again is not None else 0
        for ticket in tickets:
            prime = ticket.request.prime
            shown = take.opening(prime) if prime is not None else None
            for number in range(1, ticket.request.takes + 1):
                self.rows.append(Row(ticket, number, at, _decoder_of(ticket.request, shown)))
                at += 1
        self.size = request.again[0] if request.again is not None else batch_size(len(self.rows))
        self.endings = EndingsLeft(request.settings, self.size, speeds)
        for ticket in tickets:
            self._begin(ticket)
        # Rows that nobody waits for are copies: the shapes that are compiled stay few.
        self.primes = [request.before] * self.size
        for row in self.rows:
            self.primes[row.row] = row.ticket.request.before
        self.stream = begin(model, self.primes, request.settings, self.seed, request.trimmed)
        self.progress = Progress(self.size)

    def _begin(self, ticket: Ticket[GenerateRequest]) -> None:
        """Say what a take begins with, and up to where it is told note by note."""
        prime = ticket.request.prime
        shown = take.opening(prime) if prime is not None else None
        join = prime.seconds if prime is not None else 0.0
        density = len(prime.tokens) / prime.seconds if prime is not None and prime.seconds > ENOUGH else None
        ticket.emit(
            "begin",
            seed=self.seed,
            takes=ticket.request.takes,
            music=shown,
            name=ticket.name,
            told_until=round(join + self.endings.told_until(ticket.request.settings.seconds), 4),
            density=density,
        )

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
        self.progress.add(block)
        for row in self.rows:
            if not row.done:
                self._feed(row, block[row.row])

    def _draw_again(self) -> None:
        """Make the takes again that were too near to the training set, or say that they cannot be had.

        The seeds are those of `generate_avoiding_copies`: a chosen first one gives the pieces of the command line.
        """
        for row in self.rows:
            if row.near is not None and (row.ticket.stopping or self._late or self.draws == ATTEMPTS):
                row.ticket.refuse_copy(row.take, *novelty.nearest_piece(row.near), "begin with something else")
        near = [row for row in self.rows if row.near is not None and not (row.ticket.over or row.ticket.cancelled)]
        if not near:
            return
        self.seed = novelty.next_seed(self.first_seed, self.draws)
        self.draws += 1
        for row in near:
            assert row.near is not None
            shares, title = novelty.nearest_piece(row.near)
            row.ticket.emit("again", take=row.take, shares=shares, title=title)
            request = row.ticket.request
            row.decoder = _decoder_of(request, take.opening(request.prime) if request.prime is not None else None)
            row.tokens, row.done, row.near = [], False, None
        del self.stream  # its memory is free before the next one takes some
        request = self.tickets[0].request
        self.stream = begin(self.model, self.primes, request.settings, self.seed, request.trimmed)
        self.progress = Progress(self.size)

    def _feed(self, row: Row, tokens: np.ndarray) -> None:
        """Tell what these tokens say, and finish the row if it is long enough or has ended by itself."""
        settings = row.ticket.request.settings
        row.tokens.append(tokens)
        over = np.flatnonzero(tokens == EOS)
        notes = row.decoder.feed(tokens[: over[0]].tolist() if over.size else tokens.tolist())
        limit = settings.seconds + (RINGS_ON if settings.end else 0.0)
        stop = row.decoder.offset + limit
        inside = [note for note in notes if note[0] is not None and note[0] < stop]
        for note in inside:
            note[1] = round(min(note[1], stop), 4) if note[1] is not None else None
        spent, left = self.endings.tokens(row.row, self.progress)
        row.ticket.emit(
            "notes",
            take=row.take,
            notes=inside,
            seconds=round(min(row.decoder.offset + row.decoder.seconds, stop), 4),
            drawn=round(self.progress.body + spent),
            left=round(left),
        )
        if over.size or row.decoder.step >= round(limit * STEPS_PER_SECOND):
            self._finish(row, settings.seconds)

    def fail(self, message: str) -> None:
        """Tell everybody who still waits that it cannot be done."""
        for row in self.rows:
            row.done = True
        for ticket in self.tickets:
            ticket.emit("error", message=message)

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
        settings = row.ticket.request.settings
        if not settings.end:
            self._finish(row, row.decoder.seconds)
        elif row.decoder.seconds < settings.seconds - lead(settings.seconds):
            self._finish(row, row.decoder.seconds, end=False)

    def _finish(self, row: Row, seconds: float, end: bool | None = None) -> None:
        """Close a row at so many seconds of new music; what is said of it makes the same piece again."""
        row.done = True
        ticket = row.ticket
        if seconds > 0:
            settings = dataclasses.replace(ticket.request.settings, seconds=seconds, num_samples=self.size)
            settings = dataclasses.replace(settings, end=settings.end if end is None else end)
            whole = np.concatenate(row.tokens)
            sample = finish(
                whole, ticket.request.prime, ticket.request.before, settings, self.seed, row.row + 1, self.model
            )
            if ticket.request.index is not None:
                sample = novelty.add_match(sample, ticket.request.index)
                if novelty.length(sample) >= THRESHOLD and ticket.request.again is None:
                    row.near = sample
                    return
            ticket.emit("take", take=row.take, **take.take(sample, ticket.request.prime))
        if all(other.done and other.near is None for other in self.rows if other.ticket is ticket):
            ticket.emit("end", stopped=seconds < ticket.request.settings.seconds)


def batch_size(rows: int) -> int:
    """The size of batch that so many rows run in: 1, 2, 4, 8."""
    return 1 << (rows - 1).bit_length()


def _decoder_of(request: GenerateRequest, shown: dict[str, Any] | None) -> NoteStream:
    if request.prime is None or shown is None:
        return NoteStream(request.before, 0.0)
    held = {pitch: (onset, velocity) for onset, end, pitch, velocity, _ in shown["notes"] if end is None}
    return NoteStream(request.before, request.prime.seconds, held)
