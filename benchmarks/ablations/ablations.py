"""What each choice in the model is worth: the same short training with one thing changed, scored on MAESTRO validation.

    python benchmarks/ablations/ablations.py SHARDS OUT --variants base,gelu [--steps 1500] [--toy]

Every variant changes the released shape in one place only (`VARIANTS`).  Scores are nats/token over a fixed sample of
validation pieces at several latent counts and contexts.  One JSON line per variant goes to OUT/ablations.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.loader import batches, evaluation_pieces
from musicgen.model import evaluate, parameters, perceiver_ar
from musicgen.model.config import ModelConfig
from musicgen.model.training import loss, train
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.flops import forward_flops
from musicgen.model.training.optimizer import OptimizerConfig

AUGMENTATION = Augmentation(semitones=6, stretch=0.08, velocity=8)
TOY = ModelConfig(
    width=64, heads=4, kv_heads=2, local_layers=1, local_window=16, cross_attends=2, layers=2, context=512, latents=256
)


def smaller(config: ModelConfig, **changes: int) -> ModelConfig:
    """The config changed, unless it is the toy, for which only the small numbers fit."""
    if config.width == TOY.width:
        changes = {k: v for k, v in changes.items() if k in ("local_layers",)}
    return dataclasses.replace(config, **changes)


def layer_norm(x: jax.Array) -> jax.Array:
    """Also subtract the mean."""
    x32 = x.astype(jnp.float32)
    return perceiver_ar_rms_norm((x32 - x32.mean(-1, keepdims=True)).astype(x.dtype))


perceiver_ar_rms_norm = perceiver_ar.rms_norm


class PlainQK(perceiver_ar.Block):
    """Queries and keys as the projections give them."""

    def queries(self, x: jax.Array, positions: jax.Array) -> jax.Array:
        q = self.query(perceiver_ar.rms_norm(x)).reshape(*x.shape[:2], self.config.heads, self.config.head_size)
        return perceiver_ar.rotary(q * self.query_scale[...].astype(x.dtype), positions, self.config.rotary_fraction)

    def keys_values(self, x: jax.Array, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        shape = (*x.shape[:2], self.config.kv_heads, self.config.head_size)
        x = perceiver_ar.rms_norm(x)
        k = self.key(x).reshape(shape) * self.key_scale[...].astype(x.dtype)
        return perceiver_ar.rotary(k, positions, self.config.rotary_fraction), self.value(x).reshape(shape)


class SquaredRelu(perceiver_ar.Block):
    """The paper's activation."""

    def mix(self, x: jax.Array, attended: jax.Array, drop: Callable[[jax.Array], jax.Array]) -> jax.Array:
        x = x + drop(self.out(attended.reshape(*x.shape[:2], -1)))
        return x + drop(self.down(jnp.square(jax.nn.relu(self.up(perceiver_ar.rms_norm(x))))))


class GatedGelu(perceiver_ar.Block):
    """GELU with a gate (Shazeer, 2020), at the same number of parameters."""

    def __init__(self, rngs, config):  # type: ignore[no-untyped-def]
        super().__init__(rngs, config)
        hidden = config.widening * config.width * 2 // 3 // 128 * 128 or 128
        self.up = perceiver_ar.Linear(rngs, config.width, 2 * hidden, ("D", "F"))
        self.down = perceiver_ar.Linear(rngs, hidden, config.width, ("F", "D"), zero=True)

    def mix(self, x: jax.Array, attended: jax.Array, drop: Callable[[jax.Array], jax.Array]) -> jax.Array:
        x = x + drop(self.out(attended.reshape(*x.shape[:2], -1)))
        gate, value = jnp.split(self.up(perceiver_ar.rms_norm(x)), 2, axis=-1)
        return x + drop(self.down(jax.nn.gelu(gate) * value))


class NonZero(perceiver_ar.Linear):
    """Outputs begin like every other matrix."""

    def __init__(self, rngs, inputs, outputs, axes, zero=False):  # type: ignore[no-untyped-def]
        super().__init__(rngs, inputs, outputs, axes, zero=False)


