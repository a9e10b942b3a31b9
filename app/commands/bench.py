"""`musicgen bench`: tokens a second on this machine over a small grid of the two dials, latents and context.

Every cell begins with its context full, as it is in the middle of a long piece, and its figure counts the passes in
which a stream reads its context anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.arguments import add_checkpoint, number, whole
from musicgen.app.settings import FEWEST, Settings

if TYPE_CHECKING:
    from musicgen.app.generate import Model

LATENT_SHARES, CONTEXT_SHARES = (16, 4, 1), (4, 2, 1)  # 1/a of the model's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which weights, how long, how to print."""
    add = parser.add_argument
    add_checkpoint(parser)
    add("--latents", type=whole, metavar="M", help="measure only this setting (default: several)")
    add("--context", type=whole, metavar="N", help="measure only this setting (default: several)")
    add(
        "--seconds",
        type=number,
        default=40.0,
        metavar="S",
        help="least time to measure, in seconds (default: %(default)g)",
    )
    add("--json", action="store_true", help="print one JSON object on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Measure each setting for an equal time."""
    from musicgen.app.bundled import find_prime
    from musicgen.app.generate import open_model, open_weights

    chosen = Settings(latents=arguments.latents, context=arguments.context)
    released = open_weights(arguments.checkpoint)
    chosen.resolve(released.config.latents, released.config.context)
    model = open_model(released)
    from musicgen.app.prime import read_prime

    prime, _ = read_prime(find_prime("bach"), None)
    dials = settings(model, chosen)
    rows = []
    for latents, context in dials:
        rows.append(measure(model, prime.tokens, latents, context, arguments.seconds / len(dials)))
        if not arguments.json:
            _show(rows, dials)
    if arguments.json:
        print(json.dumps({"checkpoint": model.name, "backend": model.backend, "settings": rows}))
    else:
        own = rows[-1]
        print(
            f"At {own['latents']} and {own['context']}: {own['real_time']:.1f}x real time, the first"
            f" block after {own['priming_seconds']:.2f} s, the context read anew in {own['refill_seconds']:.2f} s."
        )
        print(f"musicgen: {model.name} on {model.backend}", file=sys.stderr)
    return 0


def _show(rows: list[dict[str, float]], dials: list[tuple[int, int]]) -> None:
    """A table of tokens a second, a line for each context once its cells are there."""
    last = rows[-1]
    of_context = [row for row in rows if row["context"] == last["context"]]
    if len(of_context) < sum(context == last["context"] for _, context in dials):
        return
    if len(rows) == len(of_context):
        print("tokens/s  latents" + "".join(f"{latents:>8}" for latents in sorted({m for m, _ in dials})))
    cells = {row["latents"]: f"{row['tokens_per_second']:>8.0f}" for row in of_context}
    line = "".join(cells.get(latents, " " * 8) for latents in sorted({m for m, _ in dials}))
    print(f"context {last['context']:>9}{line}", flush=True)


def settings(model: Model, chosen: Settings) -> list[tuple[int, int]]:
    """The chosen (latents, context), or a few from cheap to dear; the model's own come last."""
    if chosen.latents is not None or chosen.context is not None:
        one = chosen.resolve(model.latents, model.context)
        assert one.latents is not None and one.context is not None
        return [(one.latents, one.context)]
    return [
        (max(model.latents // m, FEWEST), max(model.context // n, FEWEST))
        for n in CONTEXT_SHARES
        for m in LATENT_SHARES
        if max(model.latents // m, FEWEST) <= max(model.context // n, FEWEST)
    ]


def measure(model: Model, prime: Any, latents: int, context: int, seconds: float) -> dict[str, float]:
    """Generate for ``seconds`` on the wall (at least two blocks) and report the speed after the first block."""
    from musicgen.data_prep import STEPS_PER_SECOND, steps

    full = np.concatenate([prime, np.resize(prime[1:], context)])  # the stream takes as much of its end as it holds

    def start() -> Any:
        return model.engine.start([full], latents=latents, context=context, seed=0)

    began = time.perf_counter()
    stream = start()
    next(stream)
    primed = time.perf_counter()
    again = start()  # everything is compiled now
    refill = time.perf_counter() - primed
    ahead = again.free_inputs  # tokens from one prefill to the next
    restart = 0.0  # seconds a token for restarts of the latents
    if again.free_latents < ahead:
        again.make_room()  # now that is compiled, too
        restarting = time.perf_counter()
        again.make_room()
        restart = (time.perf_counter() - restarting) / again.free_latents
    started = now = time.perf_counter()
    pace: list[float] = []  # seconds a token, of each block
    tokens, music = 0, 0.0
    while not pace or now - began < seconds:
        if again.free_latents == 0:
            again = start()  # what refills cost is known, and would come in some cells only
            now = time.perf_counter()
        block = next(again)
        before, now = now, time.perf_counter()
        pace.append((now - before) / block.shape[1])
        tokens += block.shape[1]
        music += float(steps(block[0])[-1]) / STEPS_PER_SECOND
    rate = 1 / (float(np.median(pace)) + refill / ahead + restart)
    return {
        "latents": latents,
        "context": context,
        "tokens_per_second": round(rate, 2),
        "real_time": round(rate * music / tokens, 3),
        "priming_seconds": round(primed - began, 3),
        "refill_seconds": round(refill, 4),
        "measured_seconds": round(now - started, 2),
    }
