"""`musicgen bench`: tokens a second on this machine, at a few settings of the two dials."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import number, whole
from musicgen.app.settings import FEWEST, Settings

if TYPE_CHECKING:
    from musicgen.app.generate import Model

SHARES = ((8, 8), (2, 4), (1, 2), (1, 1))  # (latents, context) as fractions 1/a, 1/b of the model's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which weights, how long, how to print."""
    add = parser.add_argument
    add("--checkpoint", metavar="NAME", help="released weights by name, or a folder of weights (the released model)")
    add("--latents", type=whole, metavar="M", help="measure only this setting (several)")
    add("--context", type=whole, metavar="N", help="measure only this setting (several)")
    add("--seconds", type=number, default=40.0, metavar="S", help="how long to measure in all, at least (%(default)g)")
    add("--json", action="store_true", help="print one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Measure each setting for an equal time."""
    from musicgen.app.generate import open_model, open_weights
    from musicgen.app.shipped import find_prime

    chosen = Settings(latents=arguments.latents, context=arguments.context)
    released = open_weights(arguments.checkpoint)
    chosen.resolved(released.config.latents, released.config.context)
    model = open_model(released)
    from musicgen.app.prime import read_prime

    prime, _ = read_prime(find_prime("bach"), None)
    dials = settings(model, chosen)
    rows = []
    for latents, context in dials:
        row = measure(model, prime.tokens, latents, context, arguments.seconds / len(dials))
        rows.append(row)
        if not arguments.json:
            print(
                f"latents {row['latents']:>5}  context {row['context']:>5}  {row['tokens_per_second']:>8.1f} tokens/s"
                f"  {row['real_time']:>6.2f}x real time  first token after {row['priming_seconds']:.2f} s",
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"checkpoint": model.name, "backend": model.backend, "settings": rows}))
    else:
        print(f"musicgen: {model.name} on {model.backend}", file=sys.stderr)
    return 0


def settings(model: Model, chosen: Settings) -> list[tuple[int, int]]:
    """The chosen (latents, context), or a few from cheap to dear."""
    if chosen.latents is not None or chosen.context is not None:
        one = chosen.resolved(model.latents, model.context)
        assert one.latents is not None and one.context is not None
        return [(one.latents, one.context)]
    pairs = [(max(model.latents // m, FEWEST), max(model.context // n, FEWEST)) for m, n in SHARES]
    return [(min(latents, context), context) for latents, context in pairs]


def measure(model: Model, prime: Any, latents: int, context: int, seconds: float) -> dict[str, float]:
    """Generate for ``seconds`` on the wall (at least two blocks) and report the speed after the first block."""
    from musicgen.data_prep import STEPS_PER_SECOND, steps

    began = time.perf_counter()
    stream = iter(
        model.engine.start([prime], latents=latents, context=context, sampling=model.sampling(1.0, 1.0, 0, 0.0), seed=0)
    )
    next(stream)
    started = now = time.perf_counter()
    tokens, music = 0, 0.0
    while tokens == 0 or now - began < seconds:
        block = next(stream)
        now = time.perf_counter()
        tokens += block.shape[1]
        music += float(steps(block[0])[-1]) / STEPS_PER_SECOND
    return {
        "latents": latents,
        "context": context,
        "tokens_per_second": round(tokens / (now - started), 2),
        "real_time": round(music / (now - started), 3),
        "priming_seconds": round(started - began, 3),
    }
