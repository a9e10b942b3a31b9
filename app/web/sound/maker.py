"""Sound, as the scheduler has it made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from musicgen.app.audio.model import AudioModel
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.sound.batch import SoundBatch, SoundModel, measure_sound
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
        self.speeds: dict[tuple[int, int], float] = {}
        self._ready: SoundModel | None = None

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

    def measure(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """The presets' speeds; what cannot be made ready is told to whoever asks for it."""
        for pair in dials_of(self.model).preset_pairs:
            try:
                while (speed := measure_sound(self.ready, *pair, interrupted)) is None:
                    yield
                self.speeds[pair] = speed
            except Exception as error:
                LOG.warning("the speed of sound could not be measured: %s", error)
            yield

    def warm(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        """Nothing: measuring has compiled all of it."""
        yield from ()
