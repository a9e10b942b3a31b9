"""Weights as small as can be, which know nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musicgen import checkpoints
from musicgen.data_prep import Vocabulary
from musicgen.model import parameters
from musicgen.model.config import ModelConfig


def release_toy(folder: Path, vocabulary: Vocabulary, *, logits: float = 1.0, bits: int = 8) -> None:
    """Random weights over its tokens, their logits so many times as large."""
    config = ModelConfig(
        vocab_size=vocabulary.size,
        width=32,
        heads=2,
        kv_heads=1,
        local_layers=1,
        local_window=16,
        layers=2,
        context=96,
        latents=32,
    )
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in parameters.shapes(config).items()}
    params["logits.kernel"] *= logits
    checkpoints.release(folder, config, params, vocabulary.to_json(), {}, "# Little\n", bits)
