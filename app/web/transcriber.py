"""Recordings turned into notes for the page, each in a process of its own: that takes 2 GB, which are free
again afterwards, and the server goes on meanwhile."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from musicgen.app.errors import STOPPING, BadInput, EnvironmentProblem, MusicgenError
from musicgen.app.transcription import Hear, survey, transcribe
from musicgen.app.web.limits import Limits
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

    def transcribe(self, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """A MIDI file of the notes in a recording's file, and remarks.  Raises MusicgenError."""
        with temporary_folder() as folder:
            path = folder / RECORDING
            path.write_bytes(data)
            return self._work(path)

    def close(self) -> None:
        """Stop it."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _work(self, path: Path) -> tuple[bytes, tuple[str, ...]]:
        context = multiprocessing.get_context("spawn")  # a fork of a process with JAX in it may hang
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(path, self.limits, self.open_transcriber, theirs), daemon=True)
        with self._lock:
            if self._closed:
                raise EnvironmentProblem(STOPPING)
            process.start()
            self._process = process
        theirs.close()
        try:
            if not ours.poll(self.limits.wall_seconds):
                raise BadInput(
                    f"transcribing this takes more than {self.limits.wall_seconds / 60:g} minutes here: cut it"
                )
            made: tuple[bytes, tuple[str, ...]] | MusicgenError = ours.recv()
        except EOFError:
            raise EnvironmentProblem(BROKEN) from None
        finally:
            process.kill()
            process.join()
            self._process = None
        if isinstance(made, MusicgenError):
            raise made
        return made


def _work(path: Path, limits: Limits, open_transcriber: Callable[[], Hear], answer: Connection) -> None:
    live_with_parent()
    try:
        most = limits.sound_prime_seconds
        if (seconds := survey(path, most).seconds) > most:
            raise BadInput(f"{RECORDING} lasts {seconds / 60:.0f} minutes or more, {most / 60:g} are the most: cut it")
        made = transcribe(path, open_transcriber())
        answer.send((made.midi, made.remarks))
    except MusicgenError as error:
        answer.send(type(error)(str(error)))
