"""Sound written as it comes: 24 kHz, one channel, in memory that does not grow with the file."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.output import replacing
from musicgen.app.render import SUBTYPES
from musicgen.data_prep.audio import SAMPLE_RATE, to_int16

Write = Callable[[np.ndarray], None]


def check_writable(out: Path) -> None:
    """Raise EnvironmentProblem if the installed libsndfile cannot write such a file."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library does not load
        raise EnvironmentProblem(f"sound needs soundfile ({error}): pip install soundfile") from None
    if SUBTYPES[out.suffix.lower()][0] not in soundfile.available_formats():
        raise EnvironmentProblem(f"the installed libsndfile cannot write {out.suffix}: choose .wav or .flac")


def digest(samples: np.ndarray) -> str:
    """The SHA-256 of f32 [n], -1..1, as int16 samples: by it a recording that was continued is known again."""
    return hashlib.sha256(to_int16(samples).tobytes()).hexdigest()


@contextlib.contextmanager
def sound_file(out: Path, label: str | None = None) -> Iterator[Write]:
    """A function that adds f32 [n], -1..1, to the file; it appears when the body ends well, and else not at all.

    label: what it says of itself, as its comment; see `facts.label`.

    Raises EnvironmentProblem if it cannot be written.
    """
    import soundfile

    kind, subtype = SUBTYPES[out.suffix.lower()]
    with replacing(out) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", SAMPLE_RATE, 1, subtype, format=kind) as file:
                if label is not None:
                    file.comment = label
                yield lambda samples: file.write(np.clip(samples, -1.0, 1.0))
        except soundfile.SoundFileError as error:
            raise EnvironmentProblem(f"cannot write {out}: {str(error).strip().rstrip('.')}") from None
