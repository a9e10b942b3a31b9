"""Round weights to 8 or 4 bits (model/storage.py): a folder that `musicgen --checkpoint` loads.

    python runs/piano/release.py RUN/four --out checkpoints/piano --bits 4 --card CARD.md
    python runs/piano/release.py piano --out four --bits 4

From what a leg leaves, with what RUN/log.jsonl tells of it, or from other released weights, whose card is kept unless
another is given.  A leg that ended in four bits comes out as it was scored, but for tables and scales, in float16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import leg
import numpy as np
import state

from musicgen import checkpoints
from musicgen.data_prep.vocabulary import VOCABULARY_2
from musicgen.model.config import ModelConfig

SCHEDULE = ("rate", "warmup", "decay_from", "calm_from", "four_bits_from")
Weights = tuple[ModelConfig, dict[str, np.ndarray], dict[str, Any], dict[str, Any], str]


def told_by(log: Path) -> dict[str, Any]:
    """Of a leg: how it was trained, and nats a token of whole splits by corpus."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    started: dict[str, Any] = next((line for line in lines if "config" in line), {"config": {}, "options": {}})
    schedule = {name: float(x) for name, x in started["options"].items() if name in SCHEDULE}
    schedule["seconds"] = max((line["time"] for line in lines if "time" in line), default=0.0)
    nats = {
        line["setting"]: {name.removeprefix("plain "): x["nats_per_token"] for name, x in line["scores"].items()}
        for line in lines
        if line.get("setting", "").startswith("whole")
    }
    return {"training": started["config"], "schedule": schedule, "nats": nats}


def read(source: str) -> Weights:
    """Config, float32 parameters, tokenizer, facts of the training, and the card."""
    if (Path(source) / "state.json").is_file():
        params, told = state.load(Path(source))
        about = {"steps": told["step"], **told_by(Path(source).parent / "log.jsonl")}
        shape = about["training"].get("model")
        config = ModelConfig.from_dict(shape) if shape else leg.PIANO
        return config, params, VOCABULARY_2.to_json(), about, f"# {source}\n"
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
