"""Train a Perceiver AR on any text file: the model takes integers, and bytes are integers.

    python examples/any_integers.py book.txt --steps 2000      # a GPU; on a CPU: --steps 200

Prints bits a byte of the last twentieth of the text, which is held out, and a continuation of its beginning.  A run
that was stopped goes on from its folder.  For other integers than bytes, change `tokens_of` and `vocab_size`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from musicgen.model.config import PRESETS, SPECIALS
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.train import train


def tokens_of(path: Path) -> np.ndarray:
    """Integers i32 [T]; the first three of a vocabulary are padding, beginning and end."""
    return np.frombuffer(path.read_bytes(), np.uint8).astype(np.int32) + SPECIALS


class RandomRows:
    """Batches of rows [B, N + 1] from anywhere in the tokens; the state is how many there were."""

    def __init__(self, tokens: np.ndarray, rows: int, length: int):
        self.windows, self.rows, self.drawn = np.lib.stride_tricks.sliding_window_view(tokens, length), rows, 0

    def __next__(self) -> dict[str, np.ndarray]:
        chosen = np.random.default_rng(self.drawn).integers(0, len(self.windows), self.rows)
        self.drawn += 1
        return {"tokens": self.windows[chosen]}

    def get_state(self) -> Any:
        return self.drawn

    def set_state(self, state: Any) -> None:
        self.drawn = state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--run", type=Path, default=Path("run-text"), help="folder of the run")
    parser.add_argument("--preset", default="tiny", choices=PRESETS)
    for name, default in (("steps", 2000), ("rows", 16), ("context", 1024), ("latents", 256), ("sample", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    N, M = given.context, given.latents
    model = dataclasses.replace(PRESETS[given.preset], vocab_size=SPECIALS + 256, context=N, latents=M)
    compute = "bfloat16" if jax.default_backend() == "gpu" else "float32"
    config = TrainConfig(model, steps=given.steps, batch=given.rows, all_settings=False, compute=compute)

    tokens = tokens_of(given.text)
    held_out = len(tokens) // 20
    if held_out < 2 or len(tokens) - held_out <= N:
        parser.error(f"{given.text} holds {len(tokens)} bytes: give a longer text, or a smaller --context")
    state = train(config, RandomRows(tokens[:-held_out], given.rows, N + 1), given.run)

    (nats,) = nats_of_pieces(model, state.params, [tokens[-held_out:]], latents=M, context=N)
    print(f"{nats.mean() / math.log(2):.3f} bits a byte of {len(nats)} held-out bytes")
    stream = JaxEngine(model, state.params).start([tokens[-held_out:][: N // 2]], latents=M, context=N)
    drawn = np.concatenate([next(stream)[0] for _ in range(-(-given.sample // 16))])
    print(bytes((drawn.clip(SPECIALS) - SPECIALS).astype(np.uint8)).decode(errors="replace"))


if __name__ == "__main__":
    main()
