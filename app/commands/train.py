"""`musicgen train --preset tiny --data SHARDS --out RUN`: train a model, go on with one that was stopped."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.arguments import number, whole
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write

if TYPE_CHECKING:
    from musicgen.app.recipes import Recipe
    from musicgen.model.training.train import TrainConfig

SAMPLE_SECONDS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The preset, the data, the run's folder, and the few numbers of a recipe that people change."""
    add = parser.add_argument
    add("--preset", required=True, metavar="NAME", help="tiny (minutes on a CPU), small, release or large")
    add("--data", required=True, metavar="DIR", help="data set made by `musicgen prep`")
    add("--out", required=True, metavar="DIR", help="folder of the run; a stopped run is resumed")
    add("--steps", type=whole, metavar="N", help="optimiser steps (default: the preset's)")
    add("--batch", type=whole, metavar="B", help="rows per step, over all devices (default: the preset's)")
    add("--dropout", type=number, metavar="P", help="dropout (default: the preset's)")
    add(
        "--seed", type=whole, default=0, metavar="S", help="seed of initialisation, data order and dropout (default: 0)"
    )
    add("--deterministic", action="store_true", help="on a GPU, get the same weights at every run; slower")
    add(
        "--one-setting",
        action="store_true",
        help="train for the preset's context and latents only, not for all settings",
    )
    add(
        "--workers",
        type=whole,
        default=0,
        metavar="N",
        help="number of processes that prepare data (default: 0, a thread)",
    )
    add("--stop-after", type=number, metavar="SECONDS", help="save and stop after this time; run again to resume")
    add("--no-samples", action="store_true", help="write no MIDI samples at checkpoints")
    add(
        "--model-axis",
        type=whole,
        default=1,
        metavar="N",
        help="devices that share one copy of the parameters (default: 1)",
    )
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
        raise EnvironmentProblem(
            f"training needs {error.name}: install it with pip install 'perceiver-musicgen[train]'"
        ) from None
    import jax

    from musicgen.data_prep.dataset.loader import batches
    from musicgen.data_prep.dataset.shards import ShardError

    if arguments.preset not in RECIPES:
        raise BadInput(f"no preset {arguments.preset}: choose one of {', '.join(RECIPES)}")
    _join_others(arguments.distributed)
    recipe = RECIPES[arguments.preset]
    recipe = dataclasses.replace(recipe, train=_config(recipe.train, arguments))
    config = recipe.train
    out = Path(arguments.out)
    hosts = jax.process_count()
    if config.batch % hosts:
        raise BadInput(f"--batch {config.batch} cannot be shared out to {hosts} processes: use a multiple")
    try:
        rows = batches(
            arguments.data,
            "train",
            batch=config.batch // hosts,
            context=config.model.context,
            seed=config.seed,
            augmentation=recipe.augmentation,
            later=recipe.changes(),
            host_index=jax.process_index(),
            host_count=hosts,
            workers=arguments.workers,
        )
        return _train(recipe, rows, arguments, out)
    except (ShardError, ValueError) as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise cannot_write(error.filename or out, error) from None


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


def _config(recipe: TrainConfig, arguments: argparse.Namespace) -> TrainConfig:
    import jax

    names = ("steps", "batch", "dropout")
    changes: dict[str, Any] = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    for name in ("steps", "batch"):
        if changes.get(name, 1) < 1:
            raise BadInput(f"--{name} must be at least 1, not {changes[name]}")
    if not 0 <= changes.get("dropout", 0) < 1:
        raise BadInput(f"--dropout must be at least 0 and below 1, not {changes['dropout']:g}")
    if jax.default_backend() == "cpu":
        changes["compute"] = "float32"  # a CPU has no products in bfloat16, it converts at every one
    return dataclasses.replace(
        recipe,
        **changes,
        seed=arguments.seed,
        model_axis=arguments.model_axis,
        all_settings=not arguments.one_setting,
        deterministic=arguments.deterministic,
    )


def _train(recipe: Recipe, rows: Any, arguments: argparse.Namespace, out: Path) -> int:
    from musicgen.model.training.train import train

    config = recipe.train
    stop_after = float("inf") if arguments.stop_after is None else arguments.stop_after
    at_checkpoint = _at_checkpoint(recipe, arguments, out)
    try:
        state = train(config, rows, out, at_checkpoint=at_checkpoint, stop_after=stop_after)
    finally:
        rows.close()
    done = int(state.step)
    if done < config.steps:
        print(
            f"musicgen: stopped at step {done} of {config.steps}; the same command goes on from there", file=sys.stderr
        )
    else:
        print(f"musicgen: done; try it: musicgen --checkpoint {out / 'weights'} --out new.mid", file=sys.stderr)
    return 0


def _at_checkpoint(
    recipe: Recipe, arguments: argparse.Namespace, out: Path
) -> Callable[[int, dict[str, Any]], dict[str, float]]:
    """What happens at a checkpoint: score some of validation, write the weights in released form, write a sample."""
    import jax
    from jax.experimental.multihost_utils import process_allgather

    from musicgen import checkpoints
    from musicgen.data_prep.dataset.loader import evaluation_pieces
    from musicgen.data_prep.rules.preamble import preamble
    from musicgen.data_prep.vocabulary import VOCABULARY
    from musicgen.model.evaluate import nats_of_pieces

    config, count = recipe.train, recipe.validation_pieces
    N, M = config.model.context, config.model.latents
    pieces = [tokens for _, tokens in evaluation_pieces(arguments.data, "validation")]
    pieces = pieces[:: max(1, len(pieces) // count)][:count]

    def at_checkpoint(step: int, params: dict[str, Any]) -> dict[str, float]:
        nats = list(
            nats_of_pieces(
                config.model,
                params,
                pieces,
                latents=M,
                context=N,
                batch=max(1, 65536 // N),
                dtype=config.compute,
                preamble=preamble(),
            )
        )
        figures = {"validation_nats": float(np.concatenate(nats).mean())} if nats else {}
        arrays = process_allgather(params, tiled=True) if jax.process_count() > 1 else jax.device_get(params)
        if jax.process_index() == 0:
            about = {"steps": step, "training": dataclasses.asdict(config), **figures}
            card = f"# A model of your own\n\nTrained with `musicgen train --preset {arguments.preset}`, step {step}.\n"
            checkpoints.release(out / "weights", config.model, arrays, VOCABULARY.to_json(), about, card)
            if not arguments.no_samples:
                _write_sample(out, step)
        return figures

    return at_checkpoint


def _write_sample(out: Path, step: int) -> None:
    """Thirty seconds from nothing, always with the same seed, so that progress can be heard."""
    from musicgen.app.generate import Request, generate, midi_file, open_model, open_weights
    from musicgen.app.settings import Settings

    model = open_model(open_weights(str(out / "weights")))
    made = generate(Request(Settings(seconds=SAMPLE_SECONDS), None, seed=1), model)
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    (folder / f"step-{step:06}.mid").write_bytes(midi_file(made.samples[0], None))
