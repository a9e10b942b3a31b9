"""Round weights to 8 or 4 bits (model/storage.py): a folder that `musicgen --checkpoint` loads.

    python runs/piano/release.py RUN/state-000017432 --out checkpoints/piano --bits 4 --card CARD.md
    python runs/piano/release.py maestro-piano --out four --bits 4

From what a leg leaves, or from other released weights, whose card is kept unless another is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import leg
import numpy as np
import state

from musicgen import checkpoints
from musicgen.data_prep.vocabulary import VOCABULARY_2
from musicgen.model.config import ModelConfig

Weights = tuple[ModelConfig, dict[str, np.ndarray], dict[str, Any], dict[str, Any], str]


def read(source: str) -> Weights:
    """Config, float32 parameters, tokenizer, facts of the training, and the card."""
    if (Path(source) / "state.json").is_file():
        params, told = state.load(Path(source))
        return leg.PIANO, params, VOCABULARY_2.to_json(), {"steps": told["step"], "training": told}, f"# {source}\n"
    released = checkpoints.load(source)
    card = (released.folder / checkpoints.CARD).read_text()
    return released.config, released.params, released.tokenizer, released.about, card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="the folder of a state, or released weights by their name or folder")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--bits", type=int, choices=(8, 4), default=4)
    parser.add_argument("--card", type=Path)
    options = parser.parse_args()
    config, params, tokenizer, about, card = read(options.source)
    if options.card:
        card = options.card.read_text()
    sha256 = checkpoints.release(options.out, config, params, tokenizer, about, card, options.bits)
    size = sum(path.stat().st_size for path in options.out.glob("*.safetensors"))
    print(f"{options.out}: {options.bits} bits, {size / 2**20:.1f} MiB of weights, {sha256[:12]}")


if __name__ == "__main__":
    main()
