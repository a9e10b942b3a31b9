"""The module sounddevice without a sound system: one microphone, before which a sound is played in real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Sounds(ModuleType):
    """As much of it as musicgen uses.  sounds: f32 [n] at ``rate``, then silence; after ``seconds`` it has gone."""

    PortAudioError = OSError

    def __init__(self, sound: np.ndarray, rate: int = 44_100, seconds: float = 60.0) -> None:
        super().__init__("sounddevice")
        self.sound, self.rate, self.seconds = sound, rate, seconds
        self.loud = lambda: False  # whether the loudspeaker sounds, too
        self.default = SimpleNamespace(device=(1, 0))
        self.devices = [
            {"index": 0, "name": "Speaker", "hostapi": 0, "max_input_channels": 0, "default_samplerate": 44_100.0},
            {"index": 1, "name": "Desk", "hostapi": 0, "max_input_channels": 2, "default_samplerate": float(rate)},
        ]
        self.closed = threading.Event()
        self.InputStream = lambda **asked: Stream(self, **asked)

    def query_devices(self) -> list[dict[str, Any]]:
        return self.devices

    @staticmethod
    def _exit_handler() -> None: ...

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Air"}]


class Stream:
    """What is open."""

    latency, active, closed = 0.0, True, False

    def __init__(
        self, air: Sounds, samplerate: float, blocksize: int, device: int, callback: Callable[..., None], **asked: Any
    ) -> None:
        assert asked == {"channels": 1, "dtype": "float32", "latency": "high"} and device == 1
        assert samplerate == air.rate
        self.air, self.blocksize, self.callback = air, blocksize, callback

    def start(self) -> None:
        threading.Thread(target=self._play, daemon=True).start()

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self.air.closed.set()

    def _play(self) -> None:
        air, began, at = self.air, time.monotonic(), 0
        noise = np.random.default_rng(0)
        while not air.closed.is_set() and at < air.seconds * air.rate:
            at += self.blocksize
            time.sleep(max(began + at / air.rate - time.monotonic(), 0.0))
            block = noise.normal(0.0, 1e-3, self.blocksize)
            played = air.sound[at - self.blocksize : at]
            block[: len(played)] += played
            if air.loud():
                block += np.sin(np.arange(self.blocksize) / 10)
            self.callback(block.astype(np.float32)[:, None], self.blocksize, None, None)
