"""What the CPU engine's rounding costs in nats, and what it costs to refill the latents with fewer of them.

    python benchmarks/cpu/quality.py --data SHARDS
    python benchmarks/cpu/quality.py --data SHARDS --checkpoint four     # of other weights

Windows of N inputs with M latents over the middle of validation pieces, four of them a quarter of M apart: so the same
quarter of targets is scored when the latents have just been refilled, up to when they are nearly full, and the
differences are those of the position among the latents and not of the music.  A stream that refills with a share of M
latents scores its tokens at the positions from there on.  JAX scores the first window of each piece too, and of the
same pieces a window whose last quarter of M is added step by step here, after a pass with as many latents.
Adds `quality`, or `quality of NAME`, to result.json beside this script.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from musicgen import checkpoints
from musicgen.data_prep.dataset.loader import evaluation_pieces
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.model.cpu.engine import OnnxEngine

RESULT = Path(__file__).with_name("result.json")
QUARTERS = 4


def nats(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """f64 [M] of targets i [M] under logits f32 [M, V]."""
    wide = logits.astype(np.float64)
    highest = wide.max(axis=-1)
    return np.log(np.exp(wide - highest[:, None]).sum(axis=-1)) + highest - wide[np.arange(len(targets)), targets]


def measure(released: checkpoints.Released, folder: str, pieces: int, with_jax: int) -> dict[str, Any]:
    """The figures of so many pieces, the first few of which JAX scores too."""
    config = released.config
    N, M = config.context, config.latents
    quarter = M // QUARTERS
    engine = OnnxEngine(config, released.weights, NoteLimits())
    jax_logits = by_jax(released)
    no_padding = np.zeros(1, np.int32)
    bands: list[list[float]] = []  # [piece][quarter of the latents]: mean nats of the same targets
    ours: list[np.ndarray] = []
    theirs: list[np.ndarray] = []
    ours_by_steps: list[np.ndarray] = []
    theirs_of_steps: list[np.ndarray] = []
    for _, tokens in evaluation_pieces(folder, "validation"):
        if len(bands) == pieces:
            break
        end = len(tokens) // 2 + N // 2  # of the first window; the targets are its last quarter
        if end - N < 0 or end + M + 1 > len(tokens):
            continue
        row = []
        for shift in range(QUARTERS):
            stop = end + shift * quarter
            window = tokens[None, stop - N : stop].astype(np.int32)
            logits, *_ = engine.run_pass(window, no_padding, M)
            scored = nats(logits[0], tokens[stop - M + 1 : stop + 1])
            row.append(float(scored[M - (shift + 1) * quarter : M - shift * quarter].mean()))
            if shift == 0 and len(theirs) < with_jax:
                ours.append(scored)
                theirs.append(nats(jax_logits(window, M), tokens[stop - M + 1 : stop + 1]))
                targets = tokens[stop - quarter + 1 : stop + 1]
                ours_by_steps.append(nats(by_steps(engine, window, quarter), targets))
                theirs_of_steps.append(nats(jax_logits(window, 2 * quarter)[-quarter:], targets))
        bands.append(row[::-1])
        print(f"{len(bands)}/{pieces}", *(f"{x:.4f}" for x in bands[-1]), flush=True)
    by_band = np.array(bands)
    excess = by_band - by_band[:, -1:]
    return {
        "passes": compared(ours, theirs),
        "steps": compared(ours_by_steps, theirs_of_steps),
        "pieces": len(bands),
        "nats_by_quarter_of_the_latents": [round(x, 4) for x in by_band.mean(axis=0)],
        "excess_over_the_last_quarter": [round(x, 4) for x in excess.mean(axis=0)],
        "excess_standard_error": [round(x, 4) for x in excess.std(axis=0) / len(bands) ** 0.5],
        "mean_excess_of_a_stream_by_quarters_kept": {
            str(kept): round(float(excess.mean(axis=0)[kept:].mean()), 4) for kept in range(QUARTERS)
        },
    }


def compared(ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, Any]:
    """Our nats beside JAX's, of the same targets."""
    difference = np.concatenate(ours) - np.concatenate(theirs)
    return {
        "targets": int(difference.size),
        "jax_nats": round(float(np.concatenate(theirs).mean()), 4),
        "ours_minus_jax_nats": round(float(difference.mean()), 6),
        "standard_error": round(float(difference.std() / difference.size**0.5), 6),
        "largest_difference": round(float(np.abs(difference).max()), 4),
    }


def by_steps(engine: OnnxEngine, window: np.ndarray, count: int) -> np.ndarray:
    """Logits f32 [count, V] of the last tokens of window i32 [1, N], added singly after a pass with `count` latents."""
    N, M = window.shape[1], engine.config.latents
    before, after = window[:, : N - count], window[0, N - count :]
    _, cache = engine.prefill(
        before, np.zeros(1, np.int32), latents=count, max_latents=M, max_inputs=N, free_inputs=count
    )
    return np.concatenate([engine.step(token[None], cache) for token in after])


def by_jax(released: checkpoints.Released) -> Any:
    """tokens i32 [1, N], latents -> logits f32 [latents, V] by the JAX model with float32 parameters."""
    import jax

    from musicgen.model import parameters

    @functools.partial(jax.jit, static_argnums=2)
    def run(params: Any, tokens: Any, latents: int) -> Any:
        return parameters.bind(released.config, params)(tokens, latents=latents)[0]

    return lambda tokens, latents: np.asarray(run(released.params, tokens, latents))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="SHARDS", help="a folder made by `musicgen prep`")
    parser.add_argument("--pieces", type=int, default=10)
    parser.add_argument("--with-jax", type=int, default=3, metavar="PIECES")
    parser.add_argument("--checkpoint", metavar="NAME|DIR")
    arguments = parser.parse_args()
    released = checkpoints.load(arguments.checkpoint or checkpoints.DEFAULT)
    key = f"quality of {released.name}" if arguments.checkpoint else "quality"
    began = time.perf_counter()
    told = measure(released, arguments.data, arguments.pieces, arguments.with_jax)
    told["seconds"] = round(time.perf_counter() - began)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps({**result, key: told}, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
