"""Recordings turned into notes for the page, each in a process of its own: that takes 2 GB, which are free
again afterwards, and the server goes on meanwhile."""

from __future__ import annotations

import base64
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from musicgen.app.errors import STOPPING, BadInput, EnvironmentProblem, MusicgenError
from musicgen.app.transcription import Hear, survey, transcribe
from musicgen.app.web.limits import Limits
from musicgen.app.web.ticket import Event
from musicgen.data_prep.dataset.workers import live_with_parent
from musicgen.data_prep.files import temporary_folder

RECORDING = "this recording"  # what it is called, whose own name never gets here
BROKEN = "this recording could not be transcribed: try again, or with less of it"


class Transcriber:
    """Turns recordings into MIDI files, one at a time.  Call it from any thread."""

    def __init__(self, limits: Limits, open_transcriber: Callable[[], Hear]) -> None:
        """open_transcriber: called in the process that listens."""
        self.limits, self.open_transcriber = limits, open_transcriber
        self._lock, self._closed = threading.Lock(), False
        self._process: BaseProcess | None = None

    def transcribe(self, data: bytes, tell: Callable[[Event], None] = lambda event: None) -> Event:
        """Hear the notes in a recording's file; returns the last event, the others are told while it goes on.

        begin: `seconds` of the recording.  notes: `notes`, new ones as a music object has them, and the `seconds` that
        have been heard.  end: `midi`, the file in base64, and `remarks`.

        Raises MusicgenError.
        """
        with temporary_folder() as folder:
            path = folder / RECORDING
            path.write_bytes(data)
            return self._work(path, tell)

    def close(self) -> None:
        """Stop it."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _work(self, path: Path, tell: Callable[[Event], None]) -> Event:
        context = multiprocessing.get_context("spawn")  # a fork of a process with JAX in it may hang
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(path, self.limits, self.open_transcriber, theirs), daemon=True)
        with self._lock:
            if self._closed:
                raise EnvironmentProblem(STOPPING)
            process.start()
            self._process = process
        theirs.close()
        until = time.monotonic() + self.limits.wall_seconds
        try:
            while True:
                if not ours.poll(max(0.0, until - time.monotonic())):
                    raise BadInput(
                        f"transcribing this takes more than {self.limits.wall_seconds / 60:g} minutes here: cut it"
                    )
                said: Event | MusicgenError = ours.recv()
                if isinstance(said, MusicgenError):
                    raise said
                if said["event"] == "end":
                    return said
                tell(said)
        except EOFError:
            raise EnvironmentProblem(BROKEN) from None
        finally:
            process.kill()
            process.join()
            self._process = None


def _work(path: Path, limits: Limits, open_transcriber: Callable[[], Hear], answer: Connection) -> None:
    live_with_parent()
    new: list[list[float | None]] = []

    def tell(seconds: float) -> None:
        answer.send({"event": "notes", "seconds": round(seconds, 2), "notes": new.copy()})
        new.clear()

    try:
        most = limits.sound_prime_seconds
        if (seconds := survey(path, most).seconds) > most:
            raise BadInput(f"{RECORDING} lasts {seconds / 60:.0f} minutes or more, {most / 60:g} are the most: cut it")
        answer.send({"event": "begin", "seconds": round(seconds, 2)})
        made = transcribe(path, open_transcriber(), None, tell, lambda notes: new.extend(_as_music(notes)))
        midi = base64.b64encode(made.midi).decode("ascii")
        answer.send({"event": "end", "midi": midi, "remarks": list(made.remarks)})
    except MusicgenError as error:
        answer.send(type(error)(str(error)))


def _as_music(notes: np.ndarray) -> list[list[float | None]]:
    """Notes f64 [n, 4] as a music object has them (see `notes.take.music`)."""
    return [
        [round(onset, 4), round(end, 4), int(pitch), max(1, int(velocity)), None]
        for onset, end, pitch, velocity in notes.tolist()
    ]
