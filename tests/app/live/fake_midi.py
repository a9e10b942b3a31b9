"""A backend for mido without a MIDI system (MIDO_BACKEND=fake_midi): a scripted player, and a synth that writes.

FAKE_MIDI names a JSON file: ``devices`` (name, is_input, is_output), ``play`` (seconds after somebody listens, bytes),
``out`` (the file into which every message sent goes, a JSON list [seconds, bytes] on each line), and ``vanishes``
(a number of messages sent after which the devices are gone).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mido

gone = False


def script() -> dict[str, Any]:
    """What FAKE_MIDI says."""
    return dict(json.loads(Path(os.environ["FAKE_MIDI"]).read_text(encoding="utf-8")))


def get_devices(**options: object) -> list[dict[str, object]]:
    """The devices, unless they have gone."""
    return [] if gone else list(script()["devices"])


class Port:
    """Opens the devices of the script, and virtual ports."""

    def __init__(self, name: str, virtual: bool = False, **options: object) -> None:
        if not virtual and name not in [device["name"] for device in get_devices()]:
            raise OSError(f"unknown port {name!r}")
        self.name, self.sent = name, 0
        self.heard: Callable[[mido.Message], None] | None = None

    def close(self) -> None:
        """Nothing to do."""


class Input(Port):
    """Plays its script as soon as there is a callback."""

    @property
    def callback(self) -> Callable[[mido.Message], None] | None:
        return self.heard

    @callback.setter
    def callback(self, heard: Callable[[mido.Message], None]) -> None:
        self.heard = heard
        threading.Thread(target=self._play, args=(heard,), daemon=True).start()

    def iter_pending(self) -> Iterator[mido.Message]:
        """What came before: nothing."""
        return iter(())

    @staticmethod
    def _play(heard: Callable[[mido.Message], None]) -> None:
        began = time.monotonic()
        for at, data in script()["play"]:
            time.sleep(max(began + at - time.monotonic(), 0))
            heard(mido.Message.from_bytes(data))


class Output(Port):
    """Writes down what it gets."""

    def send(self, message: mido.Message) -> None:
        """Write it down, or fail if the device has gone."""
        global gone
        told = script()
        gone = gone or self.sent >= told.get("vanishes", 10**9)
        if gone:
            raise OSError("no such device")
        self.sent += 1
        with Path(told["out"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps([time.monotonic(), message.bytes()]) + "\n")
