"""Sound files, written as the sound comes, in memory that does not grow with the file."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.output import replacing
from musicgen.data_prep.audio import SAMPLE_RATE, to_int16

Write = Callable[[np.ndarray], None]
SUBTYPES = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".mp3": ("MP3", None)}


def check_writable(out: Path) -> None:
    """Raise EnvironmentProblem if such a file cannot be written here, before any work is done for it."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library does not load
        raise EnvironmentProblem(f"sound files need soundfile ({error}): pip install soundfile") from None
    if SUBTYPES[out.suffix.lower()][0] not in soundfile.available_formats():
        raise EnvironmentProblem(f"the installed libsndfile cannot write {out.suffix}: choose .wav or .flac")


def digest(samples: np.ndarray) -> str:
    """The SHA-256 of f32 [n], -1..1, as int16 samples: by it a recording that was continued is known again."""
    return hashlib.sha256(to_int16(samples).tobytes()).hexdigest()


@contextlib.contextmanager
def sound_file(out: Path, comment: str | None = None, *, rate: int = SAMPLE_RATE, channels: int = 1) -> Iterator[Write]:
    """A function that adds f32 [n] or [n, channels], -1..1, to the file, which appears whole when the body ends well,
    and else not at all.

    comment: what the file says of itself; see `provenance.summary_line`.

    Raises EnvironmentProblem if it cannot be written.
    """
    import soundfile

    kind, subtype = SUBTYPES[out.suffix.lower()]
    frames = 0

    def write(samples: np.ndarray) -> None:
        nonlocal frames
        frames += len(samples)
        with _explained(out):
            for at in range(0, len(samples), rate):  # libsndfile's Vorbis keeps a whole write on its stack
                file.write(np.clip(samples[at : at + rate], -1.0, 1.0))

    with replacing(out) as temporary:
        with _explained(out):
            file = soundfile.SoundFile(temporary, "w", rate, channels, subtype, format=kind)
            if comment is not None:
                file.comment = comment
        try:
            yield write
        finally:
            with _explained(out):
                file.close()
        with _explained(out):
            # The library reports a full disk as a short write or not at all.  MP3 pads to whole frames.
            if soundfile.info(temporary).frames < frames:
                raise RuntimeError("short")


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    """What libsndfile raises where it cannot write becomes EnvironmentProblem."""
    try:
        yield
    except (RuntimeError, AssertionError):  # SoundFileError is a RuntimeError; a short write, an AssertionError
        raise EnvironmentProblem(
            f"cannot write {out}: is the disk full? Free some space or choose another folder"
        ) from None
