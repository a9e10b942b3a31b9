"""Packed primes: whatever is in one, music comes out of it or one line."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
from reader import Reader

from musicgen.app.errors import BadInput
from musicgen.app.limits import MOST_PRIME_NOTES
from musicgen.app.prime import make_prime, pack, unpack
from musicgen.data_prep import Performance


def reader() -> Reader:
    """Of `replay`, and of recipes and links on the page; the inputs are what is compressed there."""
    return Reader(seeds, read, (BadInput,))


def seeds() -> list[bytes]:
    made = []
    for notes, events in ((1, 0), (40, 12)):
        onset = np.arange(notes) * 0.3
        pedal = np.stack([np.arange(events) * 0.7, np.arange(events) % 2 * 127.0], axis=1)
        music = Performance(onset, onset + 0.4, np.arange(notes) % 88 + 21, np.full(notes, 80), pedal)
        text = pack(make_prime(music, None, ""))
        assert text is not None
        made.append(zlib.decompress(base64.b64decode(text)))
    return made


def read(data: bytes, folder: Path) -> None:
    prime = unpack(base64.b64encode(zlib.compress(data, 1)).decode(), None, "")
    assert 1 <= len(prime.performance) <= MOST_PRIME_NOTES and np.isfinite(prime.performance.pedal).all()
