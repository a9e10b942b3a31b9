"""One leg of training the second generation's weights: rows of six corpora, for so long, on all GPUs of a machine.

    python runs/piano/leg.py --notes notes.bin --validation validation.npz --out RUN --seconds 1500
    python runs/piano/leg.py ... --leg 2 --resume RUN/state-000017432 --warmup 100    # the next one
    python runs/piano/leg.py ... --calm-from 0.7 --decay-from 0.45 --four-bits-from 0.88 --whole RUN  # whole by itself
    python runs/piano/leg.py ... --preset piano-tiny --steps 9000                       # a smaller model, so many steps

Learning rates stay where they are from leg to leg, so that legs add up, or fall to zero from --decay-from on.  A leg
that rounds its kernels (--four-bits-from) ends in weights of four bits, from which another can set out too.
What travels is the average of the last few hundred steps' weights (state.py): momentum is back after twenty steps,
and the average is the better model to go on from.  RUN/stop_at, a time as `date +%s` gives it, moves the end while it
runs.  Needs JAX, flax, optax and NumPy only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import scoring
import state
from decks import Decks, Feed
from preset import PRESETS, recipe_of
from scoring import Scores, build_scored

from musicgen.app.recipes import RECIPES
from musicgen.data_prep.dataset.mixture import Mixing, Rows

STEPS = 8  # of one dispatch
DECK = 24  # rows that are sliced together
AVERAGED = 600  # steps that the average looks back
PEAK = 806e12  # FLOP/s of a large bfloat16 product on an H200, as measured (checkpoints/LOG.md)
PIANO = RECIPES["piano"].train.model  # of states that do not say


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--notes", required=True, type=Path)
    add("--validation", required=True, type=Path)
    add("--out", required=True, type=Path)
    add("--preset", choices=PRESETS, default="piano")
    add("--seconds", type=float, default=1500)
    add("--steps", type=int, help="the leg ends after so many, too")
    add("--resume", type=Path, help="a folder that an earlier leg wrote")
    add("--leg", type=int, default=1, help="decides the seeds")
    add("--rate", type=float, default=4e-3, help="learning rate")
    add("--warmup", type=int, default=300, help="steps")
    add("--decay-from", type=float, default=1.0, help="share of the leg after which the rate falls to zero")
    add("--calm-from", type=float, default=1.0, help="share of it after which notes stay where they were played")
    add("--four-bits-from", type=float, default=1.0, help="share of it after which kernels are rounded to four bits")
    add("--plain", action="store_true", help="leave out the rows with gaps")
    add("--only", nargs="+", choices=corpora.STYLES, default=list(corpora.STYLES), help="corpora to draw from")
    add("--workers", type=int, default=20)
    add("--score-at", type=float, nargs="*", default=[], help="seconds at which to score on the way")
    add("--whole", type=Path, help="folder of whole splits, scored at the end of a leg that ends in four bits")
    add("--splits", nargs="+", choices=scoring.SPLITS, default=scoring.SPLITS, help="which of them")
    add("--scoring", type=float, default=60, help="seconds to keep for the last scoring")
    add("--save-every", type=float, default=180)
    add("--context", type=int, help="N of the rows")
    add("--toy", action="store_true", help="a model and rows for a CPU, to try this script")
    return parser.parse_args()


class Clock:
    """How much of the leg is left, by RUN/stop_at and --steps."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.began, self.file, self.scoring = time.time(), options.out / "stop_at", options.scoring
        self.steps = options.steps or 1 << 30
        self.file.write_text(str(self.began + options.seconds))

    @property
    def end(self) -> float:
        """When training ends; what is left after is for the last scoring."""
        try:
            return float(self.file.read_text()) - self.scoring
        except ValueError:  # being written
            return self.began + 1e9

    def share(self, done: int) -> float:
        """Of the leg, which has done so many steps; it ends beyond 1."""
        return max((time.time() - self.began) / max(self.end - self.began, 1.0), (done + 1) / self.steps)


