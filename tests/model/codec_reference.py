"""Residual vector quantisation as one would write it down, in float64 numpy; and codecs as small as can be."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.soundstream import SoundStream

TOY_CODEC = CODEC_PRESETS["toy"]


def toy_parameters(seed: int = 0) -> dict[str, jax.Array]:
    """Fresh parameters; biases and snake frequencies random too, where a fresh codec has zeros and ones."""
    rng = np.random.default_rng(seed)
    params = parameters.initial(TOY_CODEC, seed, SoundStream)
    for name, value in sorted(params.items()):
        if "bias" in name or "frequency" in name:
            params[name] = value + rng.normal(0, 0.1, value.shape).astype(np.float32)
    return params


def encode(params: Mapping[str, np.ndarray], z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z [F, D] -> (codes [F, Q], by how much nearer the chosen entry is than the next one [F, Q])."""
    entries = np.asarray(params["quantizer.entries"], np.float64)
    codes, margins = [], []
    for frame in np.asarray(z, np.float64):
        residual, row, margin = frame, [], []
        for book in entries:
            distances = np.array([float(np.sum((residual - entry) ** 2)) for entry in book])
            best = int(np.argmin(distances))
            row.append(best)
            margin.append(sorted(distances)[1] - distances[best])
            residual = residual - book[best]
        codes.append(row)
        margins.append(margin)
    return np.array(codes), np.array(margins)


def decode(params: Mapping[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """codes [F, Q'] -> [F, D]."""
    entries = np.asarray(params["quantizer.entries"], np.float64)
    return np.array([sum(entries[q][c] for q, c in enumerate(row)) for row in codes])
