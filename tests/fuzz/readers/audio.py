"""Sound files: whatever is in them, samples come out or one line."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import soundfile
from reader import Reader

from musicgen.data_prep.audio import AudioError, read_blocks

FORMS = (
    *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
    *(("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16")),
)


def reader() -> Reader:
    """Of everything that reads recordings: the main command, `codec encode`, `prep` and the page."""
    return Reader(seeds, read, (AudioError,))


def seeds() -> list[bytes]:
    made = []
    for seconds, channels in ((0.6, 1), (1.5, 2)):
        times = np.arange(round(seconds * 24_000)) / 24_000
        sound = np.stack([0.4 * np.sin(2 * np.pi * 220 * (1 + c) * times) for c in range(channels)], axis=1)
        for form, subtype in FORMS:
            file = io.BytesIO()
            soundfile.write(file, sound, 24_000, format=form, subtype=subtype)
            made.append(file.getvalue())
    return [*made, *map(b"".join, itertools.pairwise(made))]  # also joined ones


def read(data: bytes, folder: Path) -> int:
    path = folder / "x"
    path.write_bytes(data)
    return sum(len(block) for block in read_blocks(path))
