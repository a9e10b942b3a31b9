"""`musicgen train --preset NAME --data DIR --out RUN`: train a model or a codec, go on with a run that was stopped."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import number, whole
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write

if TYPE_CHECKING:
    from musicgen.app.recipes import CodecRecipe, CodesRecipe, Recipe
    from musicgen.app.training.job import Job

    AnyRecipe = Recipe | CodesRecipe | CodecRecipe

# Options that change a number of the recipe; only those of the recipe's kind go with it.
CHANGES = ("steps", "batch", "dropout", "seed", "deterministic", "model_axis")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The preset, the data, the run's folder, and the few numbers of a recipe that people change."""
    add = parser.add_argument
    add(
        "--preset",
        required=True,
        metavar="NAME",
        help="for MIDI: tiny (minutes on a CPU), small, release, large, fine-tune; for sound: piano-codec, piano-codes",
    )
    add("--data", required=True, metavar="DIR", help="data set made by `musicgen prep`; for piano-codes its codes")
    add("--out", required=True, metavar="DIR", help="folder of the run; a stopped run is resumed")
    add("--start", metavar="NAME|DIR", help="fine-tune these weights (default: train from scratch)")
    add("--steps", type=whole, metavar="N", help="optimiser steps (default: the preset's)")
    add("--batch", type=whole, metavar="B", help="rows per step, over all devices (default: the preset's)")
    add("--dropout", type=number, metavar="P", help="dropout (default: the preset's)")
    add("--seed", type=whole, metavar="S", help="seed of initialisation, data order and dropout (default: 0)")
    add("--deterministic", action="store_true", default=None, help="on a GPU, the same weights at every run; slower")
    add(
        "--one-setting",
        action="store_true",
        help="train for the preset's context and latents only",
    )
    add(
        "--workers",
        type=whole,
        default=0,
        metavar="N",
        help="processes that prepare data (default: 0, a thread)",
    )
    add("--stop-after", type=number, metavar="SECONDS", help="save and stop after this time; run again to resume")
    add("--no-samples", action="store_true", help="write no MIDI samples at checkpoints")
    add("--model-axis", type=whole, metavar="N", help="devices that share one copy of the parameters (default: 1)")
    add(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT,COUNT,INDEX",
        help="join several processes; without a value, jax.distributed finds the others (Slurm, MPI, TPU)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then say where the weights are and how to use them."""
    try:
        import grain  # noqa: F401  # these two come with the extra and nothing here works without them
        import optax  # noqa: F401

        from musicgen.app.recipes import RECIPES
    except ImportError as error:
        from musicgen.data_prep.extras import install_command

        raise EnvironmentProblem(f"training needs {error.name}: {install_command('train')}") from None
    from musicgen.app.training.job import Job
    from musicgen.data_prep.dataset.shards import ShardError

    if arguments.preset not in RECIPES:
        raise BadInput(f"no preset {arguments.preset}: choose one of {', '.join(RECIPES)}")
    _join_others(arguments.distributed)
    recipe = _changed(RECIPES[arguments.preset], arguments)
    job = Job(
        arguments.preset,
        Path(arguments.data),
        Path(arguments.out),
        start=arguments.start,
        workers=arguments.workers,
        samples=not arguments.no_samples,
        stop_after=float("inf") if arguments.stop_after is None else arguments.stop_after,
    )
    try:
        return _train(recipe, job)
    except (ShardError, ValueError) as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise cannot_write(error.filename or job.out, error) from None


def _join_others(distributed: str | None) -> None:
    import jax

    if distributed is None:
        return
    try:
        if distributed == "auto":
            jax.distributed.initialize()
        else:
            address, count, index = distributed.split(",")
            jax.distributed.initialize(address, int(count), int(index))
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"--distributed: {error}; give HOST:PORT,COUNT,INDEX, the same on all but for INDEX") from None


def _changed(recipe: AnyRecipe, arguments: argparse.Namespace) -> AnyRecipe:
    """The recipe with the numbers that were asked for.  Raises BadInput for those that it does not know."""
    import jax

    asked = {name: getattr(arguments, name) for name in CHANGES if getattr(arguments, name) is not None}
    changes: dict[str, Any] = dict(asked)
    if arguments.one_setting:
        changes["all_settings"] = False
    for name in changes:
        if not hasattr(recipe.train, name):
            option = "one-setting" if name == "all_settings" else name.replace("_", "-")
            raise BadInput(f"--{option} does not go with --preset {arguments.preset}: leave it out")
    for name in ("steps", "batch", "model_axis"):
        if changes.get(name, 1) < 1:
            raise BadInput(f"--{name.replace('_', '-')} must be at least 1, not {changes[name]}")
    if not 0 <= changes.get("dropout", 0) < 1:
        raise BadInput(f"--dropout must be at least 0 and below 1, not {changes['dropout']:g}")
    if "steps" in changes and hasattr(recipe.train, "seconds"):
        changes["seconds"] = 0.0  # steps decide how far the run is, not the clock
    if jax.default_backend() == "cpu":
        changes["compute"] = "float32"  # a CPU has no products in bfloat16, it converts at every one
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **changes))  # type: ignore[arg-type]


def _train(recipe: AnyRecipe, job: Job) -> int:
    """Train what the recipe is of, and say how to go on."""
    import jax

    from musicgen.app.recipes import CodesRecipe, Recipe

    if not isinstance(recipe, Recipe) and jax.process_count() > 1:
        raise BadInput(f"--preset {job.preset} trains in one process: leave --distributed out")
    weights = job.out / "weights"
    if isinstance(recipe, Recipe):
        from musicgen.app.training.notes import train_notes

        done, use = train_notes(recipe, job), f"musicgen --checkpoint {weights} --out new.mid"
    elif isinstance(recipe, CodesRecipe):
        from musicgen.app.training.codes import train_codes

        done, use = train_codes(recipe, job), f"musicgen prime.wav --checkpoint {weights} --codec CODEC --out new.wav"
    else:
        from musicgen.app.training.codec import train_codec_on

        done, use = train_codec_on(recipe, job), f"musicgen codec encode in.wav --codec {weights} --out in.codes.npz"
    by_the_clock = getattr(recipe.train, "seconds", 0) > 0
    if done < recipe.train.steps and not by_the_clock:
        print(
            f"musicgen: stopped at step {done} of {recipe.train.steps}; run the same command again to resume",
            file=sys.stderr,
        )
    else:
        print(f"musicgen: done; try it: {use}", file=sys.stderr)
    return 0
