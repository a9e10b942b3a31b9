"""Sound files that libsndfile does not read, such as a phone's M4A: their names, and their samples by FFmpeg (PyAV)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from musicgen.data_prep import limits
from musicgen.data_prep.sound.mpeg import skip_tags
from musicgen.data_prep.sound.splice import Data, Splice


class Kind(NamedTuple):
    """What a person calls it, and FFmpeg's name; left to itself, FFmpeg also takes lists of addresses for sound."""

    name: str
    form: str


BEGINNINGS = {
    b"\x1aE\xdf\xa3": Kind("a Matroska or WebM", "matroska"),
    b"0&\xb2u\x8ef\xcf\x11": Kind("a WMA", "asf"),
    b"#!AMR": Kind("an AMR", "amr"),
    b"MAC ": Kind("a Monkey's Audio", "ape"),
    b"wvpk": Kind("a WavPack", "wv"),
}


def find_kind(data: Data) -> Kind | None:
    """Of a file that only FFmpeg reads; None for any other."""
    if data[4:8] == b"ftyp":
        return Kind("an M4A", "mov")
    start = skip_tags(data, 0)
    head = data[start : start + 8]
    if len(head) == 8 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Kind("an AAC", "aac")
    return next((kind for beginning, kind in BEGINNINGS.items() if head.startswith(beginning)), None)


class OtherFile:
    """Such a file, to be read like a `soundfile.SoundFile`.

    channels, samplerate: of its first sound; with more channels than `limits.AUDIO_CHANNELS` it is not to be read.
    frames: 2**63 - 1, as only decoding shows how many there are.
    """

    frames = 2**63 - 1

    def __init__(self, splice: Splice, form: str) -> None:
        """Raises ImportError without PyAV, RuntimeError if there is no sound in the file."""
        import av

        self._errors = (av.FFmpegError, ValueError, OSError, IndexError, EOFError)
        try:
            self._container: Any = av.open(splice, "r", format=form)
            self._decoded = self._container.decode(audio=0)
            first = next(self._decoded)
            self._plain: Any = av.AudioResampler("fltp", first.layout, first.sample_rate)
        except (*self._errors, StopIteration) as error:
            raise RuntimeError(_reason(error) or "it holds no sound") from None
        self.samplerate, self.channels = int(first.sample_rate), len(first.layout.channels)
        # PyAV reads memory that is not the frame's where there are more than eight.
        few = self.channels <= limits.AUDIO_CHANNELS
        self._waiting: list[np.ndarray] = self._floats(first) if few else []

    def read(self, count: int, dtype: str, always_2d: bool, out: np.ndarray) -> np.ndarray:
        """The next samples, written into f32 [count, channels]: the part of it that they fill, all but at the end.

        Raises RuntimeError if it is damaged behind what it has written.
        """
        failure: Exception | None = None
        while sum(map(len, self._waiting)) < count and failure is None:
            try:
                frame = next(self._decoded, None)
                if frame is None:
                    break
                self._waiting += self._floats(frame)
            except (*self._errors, RuntimeError) as error:
                failure = error
        ready = np.concatenate([np.zeros((0, self.channels), np.float32), *self._waiting])
        found, self._waiting = ready[:count], [ready[count:]]
        out[: len(found)] = found
        if failure is not None:
            raise RuntimeError(_reason(failure)) from None
        return out[: len(found)]

    def close(self) -> None:
        """Let go of it."""
        self._container.close()

    def _floats(self, frame: Any) -> list[np.ndarray]:
        if len(frame.layout.channels) != self.channels:
            raise RuntimeError("its channels change")
        try:
            return [part.to_ndarray().T for part in self._plain.resample(frame)]
        except self._errors as error:
            raise RuntimeError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
