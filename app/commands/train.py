"""`musicgen train --preset NAME --data DIR --out RUN`: train a model or a codec, go on with a run that was stopped.

`musicgen train --from NAME --midi-dir DIR --out OUT` teaches released weights somebody's own pieces (app/tuning).
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import number, whole
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_write, no_room
from musicgen.app.progress import Progress

if TYPE_CHECKING:
    from musicgen.app.recipes import CodecRecipe, CodesRecipe, Recipe
    from musicgen.app.training.hosts.meeting import Met
    from musicgen.app.training.job import Job

    AnyRecipe = Recipe | CodesRecipe | CodecRecipe

# Options that change a number of the recipe; only those of the recipe's kind go with it.
BATCH = (
    "rows per step, over all devices: a multiple of 16 for MIDI, of 24 for piano, any number with --one-setting and for"
    " sound"
    " (default: the preset's)"
)
CHANGES = ("steps", "batch", "dropout", "seed", "deterministic", "model_axis")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One's own pieces, or the preset, the data and the few numbers of a recipe that people change; and the folder."""
    add = parser.add_argument
    add(
        "--from",
        dest="taught",
        metavar="NAME",
        help="weights that come with the package, such as piano, to train further on --midi-dir",
    )
    add("--midi-dir", metavar="DIR", help="with --from: a folder of your own MIDI files; no preparation needed")
    add(
        "--style",
        metavar="NAME",
        help="with --from: teach only a new kind of music; the model itself stays as it is",
    )
    add(
        "--preset",
        metavar="NAME",
        help="for MIDI: tiny (minutes on a CPU), small, release, piano and piano-tiny (of several corpora), large,"
        " fine-tune; for sound: piano-codec, piano-codes",
    )
    add("--data", metavar="DIR", help="data set made by `musicgen prep`; for piano-codes its codes")
    add("--out", required=True, metavar="DIR", help="folder of the run or of the new weights; a stopped run is resumed")
    add("--start", metavar="NAME|DIR", help="fine-tune these weights (default: train from scratch)")
    add(
        "--share",
        action="append",
        default=[],
        metavar="CORPUS=SHARE",
        help="with --preset piano, how much of the rows is of one corpus of the data set; give it for each, such as"
        " --share maestro-v3.0.0=2 --share my-jazz=1 (default: the preset's, or by their notes)",
    )
    add("--steps", type=whole, metavar="N", help="optimiser steps (default: the preset's)")
    add("--batch", type=whole, metavar="B", help=BATCH)
    add("--dropout", type=number, metavar="P", help="dropout (default: the preset's)")
    add("--seed", type=whole, metavar="S", help="seed of initialisation, data order and dropout (default: 0)")
    add("--deterministic", action="store_true", default=None, help="on a GPU, the same weights at every run; slower")
    add("--one-setting", action="store_true", help="train for the preset's context and latents only")
    add("--workers", type=whole, default=0, metavar="N", help="processes that prepare data (default: 0, a thread)")
    add("--stop-after", type=number, metavar="SECONDS", help="save and stop after this time; run again to resume")
    add("--no-samples", action="store_true", help="write no MIDI samples at checkpoints")
    add(
        "--model-axis",
        type=whole,
        metavar="N",
        help="devices over which the parameters and the optimiser's state are spread (default: 1)",
    )
    add(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT,COUNT,INDEX",
        help="train on several hosts: start the same command on each, with HOST:PORT of the first; without a value, a"
        " scheduler such as Slurm tells who is who",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then say where the weights are and how to use them."""
    _check_kind(arguments)
    return _run_here(arguments) if arguments.distributed is None else _run_on_hosts(arguments)


def _run_on_hosts(arguments: argparse.Namespace) -> int:
    """One process of several: it meets the others, trains in a child and watches."""
    from musicgen.app.ending import exit_code
    from musicgen.app.output import new_folder
    from musicgen.app.training.hosts.facts import facts_of
    from musicgen.app.training.hosts.meeting import meet
    from musicgen.app.training.hosts.place import place_of
    from musicgen.app.training.hosts.watch import train_watched

    if not hasattr(os, "fork"):
        raise BadInput("--distributed needs Linux or macOS: leave it out, to use all devices of this machine")
    _need_extra("grain", "optax")
    place, facts, out = place_of(arguments.distributed), facts_of(arguments), Path(arguments.out)
    with new_folder(arguments.out, "--out") if place.index == 0 else contextlib.nullcontext():
        met = meet(place, facts, out)
    return train_watched(met, out, lambda: exit_code(lambda: _run_here(arguments, met)))


def _run_here(arguments: argparse.Namespace, met: Met | None = None) -> int:
    """Train in this process; with all that have met, if it is one of several."""
    what = arguments.taught or arguments.preset
    with Shown(f"musicgen: training {what} on {arguments.midi_dir or arguments.data} in {arguments.out} ...") as show:
        code = _teach(arguments, show) if arguments.taught else _run(arguments, show, met)
    atexit.register(_leave, code)  # before JAX, which would wait, but not before this function's caller
    return code


def _check_kind(arguments: argparse.Namespace) -> None:
    """Raises BadInput unless either weights and a folder are given, or a preset and a data set."""
    own = {"--from": arguments.taught, "--midi-dir": arguments.midi_dir, "--style": arguments.style}
    if not arguments.taught:
        if given := [name for name, value in own.items() if value is not None]:
            raise BadInput(f"{given[0]} teaches weights your own music: give --from piano --midi-dir DIR with it")
        if arguments.preset is None or arguments.data is None:
            raise BadInput(
                "give --from piano --midi-dir DIR to teach it your own pieces, or --preset NAME --data DIR to train a"
                " model; see musicgen train --help"
            )
        return
    if arguments.midi_dir is None:
        raise BadInput("--from needs --midi-dir DIR, the folder of your MIDI files")
    fresh = argparse.ArgumentParser()
    add_arguments(fresh)
    usual = vars(fresh.parse_args(["--out", arguments.out]))
    kept = ("taught", "midi_dir", "style", "out", "seed", "stop_after")
    for name, value in vars(arguments).items():
        if name not in kept and value != usual[name]:
            raise BadInput(f"--{name.replace('_', '-')} does not go with --from, which chooses it: leave it out")


def _teach(arguments: argparse.Namespace, show: Shown) -> int:
    """Teach released weights a folder of pieces."""
    _need_extra("optax")
    from musicgen.app.errors import INTERRUPTED, TERMINATED
    from musicgen.app.settings import check_seed
    from musicgen.app.tuning.job import Teaching, teach
    from musicgen.model.stop import Left
    from musicgen.model.training.stop import StopRun

    def on_step(step: int, steps: int, nats: float) -> None:
        show.bar.total = steps
        show.bar.update(step, f"{nats:.3f} nats")

    stop = StopRun(float("inf") if arguments.stop_after is None else arguments.stop_after)
    job = Teaching(
        arguments.taught,
        Path(arguments.midi_dir),
        Path(arguments.out),
        arguments.style,
        check_seed(arguments.seed or 0),
        stop=stop,
        say=lambda line: show(line, {}),
        on_step=on_step,
    )
    code = 0
    try:
        teach(job)
    except (Left, KeyboardInterrupt, SystemExit) as left:
        code = {KeyboardInterrupt: INTERRUPTED, SystemExit: TERMINATED}.get(type(left), stop.exit_code)
        show("musicgen: stopped; run the same command again to go on", {})
    except ValueError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise cannot_write(error.filename or job.out, error) from None
    return code


def _need_extra(*names: str) -> None:
    """Raises EnvironmentProblem if a package of the extra for training is missing."""
    import importlib.util

    for name in names:
        if importlib.util.find_spec(name) is None:
            from musicgen.data_prep.extras import install_command

            raise EnvironmentProblem(f"training needs {name}: {install_command('train')}")


def _leave(code: int) -> None:
    """End the process if something that nobody waits for is still computed in C++, where nothing else ends it."""
    from musicgen.model.stop import still_computing

    if still_computing():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(arguments: argparse.Namespace, show: Shown, met: Met | None) -> int:
    _need_extra("grain", "optax")  # nothing here works without them
    from musicgen.app.recipes import RECIPES
    from musicgen.app.training.job import Job, alone
    from musicgen.data_prep.dataset.shards import ShardError
    from musicgen.model.stop import Left
    from musicgen.model.training.stop import StopRun

    for name in ("absl", "asyncio", "concurrent.futures"):  # Orbax logs what it also raises, with pages of its code
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if arguments.preset not in RECIPES:
        raise BadInput(f"no preset {arguments.preset}: choose one of {', '.join(RECIPES)}")
    if met is not None:
        from musicgen.app.training.hosts.joined import is_loss, join, leave_lost, leave_together

        join(met)
    recipe = _changed(RECIPES[arguments.preset], arguments)
    show.steps = 0 if getattr(recipe.train, "seconds", 0) else recipe.train.steps
    job = Job(
        arguments.preset,
        Path(arguments.data),
        Path(arguments.out),
        start=arguments.start,
        workers=arguments.workers,
        samples=not arguments.no_samples,
        shares=_shares(arguments.share),
        stop=StopRun(float("inf") if arguments.stop_after is None else arguments.stop_after),
        show=show,
    )
    import jax

    try:
        try:
            with alone(job.out) if jax.process_index() == 0 else contextlib.nullcontext():
                code = _train(recipe, job)
        except Left:
            show("musicgen: stopped before the first step; run the same command again to begin", {})
            code = job.stop.exit_code
        if met is not None:
            leave_together()
        return code
    except Exception as error:
        if met is not None and is_loss(error):
            leave_lost(error)
        if lack := no_room(error):  # whoever found it out
            raise cannot_write(job.out, lack) from None
        if isinstance(error, ShardError | ValueError):
            raise BadInput(str(error)) from None
        if isinstance(error, OSError):
            raise cannot_write(error.filename or job.out, error) from None
        raise


class Shown:
    """What is told of a run: a bar of its steps on a terminal, a line for each dispatch elsewhere.

    A context.  What it does is said first: after a second at the latest, in which mistyped options are complained of.
    """

    def __init__(self, doing: str) -> None:
        self.doing, self.lock = doing, threading.Lock()
        self.timer = threading.Timer(1.0, self._say_what)
        self.bar = Progress(0, "steps")
        self.steps = 0  # of the recipe

    def __enter__(self) -> Shown:
        """Begin."""
        self.timer.daemon = True
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the bar."""
        self.timer.cancel()
        self.bar.close()

    def _say_what(self) -> None:
        with self.lock:
            if self.doing:
                print(self.doing, file=sys.stderr, flush=True)
            self.doing = ""

    def __call__(self, line: str, figures: Mapping[str, float]) -> None:
        """Steps move the bar; everything else is a line."""
        self._say_what()
        if not self.bar.terminal or "steps_per_second" not in figures:
            self.bar.close()
            print(line, file=sys.stderr, flush=True)
            return
        self.bar.total = self.steps
        self.bar.update(int(figures["step"]), f"{figures['nats']:.3f} nats" if "nats" in figures else "")


def _changed(recipe: AnyRecipe, arguments: argparse.Namespace) -> AnyRecipe:
    """The recipe with the numbers that were asked for.  Raises BadInput for those that it does not know."""
    from musicgen.app.backend import jax_platform

    asked = {name: getattr(arguments, name) for name in CHANGES if getattr(arguments, name) is not None}
    changes: dict[str, Any] = dict(asked)
    if arguments.one_setting:
        changes["all_settings"] = False
    for name in changes:
        if not hasattr(recipe.train, name) or (name == "all_settings" and getattr(recipe.train, "gaps", False)):
            option = "one-setting" if name == "all_settings" else name.replace("_", "-")
            raise BadInput(f"--{option} does not go with --preset {arguments.preset}: leave it out")
    for name in ("steps", "batch", "model_axis"):
        if changes.get(name, 1) < 1:
            raise BadInput(f"--{name.replace('_', '-')} must be at least 1, not {changes[name]}")
    if not 0 <= changes.get("dropout", 0) < 1:
        raise BadInput(f"--dropout must be at least 0 and below 1, not {changes['dropout']:g}")
    if "steps" in changes and hasattr(recipe.train, "seconds"):
        changes["seconds"] = 0.0  # steps decide how far the run is, not the clock
    if jax_platform() == "cpu":
        changes["compute"] = "float32"  # a CPU has no products in bfloat16, it converts at every one
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **changes))  # type: ignore[arg-type]


