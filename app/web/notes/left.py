"""How long the endings of a batch will take, told as tokens: whoever listens reckons from it when to begin to play.

While endings are drawn nothing new can be told (see `best_ending`), and they take as long as much of the piece.  How
fast the machine is at the moment the listener sees from the tokens that come: so it is told how many of those tokens
would take as long.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen.app.best_ending import CANDIDATES, candidates_per_row, lead
from musicgen.app.settings import Settings
from musicgen.app.web.notes.speeds import LONGEST_OF_ALL, TOKENS_PER_SECOND, Speeds
from musicgen.data_prep import EOS, PAD, STEPS_PER_SECOND, steps

SLOWER = 4.0  # times as long as one row's step is taken to take a step of all candidates, until it has been measured
READING = 600.0  # tokens' time that reading a piece again and judging its endings takes, until it has been measured
TRUST = 6.0  # seconds of lively music that what is counted is mixed with: see pace.js
AT_LEAST = 0.1  # of an ending is left until it is there: it may be longer than was thought


@dataclasses.dataclass
class EndingsLeft:
    """What is still to be done for the endings of a batch's rows, which are drawn one after the other.

    settings: of the batch.  rows: in it, also those that nobody waits for.  speeds: of this machine, if known.
    """

    settings: Settings
    rows: int
    speeds: Speeds | None

    def told_until(self, seconds: float) -> float:
        """Of so many seconds of new music those that are told note by note; what lies behind comes all at once."""
        return seconds - (lead(seconds) if self._drawn_apart else 0.0)

    @property
    def _drawn_apart(self) -> bool:
        return self.settings.end and candidates_per_row(self.rows) > 1

    def _factors(self) -> tuple[float, float]:
        """How many tokens of the body a token of the endings, and reading and judging, take as long as."""
        latents, context = self.settings.latents, self.settings.context
        assert latents is not None and context is not None  # resolved
        alone = self.speeds.tokens.get((latents, context)) if self.speeds is not None else None
        if self.speeds is None or alone is None or not self.speeds.candidates:
            return SLOWER, READING
        # A step costs something, and each row in it something more: never more than a step of its own, though a machine
        # that does something else while it is measured seems to say so.
        row = min(max(1 / self.speeds.candidates - 1 / alone, 0.0) / (CANDIDATES - 1), 1 / alone)
        step = 1 / alone + (self.rows - 1) * row
        copies = candidates_per_row(self.rows)
        return (1 / alone + (copies - 1) * row) / step, self.speeds.once / step

    def tokens(self, row: int, progress: Progress) -> tuple[float, float]:
        """Tokens' time spent on endings, and what is left for a row, from 0, once it has told all but its ending."""
        if not self._drawn_apart:
            return 0.0, 0.0
        now = progress.now / STEPS_PER_SECOND
        density = (progress.body + TRUST * TOKENS_PER_SECOND) / (now.mean() + TRUST)
        each, once = self._factors()
        whole = LONGEST_OF_ALL * lead(self.settings.seconds) * density * each + once
        spent = progress.ending * each
        # Endings are begun when the last row is as far, and this one's comes after those of the rows before it.
        others = max(0.0, now[row] - now.min()) * density + max(row - progress.ended, 0) * whole
        return progress.ended * whole + spent, others + max(whole - spent, AT_LEAST * whole)


class Progress:
    """How far a stream is that `generate.begin` gave.

    now: int64[B] steps of new music told.  body: tokens drawn of each row, but of its ending.  ending: those drawn
    for the ending that is being drawn.  ended: rows that have theirs.
    """

    def __init__(self, rows: int) -> None:
        """Nothing is drawn."""
        self.now = np.zeros(rows, np.int64)
        self.body = self.ending = self.ended = 0
        self._block = 0  # tokens in one

    def add(self, block: np.ndarray) -> None:
        """Count a block int16[B, k] of the stream."""
        if (block == EOS).any():
            self.ended += 1
            self.ending = 0
        elif (block == PAD).all():
            self.ending += self._block
        else:
            self._block = block.shape[1]
            self.body += self._block
        self.now += [steps(row)[-1] if row.size else 0 for row in block]
