"""A microphone through sounddevice: which there are, which one is meant, its sound in blocks."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.live.ports import choose
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.extras import install_command
from musicgen.data_prep.silence import silenced

BLOCK = 0.05  # seconds
SILENT_FOR = 5.0  # seconds without a block: it has gone


def microphone_names() -> list[str]:
    """The inputs for sound that this machine has, each with the system it belongs to.

    Raises EnvironmentProblem if sounddevice or PortAudio is not installed.
    """
    return [name for name, _ in _devices(_sounddevice())]


class Microphone:
    """One input for sound, open."""

    def __init__(self, wanted: str | None) -> None:
        """Open the one whose name holds ``wanted``; None: the one that the system prefers.

        Raises BadInput if that is none or several, EnvironmentProblem if it cannot be opened.
        """
        try:
            import soxr
        except ImportError as error:
            raise EnvironmentProblem(f"a microphone needs soxr ({error}): {install_command('transcribe')}") from None
        self._module = _sounddevice()
        self.name, device = self._choose(wanted)
        self._on_block: Callable[[np.ndarray, float], None] | None = None
        self._last = time.monotonic()  # when a block came
        try:
            rate = float(device["default_samplerate"])
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            with silenced():
                self._stream = self._module.InputStream(
                    samplerate=rate,
                    blocksize=round(rate * BLOCK),
                    device=device["index"],
                    channels=1,
                    dtype="float32",
                    latency="high",
                    callback=self._hear,
                )
        except (self._module.PortAudioError, ValueError) as error:
            raise EnvironmentProblem(
                f"cannot open the microphone {self.name} ({error}): is another program using it?"
                " musicgen live --list shows all"
            ) from None

    def _choose(self, wanted: str | None) -> tuple[str, Any]:
        """The device that is meant, and its name."""
        there = _devices(self._module)
        if wanted is None:
            default = self._module.default.device[0]
            preferred = [found for found in there if found[1]["index"] == default]
            if preferred:
                return preferred[0]
            raise BadInput("there is no microphone: plug one in, or name an input with --microphone NAME")
        name = choose([name for name, _ in there], wanted, "microphone")
        return next(found for found in there if found[0] == name)

    def listen(self, on_block: Callable[[np.ndarray, float], None]) -> None:
        """Call ``on_block`` with samples f32 [n] at `SAMPLE_RATE` and the time on `time.monotonic` at which the last of
        them sounded, from a thread of the sound system.  Raises EnvironmentProblem if it gives no sound."""
        self._on_block, self._last = on_block, time.monotonic()
        try:
            with silenced():
                self._stream.start()
        except self._module.PortAudioError as error:
            raise EnvironmentProblem(f"the microphone {self.name} gives no sound ({error})") from None

    def _hear(self, samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        self._last = time.monotonic()
        block = self._resampler.resample_chunk(np.ascontiguousarray(samples[:, 0]))
        if len(block) and self._on_block is not None:
            self._on_block(block, self._last - self._stream.latency)

    def missing(self) -> str | None:
        """Its name, if no sound comes from it any longer."""
        gone = self._stream.closed or not self._stream.active or time.monotonic() - self._last > SILENT_FOR
        return f"microphone {self.name}" if gone else None

    def close(self) -> None:
        """Close it.  One that has gone is left alone: PortAudio may wait for it forever, also when Python ends."""
        if self._stream.closed:
            return
        if self._on_block is not None and self.missing():
            atexit.unregister(self._module._exit_handler)
        else:
            self._stream.close()


def _devices(module: Any) -> list[tuple[str, Any]]:
    """Name and description of every input."""
    systems = module.query_hostapis()
    return [
        (f"{device['name']}, {systems[device['hostapi']]['name']}", device)
        for device in module.query_devices()
        if device["max_input_channels"] > 0
    ]


def _sounddevice() -> Any:
    """The package sounddevice, with PortAudio loaded."""
    try:
        with silenced():  # of every sound system that is not there
            import sounddevice
    except ImportError as error:
        raise EnvironmentProblem(f"a microphone needs sounddevice ({error}): {install_command('live')}") from None
    except OSError as error:  # its wheels for Linux come without
        raise EnvironmentProblem(f"a microphone needs PortAudio ({error}): apt install libportaudio2") from None
    return sounddevice
