"""Fills on their way through the engine: rows that people wait for, told note by note."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any

from musicgen.app.fill import Fill, Filling
from musicgen.app.generate import Model, new_seed
from musicgen.app.piece import Note
from musicgen.app.prime import pack_bytes
from musicgen.app.web.fills.request import FillAsked
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes import take
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep import STEPS_PER_SECOND

NEW = 1  # the sixth field of a note that is new, though it lies in what was there before


@dataclasses.dataclass
class Row:
    """One fill of a ticket; take: its number among the ticket's, from 1; 0: nobody waits for this one."""

    ticket: Ticket[FillAsked]
    take: int
    done: bool = False


class FillBatch:
    """A `Filling` and the people who wait for its rows.

    Events are those of notes (see `Ticket`), but that the music of `begin` is the piece without what goes, up to the
    seconds that are known, with the `region`; its MIDI file is there if that was not sent.
    """

    def __init__(self, tickets: Sequence[Ticket[FillAsked]], model: Model, limits: Limits) -> None:
        """tickets: of one `batch_key`, at most ``limits.rows`` takes together."""
        self.tickets, self.limits = list(tickets), limits
        self.began = time.perf_counter()
        seed = tickets[0].request.seed
        self.seed = seed if seed is not None else new_seed()
        self.rows = [row for ticket in tickets for row in _rows(ticket)]
        for ticket in tickets:
            self._begin(ticket)
        self.filling = Filling([ticket.request.wish for ticket in tickets], model, self.seed)

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it any more."""
        return all(ticket.over or ticket.cancelled for ticket in self.tickets)

    def step(self) -> None:
        """Draw one block, tell what it says, finish the requests whose rows are done."""
        for number, row in enumerate(self.rows):
            if not self.filling.done[number] and (row.ticket.cancelled or row.ticket.stopping or self._late):
                self.filling.stop(number)
        if not self.filling.over:
            struck = self.filling.step()
            for number, row in enumerate(self.rows):
                if row.take and not row.done:
                    self._tell(number, row, struck[number])
        for number, ticket in enumerate(self.tickets):
            rows = [at for at, row in enumerate(self.rows) if row.ticket is ticket and row.take]
            if not (ticket.over or ticket.cancelled) and all(self.filling.done[at] for at in rows):
                self._finish(number, ticket, rows)

    def fail(self, message: str) -> None:
        """Tell everybody who still waits that it cannot be done."""
        for row in self.rows:
            row.done = True
        for ticket in self.tickets:
            ticket.emit("error", message=message)

    @property
    def _late(self) -> bool:
        return time.perf_counter() - self.began > self.limits.wall_seconds

    def _begin(self, ticket: Ticket[FillAsked]) -> None:
        asked = ticket.request
        region = asked.wish.region
        shown = take.music(asked.kept, asked.seconds, asked.seconds)
        known = {"known_seconds": region.start, "expected_seconds": region.stop, "region": _passage(asked)}
        midi = {} if asked.data is None else {"midi": base64.b64encode(asked.data).decode("ascii")}
        ticket.emit(
            "begin",
            seed=self.seed,
            takes=asked.takes,
            music=shown | known,
            name=ticket.name,
            told_until=region.stop,
            **midi,
        )

    def _tell(self, number: int, row: Row, struck: Sequence[Note]) -> None:
        asked, seconds = row.ticket.request, float(self.filling.seconds[number])
        row.done = self.filling.done[number]
        notes = [
            [round(onset, 4), None if math.isnan(end) else round(end, 4), pitch, velocity, None, NEW]
            for onset, end, pitch, velocity in struck
        ]
        row.ticket.emit(
            "notes",
            take=row.take,
            notes=notes,
            # Behind the passage everything is known.
            seconds=round(asked.seconds if row.done else asked.wish.region.start + seconds, 4),
        )

    def _finish(self, number: int, ticket: Ticket[FillAsked], rows: Sequence[int]) -> None:
        for at in rows:
            self.rows[at].done = True
        for at in rows:
            if self.filling.seconds[at] > 0:
                ticket.emit("take", take=self.rows[at].take, **_take(self.filling.fill(at), ticket.request))
        stopped = any(self.filling.seconds[at] < ticket.request.wish.settings.seconds for at in rows)
        ticket.emit("end", stopped=stopped)


def _rows(ticket: Ticket[FillAsked]) -> list[Row]:
    """Those of a ticket's batch: whoever wants one of them again is told of that alone."""
    asked = ticket.request
    numbers = range(1, asked.wish.settings.num_samples + 1)
    return [Row(ticket, number if asked.again is None else int(number == asked.again)) for number in numbers]


def _take(fill: Fill, asked: FillAsked) -> dict[str, Any]:
    """A finished fill as JSON, as `take.take` gives a piece."""
    seconds = max(fill.music.duration, asked.seconds)
    music = take.music(fill.music, seconds, seconds)
    # In the file an onset is at a tick, less than a millisecond from its step.
    new = {(pitch, round(onset * STEPS_PER_SECOND)) for onset, _, pitch, _ in fill.notes}
    for note in music["notes"]:
        if (note[2], round(note[0] * STEPS_PER_SECOND)) in new:
            note.append(NEW)
    return {
        "music": {**music, "region": _passage(asked)},
        "midi": base64.b64encode(fill.midi).decode("ascii"),
        "recipe": {"facts": json.loads(fill.provenance.to_json()), "prime": pack_bytes(asked.wish.data)},
        "notes": len(fill.notes),
    }


def _passage(asked: FillAsked) -> dict[str, Any]:
    """The region as the page knows it."""
    region = asked.wish.region
    return {"from": region.start, "to": region.stop, "low": region.low, "high": region.high}
