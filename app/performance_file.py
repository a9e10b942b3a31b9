"""Reading any MIDI file for a command that shows or plays it."""

from __future__ import annotations

from pathlib import Path

from musicgen.app.errors import BadInput, cannot_read
from musicgen.data_prep import MidiError, Performance, read_midi
from musicgen.data_prep.smf import MAX_BYTES


def read_bytes(path: Path) -> bytes:
    """The bytes of a MIDI file, at most one more than `read_midi` accepts, so that it can say so.

    Raises BadInput or EnvironmentProblem if there is nothing to read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise cannot_read(path, error, "MIDI file") from None


def read_performance(path: Path) -> tuple[Performance, tuple[str, ...]]:
    """The music of a MIDI file and remarks on what else was in it.  Raises BadInput if it is not MIDI with notes."""
    return performance_in(read_bytes(path), path)


def performance_in(data: bytes, path: Path) -> tuple[Performance, tuple[str, ...]]:
    """The music in the bytes of a MIDI file; ``path`` is for the message.  Raises BadInput."""
    try:
        return read_midi(data)
    except MidiError as error:
        raise BadInput(f"{path}: {error}") from None
