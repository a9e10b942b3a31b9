"""A codec and a model over its codes, both as small as can be and untrained, released as the real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from musicgen import checkpoints
from musicgen.app.audio.model import CODES
from musicgen.checkpoints import codec_release
from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.config import ModelConfig

CODEC = CODEC_PRESETS["toy-mdct"]
MODEL = ModelConfig(
    vocab_size=CODEC.codebook_size + 3,
    width=32,
    heads=4,
    kv_heads=2,
    local_layers=1,
    local_window=8,
    cross_attends=1,
    layers=2,
    widening=2,
    context=64,
    latents=16,
    channels=CODEC.codebooks,
    code_width=8,
    depth_layers=1,
    depth_width=16,
)


def release_codec(folder: Path, seed: int = 0) -> str:
    """A codec that has learnt nothing; returns its sha256."""
    params = {name: np.asarray(x) for name, x in parameters.initial(CODEC, seed, SoundStream).items()}
    return codec_release.release(folder, CODEC, params, {}, "# toy\n")


def release_model(folder: Path, codec_sha256: str, config: ModelConfig = MODEL) -> None:
    """A model that has learnt nothing and prefers some codes."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.3, shape) for name, shape in sorted(parameters.shapes(config).items())}
    tokenizer = {"format": CODES, "codec_sha256": codec_sha256, "frame_rate": CODEC.frame_rate}
    checkpoints.release(folder, config, params, tokenizer, {}, "# toy\n")


def write_sound(path: Path, seconds: float, rate: int = 24_000, channels: int = 1) -> np.ndarray:
    """Write a chord that dies away; f32 [n, channels]."""
    t = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * hertz * t) for hertz in (220.0, 277.0, 330.0)) * 0.2 * np.exp(-t / max(seconds, 0.1))
    sound = np.repeat(np.asarray(chord, np.float32)[:, None], channels, axis=1)
    soundfile.write(path, sound, rate)
    return sound
