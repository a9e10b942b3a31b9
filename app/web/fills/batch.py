"""Fills on their way through the engine: rows that people wait for, told note by note."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any

from musicgen.app import novelty
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.fill import Fill, Filling
from musicgen.app.fill_score import nats_a_note, unusual
from musicgen.app.generate import Model, new_seed
from musicgen.app.novelty import ATTEMPTS
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
    """One fill of a ticket.

    take: its number among the ticket's, from 1; 0: nobody waits for this one.
    done: whether there is nothing more to wait for.  fill: what was made, if there is anything; near: whether that is
    too near to the training set and is made again.  judged: whether all is known of it that is asked.
    """

    ticket: Ticket[FillAsked]
    take: int
    done: bool = False
    fill: Fill | None = None
    near: bool = False
    judged: bool = False

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self.take > 0 and not (self.ticket.over or self.ticket.cancelled)


class FillBatch:
    """A `Filling` and the people who wait for its rows.

    Events are those of notes (see `Ticket`), but that the music of `begin` is the piece without what goes, up to the
    seconds that are known, with the `region`; its MIDI file is there if that was not sent.  Takes come all at once, of
    several the likeliest first; `unusual` says what of their borders real music hardly ever has.
    """

    def __init__(self, tickets: Sequence[Ticket[FillAsked]], model: Model, limits: Limits) -> None:
        """tickets: of one `batch_key`, at most ``limits.rows`` takes together."""
        self.tickets, self.model, self.limits = list(tickets), model, limits
        self.began = time.perf_counter()
        seed = tickets[0].request.seed
        self.seed = seed if seed is not None else new_seed()
        self.draws = 1
        self.rows = [row for ticket in tickets for row in _rows(ticket)]
        for ticket in tickets:
            self._begin(ticket)
        self._draw(self.seed)

    def _draw(self, seed: int) -> None:
        self.filling = Filling([ticket.request.fill for ticket in self.tickets], self.model, seed)

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it any more."""
        return all(ticket.over or ticket.cancelled for ticket in self.tickets)

    def step(self) -> None:
        """Draw one block and tell what it says, judge one fill that is there, finish the requests that have all."""
        for number, row in enumerate(self.rows):
            gone = row.ticket.cancelled or row.fill is not None
            if not self.filling.done[number] and (gone or row.ticket.stopping or self._late):
                self.filling.stop(number)
        if not self.filling.over:
            struck = self.filling.step()
            for number, row in enumerate(self.rows):
                if row.take and not row.done:
                    self._tell(number, row, struck[number])
        waited_for = [(number, row) for number, row in enumerate(self.rows) if row.wanted]
        for number, row in waited_for:
            if row.fill is None and self.filling.done[number]:
                self._keep(number, row)
        for row in [row for _, row in waited_for if row.fill and not row.judged][:1]:
            self._score(row)
        for ticket in self.tickets:
            rows = [row for _, row in waited_for if row.ticket is ticket]
            if rows and all(row.judged and not row.near for row in rows):
                self._finish(ticket, rows)
        if self.filling.over and any(row.near for row in self.rows):
            self._draw_again()

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
        region = asked.fill.region
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
            seconds=round(asked.seconds if row.done else asked.fill.region.start + seconds, 4),
        )

    def _keep(self, number: int, row: Row) -> None:
        """Take what a row has made, unless that is nothing."""
        asked, row.done = row.ticket.request, True
        _, upto = self.filling.rows[number].finished()
        if upto > asked.fill.region.start:
            row.fill = self.filling.fill(number, index=asked.index)
            row.near = asked.again is None and novelty.length(row.fill) >= THRESHOLD
        row.judged = row.fill is None or row.near or asked.takes == 1

    def _score(self, row: Row) -> None:
        """One at a time: other people's music waits meanwhile."""
        assert row.fill is not None
        region = row.ticket.request.fill.region
        nats = nats_a_note(self.model.engine, row.fill.music, region.start, region.stop)
        row.fill, row.judged = dataclasses.replace(row.fill, nats=nats), True

    def _finish(self, ticket: Ticket[FillAsked], rows: Sequence[Row]) -> None:
        made = [row for row in rows if row.fill is not None]
        made.sort(key=lambda row: row.fill.likelihood() if row.fill else math.inf)
        for place, row in enumerate(made, start=1):
            assert row.fill is not None
            ranked = {"rank": place, "nats_per_note": row.fill.nats} if len(rows) > 1 else {}
            ticket.emit("take", take=row.take, **_take(row.fill, ticket.request), **ranked)
        ticket.emit("end", stopped=any(row.fill is None or row.fill.provenance.asked is not None for row in rows))

    def _draw_again(self) -> None:
        """Make the fills again that are too near to the training set, or say that they cannot be had.

        The seeds are those of `fill_avoiding_copies`: a chosen first one gives the fills of the command line.
        """
        for row in self.rows:
            if row.near and (row.ticket.stopping or self._late or self.draws == ATTEMPTS):
                assert row.fill is not None
                row.ticket.refuse_copy(row.take, *novelty.nearest_piece(row.fill), "choose another passage")
        near = [row for row in self.rows if row.near and row.wanted]
        for row in near:
            assert row.fill is not None
            shares, title = novelty.nearest_piece(row.fill)
            row.ticket.emit("again", take=row.take, shares=shares, title=title)
            row.done, row.fill, row.near, row.judged = False, None, False, False
        if near:
            del self.filling  # its memory is free before the next one takes some
            self._draw(novelty.next_seed(self.seed, self.draws))
            self.draws += 1


def _rows(ticket: Ticket[FillAsked]) -> list[Row]:
    """Those of a ticket's batch: whoever wants one of them again is told of that alone."""
    asked = ticket.request
    numbers = range(1, asked.fill.settings.num_samples + 1)
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
        "recipe": {"facts": json.loads(fill.provenance.to_json()), "prime": pack_bytes(asked.fill.data)},
        "notes": len(fill.notes),
        "unusual": unusual(fill.seams),
    }


def _passage(asked: FillAsked) -> dict[str, Any]:
    """The region as the page knows it."""
    region = asked.fill.region
    return {"from": region.start, "to": region.stop, "low": region.low, "high": region.high}
