"""Made-up codes in the layout of data_prep/dataset/codes.py, to try train.py and evaluate.py without a codec.

python benchmarks/codes/make_toy.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.dataset import codes
from musicgen.model.codec.config import CODEC_PRESETS

SECONDS = {"train": (300, 120, 77), "validation": (40, 25), "test": (30, 20)}


def main() -> None:
    """Every code follows from the codebook before it and the frame before, but for some noise."""
    folder, codec = Path(sys.argv[1]), CODEC_PRESETS[sys.argv[2] if len(sys.argv) > 2 else "toy"]
    rng = np.random.default_rng(0)
    Q, S, rate = codec.codebooks, codec.codebook_size, codec.frame_rate

    def encode(waves: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for wave in waves:
            F = len(wave) * rate // SAMPLE_RATE
            steps = rng.choice([1, 1, 1, 2, 5], F).cumsum()
            yield (steps[:, None] * (1 + np.arange(Q)) + rng.integers(0, 2, (F, Q))) % S

    sources = [
        codes.Source(f"{split}-{number}.wav", split, "", np.zeros(seconds * SAMPLE_RATE, np.int16))
        for split, lengths in SECONDS.items()
        for number, seconds in enumerate(lengths)
    ]
    facts = {"codec_sha256": "0" * 64, "frame_rate": rate, "codebooks": Q, "codebook_size": S}
    codes.run(sources, folder, encode, {"codec": codec.to_dict(), **facts})


if __name__ == "__main__":
    main()