def _shares(given: Sequence[str]) -> dict[str, float]:
    """How much of the rows is of each corpus.  Raises BadInput."""
    shares = {}
    for word in given:
        name, _, share = word.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = math.nan
        if not name or not 0 < shares[name] < math.inf:
            raise BadInput(f"--share {word}: give a corpus and a number above 0, such as maestro-v3.0.0=2")
    return shares


def _train(recipe: AnyRecipe, job: Job) -> int:
    """Train what the recipe is of, and say how to go on."""
    import jax

    from musicgen.app.recipes import CodesRecipe, Recipe
    from musicgen.model.stop import Left

    if not isinstance(recipe, Recipe) and jax.process_count() > 1:
        raise BadInput(f"--preset {job.preset} trains in one process: leave --distributed out")
    if job.shares and getattr(recipe, "mixing", None) is None:
        raise BadInput(f"--share does not go with --preset {job.preset}: leave it out")
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
    if not done and job.stop:
        raise Left
    of = "" if getattr(recipe.train, "seconds", 0) else f" of {recipe.train.steps}"
    if job.stop or (of and done < recipe.train.steps):
        job.show(f"musicgen: stopped at step {done}{of}; run the same command again to resume", {})
    else:
        job.show(f"musicgen: done; try it: {use}", {})
    return job.stop.exit_code
