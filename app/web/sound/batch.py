"""One request for sound on its way: recording to codes, codes through the engine, codes to sound, told as it comes."""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from musicgen.app.audio.continuation import start, tokens_of, weights
from musicgen.app.audio.model import AudioModel
from musicgen.app.audio.prompt import iterate_codes
from musicgen.app.audio.writer import SoundWriter
from musicgen.app.backend import open_engine
from musicgen.app.generate import new_seed
from musicgen.app.provenance import summary_line
from musicgen.app.settings import Settings
from musicgen.app.sound_file import digest
from musicgen.app.version import version
from musicgen.app.web.limits import Limits
from musicgen.app.web.sound.request import SoundRequest
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep.audio import SAMPLE_RATE, to_int16
from musicgen.data_prep.vocabulary import SPECIALS

if TYPE_CHECKING:
    from musicgen.model.engine import Engine

FORMAT = "musicgen-sound/1"
MEASURED_BLOCKS = 12


@dataclasses.dataclass(frozen=True)
class SoundModel:
    """Weights over codes and their codec, ready to generate; backend: what computes."""

    model: AudioModel
    engine: Engine
    backend: str

    @classmethod
    def of(cls, model: AudioModel) -> SoundModel:
        """Raises MusicgenError if they cannot be made ready."""
        return cls(model, *open_engine(model.released))


@dataclasses.dataclass
class SoundRow:
    """One take of the request in one row of the batch."""

    take: int  # from 1
    voice: SoundWriter
    waiting: list[np.ndarray]  # sound that has not been emitted
    done: bool = False


class SoundBatch:
    """A stream of the engine for one ticket.  Its events (see `Ticket`), sound being int16 at 24 kHz in base64:

    begin   seed, takes, name, at: where in the recording, in samples, the emitted sound begins; join: where new
            sound begins
    listening   seconds of the recording that have been encoded
    sound   take, sound, seconds of new sound so far, rate: seconds of sound made in a second
    take    take, seconds of new sound, tokens, facts, label: see `provenance.summary_line`
    """

    def __init__(self, tickets: Sequence[Ticket[SoundRequest]], model: SoundModel, limits: Limits) -> None:
        """tickets: one of them; sound is not made together with that of others."""
        (self.ticket,) = self.tickets = list(tickets)
        self.request, self.model, self.limits = self.ticket.request, model, limits
        self.began = time.perf_counter()
        self.seed = self.request.seed if self.request.seed is not None else new_seed()
        total = round(self.request.settings.seconds * SAMPLE_RATE)
        self.rows: list[SoundRow] = []
        for take in range(1, self.request.takes + 1):
            waiting: list[np.ndarray] = []
            self.rows.append(SoundRow(take, SoundWriter(model.model, waiting.append, total), waiting))
        self.tokens = 0
        prompt = self.request.prompt
        join = prompt.samples if prompt is not None else 0
        at = join - model.model.late - prompt.fade if prompt is not None else 0
        self.ticket.emit("begin", seed=self.seed, takes=self.request.takes, name=self.ticket.name, at=at, join=join)
        self._making = self._steps()

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it any more."""
        return all(row.done for row in self.rows)

    def step(self) -> None:
        """Do a part of the work, about as much as draws a block."""
        if self.ticket.cancelled or next(self._making, self) is self:
            self._done()

    def fail(self, message: str) -> None:
        """Tell whoever still waits that it cannot be done."""
        self._done()
        self.ticket.emit("error", message=message)

    def _done(self) -> None:
        self._making.close()
        for row in self.rows:
            row.done = True

    @property
    def _stopping(self) -> bool:
        return self.ticket.stopping or time.perf_counter() - self.began > self.limits.wall_seconds

    def _steps(self) -> Generator[None, None, None]:
        """All of it; every `yield` lets others have their turn."""
        request, model, settings = self.request, self.model.model, self.request.settings
        codes = None
        if request.prompt is not None:
            pieces = []
            for piece in iterate_codes(request.prompt, model):
                pieces.append(piece)
                seconds = sum(map(len, pieces)) / model.codec.config.frame_rate
                self.ticket.emit("listening", seconds=round(seconds, 2))
                yield
                if self._stopping:
                    self.ticket.emit("end", stopped=True)
                    return
            codes = np.concatenate(pieces)
        stream = start(self.model.engine, model, [tokens_of(codes, model)] * request.takes, settings, self.seed)
        for row in self.rows:
            row.voice.begin(request.prompt, codes, settings.keep_prime)
        drawn_since, stopped = time.perf_counter(), False
        while self.rows[0].voice.left:
            yield
            if self._stopping and not stopped:
                if not self.rows[0].voice.made:
                    self.ticket.emit("end", stopped=True)
                    return
                stopped = True
                for row in self.rows:
                    row.voice.shorten()
            block = next(stream)
            self.tokens += block[0].size
            for row, frames in zip(self.rows, block, strict=True):
                row.voice.add(frames.astype(np.int32) - SPECIALS)
                self._tell(row, time.perf_counter() - drawn_since)
        for row in self.rows:
            self._finish(row)
        self.ticket.emit("end", stopped=stopped)

    def _tell(self, row: SoundRow, seconds: float) -> None:
        sound = to_int16(np.clip(np.concatenate(row.waiting), -1.0, 1.0))
        row.waiting.clear()
        self.ticket.emit(
            "sound",
            take=row.take,
            sound=base64.b64encode(sound.tobytes()).decode("ascii"),
            seconds=round(row.voice.made, 4),
            rate=round(row.voice.made / max(seconds, 1e-3), 3),
        )

    def _finish(self, row: SoundRow) -> None:
        """Say how a take was made: with the same recording, the same settings give the same sound."""
        request, model = self.request, self.model.model
        prompt = request.prompt
        facts = {
            "format": FORMAT,
            "settings": dataclasses.replace(request.settings, seconds=row.voice.made).to_dict(),
            "seed": self.seed,
            "sample": row.take,
            **weights(model),
            "prime_sha256": digest(prompt.tail) if prompt is not None else None,  # of what the model was given
            "join_seconds": round(prompt.seconds, 4) if prompt is not None else 0.0,
            "backend": self.model.backend,
            "version": version(),
        }
        seconds = round(row.voice.made, 4)
        self.ticket.emit(
            "take", take=row.take, seconds=seconds, tokens=self.tokens, facts=facts, label=summary_line(facts)
        )


def measuring(model: SoundModel, latents: int, context: int) -> Iterator[float | None]:
    """Do a little of the work at each `next`, and in the end give the seconds of sound made in a second, by one take
    alone, after a silence that fills the context; everything that a take needs is compiled by then."""
    settings = Settings(seconds=60.0, latents=latents, context=context)
    silence = tokens_of(None, model.model)
    frames = context // model.model.codebooks
    prime = np.concatenate([silence[:-1]] * (1 + frames // len(silence)) + [silence[-1:]])
    stream = start(model.engine, model.model, [prime], settings, 0)
    voice = SoundWriter(model.model, lambda sound: None, 60 * SAMPLE_RATE)
    voice.add(next(stream)[0].astype(np.int32) - SPECIALS)
    made, spent = voice.made, 0.0
    for _ in range(MEASURED_BLOCKS):
        yield None
        began = time.perf_counter()
        voice.add(next(stream)[0].astype(np.int32) - SPECIALS)
        spent += time.perf_counter() - began
    yield (voice.made - made) / max(spent, 1e-6)
