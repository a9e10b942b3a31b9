"""Files of codes: whatever is in them, codes come out or one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from reader import Reader

from musicgen.app.audio.codes_file import Encoded, read_encoded
from musicgen.app.errors import MusicgenError
from musicgen.model.codec.config import CODEC_PRESETS


def reader() -> Reader:
    """Of `codec decode` and `codec info`."""
    return Reader(seeds, read, (MusicgenError,))


def seeds() -> list[bytes]:
    config, rng = CODEC_PRESETS["toy-mdct"], np.random.default_rng(0)
    codes = [rng.integers(0, config.codebook_size, (frames, 4)).astype(np.int16) for frames in (1, 200)]
    made = [Encoded(each, len(each) * config.hop, config.to_dict(), "0" * 64).to_bytes() for each in codes]
    return made


def read(data: bytes, folder: Path) -> int:
    path = folder / "x.codes.npz"
    path.write_bytes(data)
    return len(read_encoded(path).codes)
