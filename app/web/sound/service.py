"""What the Audio tab can ask for, as plain functions; the counterpart of `Service` for sound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from musicgen.app.audio.model import AudioModel
from musicgen.app.errors import BadInput
from musicgen.app.provenance import printable
from musicgen.app.sound_file import SUBTYPES
from musicgen.app.web.limits import Limits
from musicgen.app.web.renderer import Renderer
from musicgen.app.web.room import Room
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.sound.maker import SoundMaker
from musicgen.app.web.sound.request import SoundRequest, decode_sound, dials_of, heard_seconds, parse_sound_request
from musicgen.app.web.ticket import Event
from musicgen.data_prep.audio import SAMPLE_RATE

FORMS = tuple(suffix[1:] for suffix in SUBTYPES)  # wav, flac, ogg, mp3


class SoundService:
    """Takes requests for sound."""

    def __init__(self, scheduler: Scheduler, maker: SoundMaker, renderer: Renderer) -> None:
        """Wait for requests.

        Args:
            scheduler: of this maker.
            maker: of sound.
            renderer: reads and writes sound files in a process of its own.
        """
        self.scheduler, self.maker, self.renderer = scheduler, maker, renderer
        self.model: AudioModel = maker.model
        self.limits: Limits = scheduler.limits
        self._room = Room(self.limits.sounds, self.limits.waiting_slow)

    async def read(self, data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
        """The samples of a recording's file, int16 [n], one channel, 24 kHz, and remarks."""
        return await self._room.run(self.renderer.read, data, self.limits.sound_prime_seconds)

    async def parse(self, body: object) -> SoundRequest:
        """A checked request."""

        def read(data: bytes) -> np.ndarray:
            return self.renderer.read(data, self.limits.sound_prime_seconds)[0]

        return await self._room.run(parse_sound_request, body, self.model, self.limits, read)

    def make(self, request: SoundRequest, client: str) -> AsyncIterator[Event]:
        """The events of a request (see `SoundBatch`), until its takes are finished."""
        return self.scheduler.events(request, client)

    async def download(self, samples: object, form: str, label: object = None) -> bytes:
        """A sound file.  samples: int16 at 24 kHz, the low byte first, in base64; form: wav, flac, ogg or mp3;
        label: as it came with the take, if it is known."""
        check_form(form)
        data = await self._room.run(decode_sound, samples, self.limits)
        if not data or len(data) % 2:
            raise BadInput("there is no sound in this request: make some first")
        return await self.write(np.frombuffer(data, "<i2"), form, printable(label) if isinstance(label, str) else None)

    async def write(self, samples: np.ndarray, form: str, label: str | None) -> bytes:
        """A sound file of samples int16 [n] at 24 kHz."""
        check_form(form)
        return await self._room.run(self.renderer.write, samples, form, label)

    def about(self) -> dict[str, Any]:
        """What the tab has to know before anything is asked."""
        dials, limits, speeds = dials_of(self.model), self.limits, dict(self.maker.speeds)
        frame = self.model.codec.config.frame_rate
        codes = frame * self.model.codebooks
        return {
            "checkpoint": {"name": self.model.released.name, "sha256": self.model.released.sha256},
            "codec": {"name": self.model.codec.name, "sha256": self.model.codec.sha256},
            "rate": SAMPLE_RATE,
            "heard_seconds": round(heard_seconds(self.model), 3),
            "limits": {
                "bytes": limits.sound_bytes,
                "prime_seconds": limits.sound_prime_seconds,
                "seconds": limits.sound_seconds,
                "takes": limits.sound_takes,
            },
            "latents": dials.latent_choices,
            "context": dials.context_choices,
            "presets": dials.presets,
            "costs": {name: sound_cost(pair[1] / codes, speeds.get(pair)) for name, pair in dials.presets.items()},
            "pace": {name: round(speeds[pair], 3) for name, pair in dials.presets.items() if pair in speeds},
            "measured": all(pair in speeds for pair in dials.presets.values()),
        }


def check_form(form: str) -> None:
    """Raise BadInput unless there is such a sound format."""
    if form not in FORMS:
        raise BadInput(f"there is no sound format {str(form)[:20]!r}: choose one of {', '.join(FORMS)}")


def sound_cost(seconds: float, speed: float | None) -> str:
    """What a preset costs and gains, for a person; `speed`: seconds of sound a second, as measured on this machine."""
    memory = f"Remembers the last {seconds:.0f} seconds" if seconds >= 1.5 else f"Remembers the last {seconds:.1f} s"
    if speed is None:
        return f"{memory}. Its speed here is being measured."
    return f"{memory}. Here, 10 seconds of sound take about {max(1.0, 10 / speed):.0f} seconds to make."
