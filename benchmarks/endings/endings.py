"""Do pieces made with --end end like real ones?

    python benchmarks/endings/endings.py SHARDS [--pieces 32] [--seconds 60] [--push 2,4,8] > result.jsonl

Real pieces of the validation split against pieces from nothing that were asked to end, and pieces that were cut. A JSON
line for each set, quantiles over its pieces: `eos`, nats the model gives to EOS where the piece ends (what it thinks of
the ending); `ring`, seconds from the last onset to the end; `density` and `velocity`, notes a second and mean velocity
of the last ten seconds relative to the whole; `seconds` of the piece. And a share: `tonic`, the lowest note of the last
chord is the tonic of the last minute's best fitting major scale or of its relative minor.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen import checkpoints
from musicgen.app.generate import LONGEST_NOTE
from musicgen.app.join import closed, ended
from musicgen.data_prep import STEPS_PER_SECOND, decode, endings, steps
from musicgen.data_prep.endings import Endings
from musicgen.data_prep.loader import evaluation_pieces
from musicgen.data_prep.measures import major_keys, pitch_classes
from musicgen.data_prep.performance import Performance, cut
from musicgen.data_prep.preamble import preamble
from musicgen.data_prep.releases import Releases
from musicgen.data_prep.vocabulary import BOS, EOS
from musicgen.model import parameters
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.sampler import Sampling

LAST = 10.0  # seconds


def described(music: Performance) -> dict[str, float]:
    """The ending of a piece in numbers."""
    start, stop = float(music.onset[0]), music.duration
    last = music.onset > stop - LAST
    chord = music.onset > music.onset[-1] - 0.05
    minute = cut(music, max(stop - 60, 0), stop)
    tonic = int(np.argmax(np.round(major_keys(pitch_classes(minute)), 9)))
    bass = int(music.pitch[chord].min()) % 12
    return {
        "ring": stop - float(music.onset[-1]),
        "density": float(last.sum() / LAST / (len(music) / (stop - start))),
        "velocity": float(music.velocity[last].mean() / music.velocity.mean()) if last.any() else np.nan,
        "tonic": float(bass in (tonic, (tonic + 9) % 12)),
        "seconds": stop,
    }


class Judge:
    """What the model thinks of an ending."""

    def __init__(self, released: checkpoints.Released, latents: int, context: int) -> None:
        config = released.config
        self.N, self.M = context, latents
        self.params = {name: jnp.asarray(x) for name, x in released.params.items()}

        @functools.partial(jax.jit)
        def run(params: Any, inputs: jax.Array, start: jax.Array) -> jax.Array:
            logits = parameters.bind(config, params)(inputs, latents=latents, start=start)
            return jax.nn.log_softmax(logits[:, -1])[:, EOS]

        self.run = run

    def __call__(self, stream: np.ndarray) -> float:
        """Nats of EOS after int[T], BOS first."""
        inputs = np.zeros((1, self.N), np.int32)
        tail = stream[-self.N :]
        inputs[0, self.N - len(tail) :] = tail
        return -float(self.run(self.params, inputs, np.array([self.N - len(tail)], np.int32))[0])


def told(name: str, streams: Sequence[np.ndarray], judge: Judge, **more: Any) -> dict[str, Any]:
    """A line of the result: streams [T] with BOS, without EOS."""
    rows = [described(decode(stream)) | {"eos": judge(stream)} for stream in streams]
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    quantiles = {
        key: [round(float(q), 3) for q in np.nanquantile(values[key], (0.05, 0.25, 0.5, 0.75, 0.95))]
        for key in values
        if key != "tonic"
    }
    return {"set": name, "pieces": len(rows), **more, "tonic": round(float(values["tonic"].mean()), 3), **quantiles}


def generated(
    engine: JaxEngine, judge: Judge, grammar: Endings | None, arguments: argparse.Namespace
) -> list[np.ndarray]:
    """Rows of new tokens, long enough."""
    start = [np.array([BOS], np.int16)] * arguments.pieces
    stream = engine.start(
        start,
        latents=judge.M,
        context=judge.N,
        sampling=Sampling(temperature=arguments.temperature, top_p=arguments.top_p),
        seed=arguments.seed,
        grammar=grammar,
    )
    blocks: list[np.ndarray] = []
    now, over = np.zeros(len(start), np.int64), np.zeros(len(start), np.bool_)
    while not (over | (now >= arguments.seconds * STEPS_PER_SECOND + (1e9 if grammar else 0))).all():
        blocks.append(next(stream))
        now += [steps(row)[-1] for row in blocks[-1]]
        over |= (blocks[-1] == EOS).any(axis=1)
    return list(np.concatenate(blocks, axis=1))


def floats(text: str) -> list[float]:
    """0,8 -> [0.0, 8.0]."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("shards")
    add("--pieces", type=int, default=32)
    add("--seconds", type=float, default=60.0)
    add("--push", type=floats, default=[endings.PUSH], help="of endings.py, several to compare (%(default)s)")
    add("--every", type=int, default=1, help="every K-th real piece (%(default)s)")
    add("--seed", type=int, default=0)
    add("--temperature", type=float, default=1.0)
    add("--top-p", type=float, default=1.0)
    add("--checkpoint", help="NAME or folder")
    add("--latents", type=int)
    add("--context", type=int)
    arguments = parser.parse_args()
    released = checkpoints.load(arguments.checkpoint or checkpoints.DEFAULT)
    context = arguments.context or released.config.context
    judge = Judge(released, min(arguments.latents or released.config.latents, context), context)
    real = [tokens[:-1] for _, tokens in evaluation_pieces(arguments.shards, "validation")][:: arguments.every]
    print(json.dumps(told("real", real, judge)), flush=True)
    engine = JaxEngine(released.config, released.params, Releases(LONGEST_NOTE), preamble())
    bos = np.array([BOS], np.int16)
    rows = generated(engine, judge, None, arguments)
    streams = [np.concatenate([bos, closed(row, bos, arguments.seconds)]) for row in rows]
    print(json.dumps(told("cut", streams, judge)), flush=True)
    for push in arguments.push:
        endings.PUSH = push
        rules = Endings(LONGEST_NOTE + push * 1e-6, arguments.seconds)  # PUSH is compiled in: unequal rules
        began = time.perf_counter()
        rows = [ended(row) for row in generated(engine, judge, rules, arguments)]
        streams = [np.concatenate([bos, row]) for row in rows]
        more = {"push": push, "wall_seconds": round(time.perf_counter() - began, 1)}
        print(json.dumps(told("end", streams, judge, **more)), flush=True)


if __name__ == "__main__":
    main()