def adamw(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW for every parameter at 1e-3."""
    rate = train_optimizer_schedule(config, steps, 1e-3)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay))


train_optimizer_schedule = __import__("musicgen.model.training.optimizer", fromlist=["schedule"]).schedule

MODEL = {
    "no-local": {"local_layers": 0, "layers": 8},
    "local-1": {"local_layers": 1, "layers": 7},
    "cross-1": {"cross_attends": 1, "layers": 7},
    "cross-3": {"cross_attends": 3, "layers": 6, "local_layers": 1},
    "cross-3-no-local": {"cross_attends": 3, "layers": 7, "local_layers": 0},
    "wide-512": {"width": 512, "heads": 8, "layers": 10, "local_layers": 2},
    "heads-128": {"heads": 5, "kv_heads": 1},
    "all-heads": {"kv_heads": 10, "layers": 5},
}
TRAIN = {
    "one-setting": {"all_settings": False},
    "keep-all": {"cross_keep": 1.0},
    "keep-0.25": {"cross_keep": 0.25},
    "token-dropout": {"token_dropout": 0.05},
    "faster": {"optimizer": OptimizerConfig(learning_rate=3e-3, adam_learning_rate=4e-3)},
}
PATCHES = {
    "layer-norm": (perceiver_ar, "rms_norm", layer_norm),
    "plain-qk": (perceiver_ar, "Block", PlainQK),
    "squared-relu": (perceiver_ar, "Block", SquaredRelu),
    "gated-gelu": (perceiver_ar, "Block", GatedGelu),
    "non-zero": (perceiver_ar, "Linear", NonZero),
    "adamw": (train, "optimizer", adamw),
}
VARIANTS = ["base", *MODEL, *TRAIN, *PATCHES]


def run(name: str, shards: Path, out: Path, steps: int, toy: bool, workers: int) -> dict[str, object]:
    """Train and score one variant."""
    model = smaller(TOY if toy else ModelConfig(), **MODEL.get(name, {}))
    optimizer = OptimizerConfig(warmup_steps=min(100, steps // 5))
    compute = "float32" if toy else "bfloat16"
    config = TrainConfig(model, optimizer, steps=steps, checkpoint_every=10**9, compute=compute)
    config = dataclasses.replace(config, **TRAIN.get(name, {}))
    where, attribute, value = PATCHES.get(name, (perceiver_ar, "Block", perceiver_ar.Block))
    before = getattr(where, attribute)
    setattr(where, attribute, value)
    parameters._skeleton.cache_clear()
    jax.clear_caches()
    try:
        rows = batches(
            shards, batch=config.batch, context=model.context, seed=0, augmentation=AUGMENTATION, workers=workers
        )
        began = time.monotonic()
        state = train.train(config, rows, out / name)
        rows.close()
        seconds = time.monotonic() - began
        scores = score(model, state.params, shards, toy)
    finally:
        setattr(where, attribute, before)
    lines = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]
    per_step = float(np.median([1 / line["steps_per_second"] for line in lines[2:]]))
    flops = 3 * forward_flops(model, loss.contexts_of(config), config.batch, config.cross_keep)
    return {
        "variant": name,
        "parameters": sum(x.size for x in state.params.values()),
        "steps": steps,
        "seconds": round(seconds, 1),
        "ms_per_step": round(1000 * per_step, 2),
        "tflops": round(flops / per_step / 1e12, 1),
        "train_nats_full": round(float(np.mean([line["nats_full"] for line in lines[-10:]])), 4),
        **scores,
    }


def score(model: ModelConfig, params: parameters.Parameters, shards: Path, toy: bool) -> dict[str, float]:
    """nats/token on every 6th validation piece (few latents: every 18th), by setting."""
    pieces = [tokens for _, tokens in evaluation_pieces(shards, "validation")]
    settings = [(4096, 2048, 6), (4096, 256, 18), (4096, 64, 18), (1024, 512, 6)]
    if toy:
        pieces, settings = [tokens[:1500] for tokens in pieces[:19]], [(512, 256, 6), (256, 64, 18)]
    scores = {}
    for N, M, every in settings:
        nats = evaluate.nats_of_pieces(
            model,
            params,
            pieces[::every],
            latents=M,
            context=N,
            batch=4 if toy else max(16, 8192 // N * 8),
            dtype="float32" if toy else "bfloat16",
        )
        scores[f"N={N} M={M}"] = round(float(np.concatenate(list(nats)).mean()), 4)
    return scores


def main() -> None:
    """Command line; see above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.variants.split(","):
        result = run(name, args.shards, args.out, args.steps, args.toy, args.workers)
        print(json.dumps(result), flush=True)
        with (args.out / "ablations.jsonl").open("a") as file:
            print(json.dumps(result), file=file)


if __name__ == "__main__":
    main()
