"""Sound, as the scheduler has it made."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from musicgen.app.audio.continuation import weights
from musicgen.app.audio.model import AudioModel
from musicgen.app.backend import chosen
from musicgen.app.web import kept
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.sound.batch import SoundBatch, SoundModel, measuring
from musicgen.app.web.sound.request import SoundRequest, dials_of
from musicgen.app.web.ticket import Ticket

LOG = logging.getLogger("musicgen")


class SoundMaker:
    """One model of sound and its codec.

    speeds: (latents, context) in codes -> seconds of sound a second, of the presets measured so far.
    """

    kind = "sound"

    def __init__(self, model: AudioModel, limits: Limits = LIMITS) -> None:
        """model: is made ready when it is first needed."""
        self.model, self.limits = model, limits
        self._ready: SoundModel | None = None
        self._pairs = dials_of(model).preset_pairs
        self._kept = kept.measured(weights(model), chosen())
        rates = kept.read_numbers(self._kept)
        self.speeds = {pair: rates[str(pair)] for pair in self._pairs if str(pair) in rates}

    def open(self) -> None:
        """Nothing yet: notes are served also where sound cannot be made."""

    def close(self) -> None:
        """Nothing."""

    def facts(self) -> dict[tuple[int, int], float]:
        """The speeds."""
        return self.speeds

    def learn(self, facts: dict[tuple[int, int], float]) -> None:
        """Of a model in another process."""
        self.speeds = facts

    @property
    def ready(self) -> SoundModel:
        """The model, ready to generate.  Raises MusicgenError if it cannot be had."""
        if self._ready is None:
            self._ready = SoundModel.of(self.model)
        return self._ready

    def batch_key(self, request: SoundRequest) -> None:
        """Sound is made for one person at a time."""

    def start(self, tickets: Sequence[Ticket[SoundRequest]]) -> SoundBatch:
        """Begin a batch of one ticket."""
        return SoundBatch(tickets, self.ready, self.limits)

    def prepare(self) -> Iterator[None]:
        """Open the model, and measure those presets whose speed is not known; what cannot be made ready is told to
        whoever asks for it."""
        try:
            model = self.ready
            for pair in [pair for pair in self._pairs if pair not in self.speeds]:
                yield
                for speed in measuring(model, *pair):
                    yield
                    if speed is not None:
                        self.speeds[pair] = speed
                        kept.keep_numbers(self._kept, {str(of): known for of, known in self.speeds.items()})
        except Exception as error:
            LOG.warning("the speed of sound could not be measured: %s", error)
