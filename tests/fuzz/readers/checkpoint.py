"""The documents of a checkpoint: whatever is in them, weights come out of it or one line."""

from __future__ import annotations

import functools
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reader import Reader

from musicgen import checkpoints
from musicgen.app import backend
from musicgen.app.audio.codes_file import encoder, open_codec
from musicgen.app.audio.model import CODES, open_audio_model
from musicgen.app.errors import MusicgenError
from musicgen.app.generate import open_weights
from musicgen.checkpoints import codec_release
from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.config import ModelConfig

KEPT = tempfile.TemporaryDirectory(prefix="fuzz-weights-")
CODEC = CODEC_PRESETS["toy-mdct"]
TOY = {"width": 32, "heads": 4, "kv_heads": 2, "local_layers": 1, "local_window": 8, "cross_attends": 1, "layers": 2}
TOY |= {"widening": 2, "context": 64, "latents": 16}
CODES_TOY = {"channels": CODEC.codebooks, "code_width": 8, "depth_layers": 1, "depth_width": 16}
NOTES = ModelConfig(**TOY)
SOUND = ModelConfig(**TOY, **CODES_TOY, vocab_size=CODEC.codebook_size + 3)


def reader() -> Reader:
    """Of what every command does with --checkpoint and --codec."""
    return Reader(seeds, read, (MusicgenError,), most=20_000, text=True)


def seeds() -> list[bytes]:
    return [path.read_bytes() for folder in folders().values() for path in sorted(folder.glob("*.json"))]


@functools.cache
def folders() -> dict[str, Path]:
    """Released weights as small as can be: of notes, of sound, of a codec."""
    place = Path(KEPT.name)
    codec = {name: np.asarray(x) for name, x in parameters.initial(CODEC, 0, SoundStream).items()}
    sha256 = codec_release.release(place / "codec", CODEC, codec, {}, "# toy\n")
    for name, config in (("notes", NOTES), ("sound", SOUND)):
        params = {n: np.zeros(shape, np.float32) for n, shape in sorted(parameters.shapes(config).items())}
        tokenizer = {"format": CODES, "codec_sha256": sha256, "frame_rate": CODEC.frame_rate}
        notes = json.loads((checkpoints.FOLDER / "maestro-tiny" / "tokenizer.json").read_text())
        checkpoints.release(place / name, config, params, tokenizer if name == "sound" else notes, {}, "# toy\n")
    return {name: place / name for name in ("notes", "sound", "codec")}


def read(data: bytes, folder: Path) -> None:
    """In the place of one of the documents, a good one always in its own."""
    places = [("codec", "config.json")]
    places += [(name, document) for name in ("notes", "sound") for document in ("config.json", "tokenizer.json")]
    own = [(name, document) for name, document in places if (folders()[name] / document).read_bytes() == data]
    name, document = (own or places)[zlib.crc32(data) % len(own or places)]
    path = folders()[name] / document
    before = path.read_bytes()
    path.write_bytes(data)
    checkpoints.write_sums(path.parent)
    try:
        OPEN[name](str(path.parent))
    finally:
        path.write_bytes(before)


def _open_notes(path: str) -> None:
    backend.open_engine(open_weights(path))


def _open_sound(path: str) -> None:
    backend.open_engine(open_audio_model(path, str(folders()["codec"])).released)


def _open_codec(path: str) -> None:
    encoder(open_codec(path))


OPEN: dict[str, Callable[[str], None]] = {"notes": _open_notes, "sound": _open_sound, "codec": _open_codec}