class Log:
    """Figures as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a")

    def __call__(self, **figures: Any) -> None:
        self.file.write(json.dumps(figures) + "\n")
        self.file.flush()


def contexts_of(options: argparse.Namespace) -> Any:
    """How a deck of rows is sliced."""
    from musicgen.model.training.multi_context import MultiContext, with_gaps

    model = recipe_of(options).train.model
    N, M = model.context, model.latents
    return MultiContext(tuple(part for part in with_gaps(N, M) if not (part.gaps and options.plain)), N, M)


def config_of(options: argparse.Namespace) -> Any:
    """The run's TrainConfig."""
    import jax

    from musicgen.model.training.optimizer import OptimizerConfig

    train, devices = recipe_of(options).train, len(jax.devices())
    return dataclasses.replace(
        train,
        optimizer=OptimizerConfig(options.rate, options.rate, warmup_steps=0, decay=0.0),
        steps=1 << 30,  # the clock decides
        batch=max(1, train.batch // DECK // devices) * devices * contexts_of(options).rows,
        steps_per_dispatch=STEPS,
        seed=options.leg,
        gaps=not options.plain,
        averaged=0,  # by the loop below, as are the four bits
        four_bits_from=1.0,
        compute="bfloat16" if jax.default_backend() == "gpu" else "float32",
    )


def make_steps(config: Any, contexts: Any, mesh: Any) -> Any:
    """(state, average, rows [k, B, N+1], shares of the rate [k], share of the average, whether kernels are rounded) ->
    both anew, and figures."""
    import functools

    import jax
    import jax.numpy as jnp
    import optax
    from jax.sharding import NamedSharding, PartitionSpec

    from musicgen.model.int4 import fake_quantize
    from musicgen.model.training.loss import loss_of
    from musicgen.model.training.optimizer import optimizer
    from musicgen.model.training.train import GPU_OPTIONS, TrainState

    update = optimizer(config.optimizer, config.steps, config.compute)
    root = jax.random.key(config.seed, impl="rbg")

    def one_step(rounded: jax.Array, now: Any, given: tuple[jax.Array, jax.Array]) -> Any:
        rows, share = given
        gradient = jax.grad(loss_of, has_aux=True)
        # Straight through: the gradient at the rounded kernels is that of the kernels.
        four = fake_quantize(now.params)
        at = {name: jnp.where(rounded, four[name], x) for name, x in now.params.items()}
        grads, figures = gradient(at, rows.astype(jnp.int32), jax.random.fold_in(root, now.step), config, contexts)
        norm = optax.tree.norm(grads)
        grads = jax.tree.map(lambda g: jnp.where(jnp.isfinite(norm), g, 0), grads)
        updates, opt_state = update.update(grads, now.opt_state, now.params)
        params = {name: x + share * updates[name] for name, x in now.params.items()}
        return TrainState(now.step + 1, params, opt_state), {**figures, "gradient_norm": norm}

    options = GPU_OPTIONS if jax.default_backend() == "gpu" else None

    everywhere = NamedSharding(mesh, PartitionSpec())

    @functools.partial(jax.jit, donate_argnums=(0, 1), out_shardings=everywhere, compiler_options=options)
    def steps(now: Any, average: Any, rows: jax.Array, shares: jax.Array, fresh: jax.Array, rounded: jax.Array) -> Any:
        now, figures = jax.lax.scan(functools.partial(one_step, rounded), now, (rows, shares))
        average = {name: x + fresh * (now.params[name] - x) for name, x in average.items()}
        return now, average, {name: jnp.mean(x) for name, x in figures.items()}

    return steps


class Saver:
    """Writes states beside the training, the newest two of them kept; RUN/newest names the last one."""

    def __init__(self, out: Path) -> None:
        self.out, self.thread = out, threading.Thread(target=lambda: None)
        self.thread.start()

    def __call__(self, step: int, average: dict[str, Any], about: dict[str, Any]) -> None:
        import jax

        params = {name: np.asarray(x) for name, x in jax.device_get(average).items()}
        self.thread.join()
        self.thread = threading.Thread(target=self._write, args=(step, params, about))
        self.thread.start()

    def _write(self, step: int, params: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        folder = self.out / f"state-{step:09}"
        shutil.rmtree(folder, ignore_errors=True)
        state.save(folder, params, {**about, "step": step})
        (self.out / "newest.tmp").write_text(folder.name)
        (self.out / "newest.tmp").replace(self.out / "newest")
        for old in sorted(self.out.glob("state-*"))[:-2]:
            shutil.rmtree(old)


def train(options: argparse.Namespace, decks: Decks, builder: Any) -> None:
    """The loop."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from musicgen.model.sharding import make_mesh
    from musicgen.model.training.flops import forward_flops
    from musicgen.model.training.train import init_state

    config, contexts = config_of(options), contexts_of(options)
    log, clock = Log(options.out / "log.jsonl"), Clock(options)
    mesh, devices = make_mesh(), len(jax.devices())
    everywhere = NamedSharding(mesh, PartitionSpec())
    start, about = state.load(options.resume) if options.resume else (None, {"step": 0})
    first = int(about["step"])
    now = init_state(config, mesh, start)
    now = jax.device_put(now._replace(step=now.step + first), everywhere)
    average = jax.tree.map(jnp.copy, now.params)
    flops = 3 * forward_flops(config.model, contexts, config.batch, config.cross_keep)
    told = {name: str(value) for name, value in vars(options).items()}
    log(
        options=told,
        devices=[d.device_kind for d in jax.devices()],
        jax=jax.__version__,
        flops_a_step=flops,
        parameters=int(sum(x.size for x in now.params.values())),
        config=dataclasses.asdict(config),
    )
    steps, save = make_steps(config, contexts, mesh), Saver(options.out)
    feed = Feed(decks, mesh, config.batch // contexts.rows, STEPS)
    scores, waiting = Scores(options, config, mesh, log, builder), sorted(options.score_at)
    step, averaged_from, saved, before, previous, rounded = first, first, time.time(), time.time(), None, False
    while True:
        share = clock.share(step - first)
        if share > 1:
            break
        fall = 1.0 if share < options.decay_from else (1 - share) / max(1 - options.decay_from, 1e-6)
        ramp = np.minimum((np.arange(step - first, step - first + STEPS) + 1) / options.warmup, 1.0)
        if share >= options.calm_from:
            decks.turn()
        if share >= options.four_bits_from and not rounded:
            rounded, averaged_from = True, step
        waited = time.time()
        rows = feed()
        waited = time.time() - waited
        fresh = max(STEPS / AVERAGED, 1 / (1 + (step - averaged_from) / STEPS))
        rates = jnp.asarray(ramp * max(fall, 0.0), jnp.float32)
        now, average, figures = steps(now, average, rows, rates, jnp.float32(fresh), jnp.asarray(rounded))
        step += STEPS
        if previous is not None:
            values = {name: float(x) for name, x in jax.device_get(previous).items()}
            after = time.time()
            speed = STEPS / (after - before)
            log(
                step=step - STEPS,
                time=after - clock.began,
                **values,
                steps_per_second=speed,
                mfu=flops * speed / PEAK / devices,
                waited=waited,
                rate=float(fall),
                share=share,
                rounded=rounded,
            )
            before = after
            if (step // STEPS) % 64 == 0:
                print(step, round(share, 3), {k: round(v, 4) for k, v in values.items()}, round(speed, 2), flush=True)
        else:
            scores.compile_ahead()
        previous = figures
        if time.time() - saved > options.save_every:
            saved = time.time()
            save(step, average, {"leg": options.leg, "options": told})
        if waiting and time.time() - clock.began > waiting[0]:
            waiting.pop(0)
            scores(step, average, "float", scores.settings[0])
            before = time.time()
    if rounded:
        held = {name: np.asarray(x) for name, x in jax.device_get(average).items()}
        four = state.save_four_bits(options.out / "four", held, {"leg": options.leg, "options": told, "step": step})
        four = jax.device_put(four, everywhere)
        scores(step, four, "four", scores.settings[0])
        scores(step, average, "float", scores.settings[0])
        for setting in scores.settings[1:]:
            scores(step, four, "four", setting)
    else:
        save(step, average, {"leg": options.leg, "options": told})
        scores(step, average, "float", scores.settings[0])
    save.thread.join()
    scores.thread.join()
    (options.out / "done").write_text(str(step))


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe, music = recipe_of(options), corpora.unpack(options.notes)
    calm = dataclasses.replace(recipe.augmentation, jitter=0.0)
    gaps = np.zeros(DECK, bool)
    gaps[9:20] = True  # as model/training/multi_context.py lays out a deck; checked below
    if options.plain:
        gaps = gaps[~gaps]
    fork = multiprocessing.get_context("fork")
    builder = fork.Process(target=build_scored, args=(options, corpora.learnt(music, 12)), daemon=True)
    builder.start()
    drawn = [
        Rows(
            [corpus for name, corpus in zip(corpora.STYLES, music, strict=True) if name in options.only],
            recipe.train.model.context,
            augmentation,
            recipe.mixing or Mixing(),
        )
        for augmentation in (recipe.augmentation, calm)
    ]
    decks = Decks(drawn[0], drawn[1], gaps, options.workers, (19, options.leg), slots=4 * options.workers + 64)
    if not np.array_equal(contexts_of(options).gaps, gaps):
        sys.exit("the decks of rows are not those of the model")
    try:
        train(options, decks, builder)
    finally:
        decks.close()


if __name__ == "__main__":
    main()
