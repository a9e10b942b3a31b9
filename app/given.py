"""Which notes of a file of ours were there before the model came: a picture shows them in another hue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.prime import unpack_bytes
from musicgen.app.provenance import find_texts, prime_notes, read
from musicgen.data_prep import MidiError, Performance, read_midi


def given_notes(music: Performance, events: Sequence[str]) -> np.ndarray:
    """bool[N], of each note whether it was given: by the prime, or by the song of which a passage is new.

    music: of a file, with text events.  Of a file that is not ours, or whose facts cannot be read, no note was given.
    """
    provenance, packed = read(events), find_texts(events)[1]
    if provenance is None or provenance.fill is None or packed is None:
        return np.arange(len(music)) < prime_notes(events)
    try:
        before = read_midi(unpack_bytes(packed))[0]
    except (BadInput, MidiError):
        return np.zeros(len(music), bool)
    known = set(_keys(before))
    return np.array([key in known for key in _keys(music)], bool)


def _keys(music: Performance) -> list[tuple[int, int]]:
    """Milliseconds and pitch of each note."""
    return list(zip(np.round(1000 * music.onset).astype(int).tolist(), music.pitch.tolist(), strict=True))
