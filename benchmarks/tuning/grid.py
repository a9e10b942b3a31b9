"""How folders of music are best taught: many short runs on a GPU, each with its score of held-out and of other music.

    python benchmarks/tuning/grid.py DATA SETTINGS.json --out grid.jsonl

DATA: folders of `musicgen prep`, by name.  SETTINGS: a list of {"name", "folders", "N", "M", "lr", "steps" or "passes"
through the music}, and where wanted "batch", "rank", "seeds", "compute" and "what": "factors", "tables" (factors, and
what is no matrix at a quarter of the rate) or "all" (the whole model, no factors).  "rags@10" is ten pieces of rags.

A line has nats a token before, and what each share of what was learnt changes (less is better), of "own": held-out
pieces from their beginnings, at the model's N and M; "rows": windows of 1,024 of them; "maestro": beginnings of four
pieces.  Nothing is heard before a beginning, so that a piece costs more here than in `musicgen evaluate`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen import checkpoints
from musicgen.app.tuning.plan import FEWEST, MILD
from musicgen.app.tuning.report import maestro_sample
from musicgen.checkpoints import Name
from musicgen.data_prep.dataset.own_music import OwnMusic, OwnRows, scored_pieces
from musicgen.model.config import ModelConfig
from musicgen.model.evaluate import nats_of_pieces
from musicgen.model.low_rank import LEFT, RIGHT
from musicgen.model.parameters import Parameters
from musicgen.model.storage import dequantize
from musicgen.model.training import adapters
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import loss_of
from musicgen.model.training.multi_context import MultiContext, one_setting
from musicgen.model.training.tune import TuneConfig, rate_of

SHARES = (0.5, 0.75, 1.0)
SCORED_TOKENS, ROWS, ROW = 6_144, 6, 1_024
RULE = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b2=0.99))
FEW = 7  # a seed: which pieces of a folder "name@count" takes


def music_of(data: Path, folder: str) -> tuple[OwnMusic, OwnMusic]:
    """What is taught, and what is held out whatever the count."""
    name, _, count = folder.partition("@")
    taught, held_out = OwnMusic(data / name, False), OwnMusic(data / name, True)
    if count:
        chosen = np.random.default_rng(FEW).permutation(len(taught.found))[: int(count)]
        taught.found = [taught.found[i] for i in sorted(chosen)]
    return taught, held_out


@functools.cache
def step_for(model: ModelConfig, batch: int, compute: str) -> Callable[..., Any]:
    """Compiled: (trained, moments, base, rows, rate) -> (trained, moments)."""
    run = TrainConfig(model, batch=batch, dropout=0.0, cross_keep=1.0, all_settings=False, compute=compute)
    contexts = MultiContext(one_setting(model.context, model.latents), model.context, model.latents)
    key = jax.random.key(0)

    def loss(trained: Parameters, base: Parameters, rows: jax.Array) -> jax.Array:
        factors = {name: x for name, x in trained.items() if is_factor(name)}
        params = {**base, **{name: x for name, x in trained.items() if not is_factor(name)}}
        return loss_of(params, rows, key, run, contexts, factors=factors)[0]

    @jax.jit
    def step(trained: Parameters, moments: Any, base: Parameters, rows: jax.Array, rates: Parameters) -> Any:
        updates, moments = RULE.update(jax.grad(loss)(trained, base, rows), moments, trained)
        return {name: x - rates[name] * updates[name] for name, x in trained.items()}, moments

    return step


def is_factor(name: str) -> bool:
    """Of an adapter."""
    return name.endswith((LEFT, RIGHT))


@jax.jit
def merge(trained: Parameters, base: Parameters, share: float) -> Parameters:
    """The weights with this share of what was learnt."""
    merged = dict(base)
    for name, x in trained.items():
        if name.endswith(LEFT):
            kernel = name.removesuffix(LEFT)
            merged[kernel] = base[kernel] + share * (x @ trained[kernel + RIGHT])
        elif not name.endswith(RIGHT):
            merged[name] = base[name] + share * (x - base[name])
    return merged


def scores(model: ModelConfig, params: Mapping[str, jax.Array], held_out: OwnMusic) -> dict[str, float]:
    """Nats a token of three kinds of music."""

    def nats(pieces: Sequence[np.ndarray], M: int, N: int) -> float:
        found = nats_of_pieces(model, params, pieces, latents=min(M, model.latents), context=N, batch=4)
        return float(np.concatenate(list(found)).mean(dtype=np.float64))

    N, M, row = model.context, model.latents, min(ROW, model.context)
    rows = list(OwnRows(held_out, row, 0, None).spread(ROWS))
    own = nats(scored_pieces(held_out, SCORED_TOKENS), M, N)
    return {"own": own, "rows": nats(rows, row, row), "maestro": nats(maestro_sample(), M, N)}


def run(
    settings: Mapping[str, Any],
    music: tuple[OwnMusic, OwnMusic],
    seed: int,
    model: ModelConfig,
    base: Parameters,
    before: Mapping[str, float],
) -> dict[str, Any]:
    """One line.  before: the scores of the base."""
    batch, rank, what = settings.get("batch", 1), settings.get("rank", 8), settings.get("what", "factors")
    sized = dataclasses.replace(model, context=settings["N"], latents=settings["M"])
    tokens = int(music[0].token_counts().sum())
    steps = settings.get("steps") or max(FEWEST, round(settings["passes"] * tokens / (batch * sized.latents)))
    factors = {} if what == "all" else adapters.initial(sized, rank, seed)
    kept = {name: x for name, x in base.items() if what == "all" or (what == "tables" and name + LEFT not in factors)}
    trained = {**{name: jnp.asarray(x) for name, x in factors.items()}, **kept}
    moments, began = RULE.init(trained), time.monotonic()
    step = step_for(sized, batch, settings.get("compute", "float32"))
    rows, rate_at = (
        OwnRows(music[0], sized.context, seed, MILD),
        rate_of(TuneConfig(sized, steps, rank, settings["lr"])),
    )
    for i in range(steps):
        rate = float(rate_at(i))
        rates = {name: rate / (4 if what == "tables" and not is_factor(name) else 1) for name in trained}
        trained, moments = step(trained, moments, base, jnp.asarray(rows(i, batch), jnp.int32), rates)
    jax.block_until_ready(trained)
    line = {"pieces": len(music[0]), "tokens": tokens, "did": steps, "seconds": round(time.monotonic() - began, 1)}
    gained = {share: scores(model, merge(trained, base, share), music[1]) for share in SHARES}
    changes = {f"{k}@{share}": round(now[k] - before[k], 4) for share, now in gained.items() for k in before}
    return {**line, **{k: round(x, 4) for k, x in before.items()}, **changes}


def main() -> None:
    """Run what is missing in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--start", default="piano")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("grid.jsonl"))
    asked = parser.parse_args()
    released = checkpoints.load(Name(asked.start))
    base = {name: jnp.asarray(x) for name, x in dequantize(released.weights).items()}
    before = dict[str, dict[str, float]]()
    done = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    for settings in json.loads(asked.settings.read_text()):
        told = {key: x for key, x in settings.items() if key not in ("name", "folders", "seeds")}
        for folder in settings["folders"]:
            for seed in range(settings.get("seeds", 1)):
                which = {"name": settings["name"], "folder": folder, "seed": seed}
                if any(which.items() <= line.items() for line in done):
                    continue
                music = music_of(asked.data, folder)
                if folder not in before:
                    before[folder] = scores(released.config, base, music[1])
                line = {**which, **told, **run(settings, music, seed, released.config, base, before[folder])}
                print(json.dumps(line), flush=True)
                with asked.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
