"""Sound in a process of its own: the native code that makes, reads and writes it keeps the interpreter to itself while
it works, and whatever it does on a strange piece or recording, the server goes on.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from musicgen.app.errors import STOPPING, BadInput, EnvironmentProblem
from musicgen.app.render import render
from musicgen.app.sound_file import check_writable, sound_file
from musicgen.app.web.piano import PITCHES, sample
from musicgen.data_prep import Performance
from musicgen.data_prep.audio import AudioError, Level, read_audio, to_int16
from musicgen.data_prep.dataset.workers import live_with_parent
from musicgen.data_prep.files import temporary_folder

P = ParamSpec("P")
T = TypeVar("T")
BROKEN = "the sound could not be made: try again, or take the MIDI file and make it with musicgen render"
UNREADABLE = "this recording could not be read: try again, or save it in another format"
UNWRITTEN = "the sound could not be written: try again, or take it as WAV"
RECORDING = "this recording"  # what a recording is called, whose own name never gets here


class Renderer:
    """Turns music into sound files, one after the other.  Call it from any thread."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._keys: dict[int, bytes] = {}
        self.closed = False

    def render(self, performance: Performance, form: str, label: str | None = None) -> bytes:
        """A sound file.  form: wav, flac, ogg or mp3; label: see `render`.  Raises MusicgenError."""
        return self._run(BROKEN, render_bytes, performance, form, label)

    def read(self, data: bytes, longest: float) -> tuple[np.ndarray, tuple[str, ...]]:
        """A recording's samples, int16 [n], one channel, 24 kHz, and remarks.  data: of a file that lasts no longer
        than `longest` seconds.  Raises MusicgenError.
        """
        with temporary_folder() as folder:
            path = folder / RECORDING
            path.write_bytes(data)
            return self._run(UNREADABLE, read_recording, path, longest)

    def write(self, samples: np.ndarray, form: str, label: str | None = None) -> bytes:
        """A sound file.  samples: int16 [n] at 24 kHz; form: wav, flac, ogg or mp3; label: see `sound_file`.

        Raises MusicgenError.
        """
        return self._run(UNWRITTEN, write_sound, samples, form, label)

    def key(self, pitch: int) -> bytes:
        """The MP3 of one of the browser's keys; see `sample`.  Raises BadInput for a key that is not sampled."""
        if pitch not in PITCHES:
            raise BadInput(f"there is no sample of key {pitch}: there are {PITCHES[0]}, {PITCHES[1]} ... {PITCHES[-1]}")
        if pitch not in self._keys:
            self._keys[pitch] = sample(pitch, lambda music: self._run(BROKEN, render_bytes, music, "mp3"))
        return self._keys[pitch]

    def prepare(self) -> None:
        """Have all keys at hand, so that nobody has to wait for them.  Raises MusicgenError."""
        for pitch in PITCHES:
            if self.closed:
                return
            self.key(pitch)

    def close(self) -> None:
        """Finish what is being made, forget what waits."""
        with self._lock:
            self.closed = True
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _run(self, broken: str, work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        with self._lock:
            if self.closed:
                raise EnvironmentProblem(STOPPING)
            if self._pool is None:
                context = multiprocessing.get_context("spawn")  # a fork of a process with JAX in it may hang
                self._pool = concurrent.futures.ProcessPoolExecutor(1, context, live_with_parent)
            pool = self._pool
            future = pool.submit(work, *arguments, **more)
        try:
            return future.result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = None
            raise EnvironmentProblem(broken) from None
        except concurrent.futures.CancelledError:
            raise EnvironmentProblem(STOPPING) from None


def render_bytes(performance: Performance, form: str, label: str | None = None) -> bytes:
    """The bytes of a sound file; it is written in a folder of its own, which goes with all that is in it."""
    with temporary_folder() as folder:
        path = folder / f"piece.{form}"
        render(performance, path, comment=label)
        return path.read_bytes()


def read_recording(path: Path, longest: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """See `Renderer.read`."""
    level = Level()
    try:
        return to_int16(read_audio(path, level, longest=longest)), level.remarks()
    except AudioError as error:
        raise BadInput(str(error)) from None


def write_sound(samples: np.ndarray, form: str, label: str | None = None) -> bytes:
    """See `Renderer.write`."""
    with temporary_folder() as folder:
        path = folder / f"sound.{form}"
        check_writable(path)
        with sound_file(path, label) as write:
            # As libsndfile counts, so that WAV and FLAC hold every sample as it is.
            write(samples.astype(np.float32) / np.float32(32768.0))
        return path.read_bytes()
