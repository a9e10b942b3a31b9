"""The order of events and all others in a packed prime: a file can be written of them, or one line says why not."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
from reader import Reader

from musicgen.app.errors import BadInput
from musicgen.app.prime import AND, make_prime, pack, unpack
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.source import Source

NOTES, PEDAL, MESSAGES = 3, 2, (b"\xb0\x43\x7f", b"\xf0\x7e\x7f\x09\x01\xf7", b"\xff\x05la", b"\xe0\x00\x41")


def reader() -> Reader:
    """Of `replay`, and of recipes and links on the page; the inputs are what is compressed there."""
    return Reader(seeds, read, (BadInput,), most=20_000)


def _packed() -> list[str]:
    onset = np.arange(NOTES) * 0.5
    source = Source(
        *(np.arange(count) for count in (NOTES, NOTES, PEDAL)),
        np.full(NOTES, 64, np.uint8),
        2,
        np.arange(len(MESSAGES)) * 0.4,
        np.arange(len(MESSAGES)),
        MESSAGES,
    )
    pedal = np.array([[0.5, 127.0], [1.0, 0.0]])
    music = Performance(onset, onset + 0.5, np.arange(NOTES) + 60, np.full(NOTES, 80), pedal, source)
    text = pack(make_prime(music, None, ""))
    assert text is not None
    return text.split(AND)


def seeds() -> list[bytes]:
    return [zlib.decompress(base64.b64decode(_packed()[2]))]


def read(data: bytes, folder: Path) -> None:
    notes, score, _ = _packed()
    prime = unpack(AND.join([notes, score, base64.b64encode(zlib.compress(data, 1)).decode()]), None, "")
    again, _ = read_midi(write_midi(prime.performance))
    assert len(again)
