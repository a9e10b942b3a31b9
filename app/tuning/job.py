"""Teach released weights somebody's own pieces: from a folder of MIDI files to a folder that `--checkpoint` takes.

What is where:

    OUT/              the adapters in released form, the index of the music, hashes of its files: there when all is done
    OUT/report/       before.mid, before.wav, after.mid, after.wav: half a minute from the same seed; report.json
    OUT.tuning/       until then: the prepared music, how far the run is, and what becomes OUT
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from musicgen import checkpoints
from musicgen.app.errors import BadInput, cannot_read
from musicgen.app.evaluation.memorisation_report import FILE as INDEX
from musicgen.app.generate import open_model, open_weights
from musicgen.app.output import write_bytes
from musicgen.app.progress import clock
from musicgen.app.settings import ANY
from musicgen.app.tuning import FACTS, REPORT, report
from musicgen.app.tuning.music import Music, prepare
from musicgen.app.tuning.plan import MILD, plan, told
from musicgen.checkpoints.training_files import read_training_files, write_training_files
from musicgen.data_prep import VOCABULARY_2
from musicgen.data_prep.dataset.own_music import OwnRows, scored_pieces
from musicgen.data_prep.errors import counted
from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes
from musicgen.data_prep.files import LOCK, locked
from musicgen.data_prep.vocabulary import STYLES
from musicgen.model.stop import Left
from musicgen.model.storage import dequantize
from musicgen.model.training import adapters
from musicgen.model.training.stop import StopRun
from musicgen.model.training.tune import State, TuneConfig, tune

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

Say = Callable[[str], None]
STATE = "state.npz"
CHECKED_ROWS = 6  # of held-out music, for the early stop
SCORED_TOKENS = 6_144  # of held-out music, before and after


@dataclasses.dataclass(frozen=True)
class Teaching:
    """What a person asks for.

    start: weights that come with the package.  style: the name of a new kind of music, whose token alone is taught;
    None: the whole model adapts.  say: where lines go.  on_step: told the steps done, all steps and nats a token.
    """

    start: str
    midi_dir: Path
    out: Path
    style: str | None = None
    seed: int = 0
    stop: StopRun = dataclasses.field(default_factory=StopRun)
    say: Say = print
    on_step: Callable[[int, int, float], None] = lambda step, steps, nats: None

    @property
    def command(self) -> str:
        """As it is typed, without the names of folders."""
        style = f" --style {self.style}" if self.style is not None else ""
        return f"musicgen train --from {self.start} --midi-dir DIR --out OUT{style} --seed {self.seed}"


def teach(job: Teaching) -> None:
    """Do all of it, or go on where it was stopped.

    Raises BadInput for weights, a style, music or a folder that cannot be used; Left when it is to stop.
    """
    began = time.monotonic()
    if job.out.resolve().is_relative_to(job.midi_dir.resolve()):
        raise BadInput(
            f"--out {job.out} lies in --midi-dir {job.midi_dir}, where its samples would be taken for your music: give"
            " a folder outside"
        )
    base = open_base(job)
    facts = Facts(job, base)
    if facts.done:
        job.say(f"musicgen: {job.out} is finished; try it: musicgen --checkpoint {job.out} --out new.mid")
        return
    facts.work.mkdir(parents=True, exist_ok=True)
    with locked(facts.work / LOCK) as free:
        if not free:
            raise BadInput(f"another run is writing {job.out}: wait for its end, or give another --out")
        try:
            music = prepare(job.midi_dir, facts.work / "music", base, job.say)
        except BadInput:
            if not facts.begun:  # another folder, or more in this one, can be given then
                shutil.rmtree(facts.work, ignore_errors=True)
            raise
        facts.check(music)
        with job.stop:
            _teach(job, base, facts, music)
    facts.finish()
    job.say(f"musicgen: done in {clock(time.monotonic() - began)}; try it: {try_it(job)}")


def _teach(job: Teaching, base: Released, facts: Facts, music: Music) -> None:
    config = plan(base.config, music.tokens, jax.default_backend(), style_token(job.style))
    job.say(f"musicgen: the plan: {told(config, music.tokens)}")
    held_out = scored_pieces(music.held_out, SCORED_TOKENS)
    if "before" not in facts.values:
        look(job, base, held_out, facts, "before")
    state = run(job, base, music, config, facts.work / STATE)
    if job.stop or (state.step < config.steps and not state.over):
        raise Left
    release(job, facts, base, music, config, state)
    learnt = open_weights(str(facts.made))
    look(job, learnt, held_out, facts, "after")
    copied = count_copies(job, learnt, facts)
    figures = report.Figures(
        facts.values["before"], facts.values["after"], copied, music.told, ended(config, state, music), music.warnings
    )
    facts.values |= dataclasses.asdict(figures)
    release(job, facts, base, music, config, state, report.card(job.out.name, base, job.command, figures))
    job.say(f"musicgen: {report.told_copies(copied)}")


def open_base(job: Teaching) -> Released:
    """The weights to begin with.  Raises BadInput for those that cannot be."""
    if job.start not in checkpoints.names():
        known = " or ".join(name for name in checkpoints.names() if not checkpoints.makes_sound(name))
        raise BadInput(
            f"--from {job.start}: give weights that come with the package, {known}; others are trained further with"
            " --preset fine-tune --start"
        )
    base = open_weights(checkpoints.Name(job.start))
    if job.style is None:
        return base
    if base.tokenizer != VOCABULARY_2.to_json():
        raise BadInput(f"--style: {job.start} knows no kinds of music: give --from piano, or leave --style out")
    if job.style in (ANY, *STYLES) or not job.style.isidentifier():
        raise BadInput(
            f"--style {job.style}: give a new name of letters, digits and _, other than {', '.join((ANY, *STYLES))}"
        )
    return base


def style_token(style: str | None) -> int | None:
    """The first token of a style that no weights know."""
    return VOCABULARY_2.encode("style", len(STYLES)) if style is not None else None


class Facts:
    """report.json: what was asked for, so that nothing else is gone on with, and the figures so far.

    work: the folder until all is done.  made: in it, what becomes OUT.
    """

    def __init__(self, job: Teaching, base: Released) -> None:
        """Find what is there of an earlier run.  Raises BadInput if the folders hold something else."""
        self.out, self.work = job.out, job.out.with_name(f"{job.out.name}.tuning")
        self.made = self.work / job.out.name
        asked = {"from": job.start, "sha256": base.sha256, "style": job.style, "seed": job.seed}
        self.values: dict[str, Any] = {"asked": asked}
        self.done = (job.out / REPORT / FACTS).is_file()
        if not self.done and job.out.exists() and not (job.out.is_dir() and not any(job.out.iterdir())):
            raise BadInput(f"--out {job.out} holds something else: give a new folder")
        path = (job.out if self.done else self.made) / REPORT / FACTS
        if path.is_file():
            self.read(path, asked)

    def read(self, path: Path, asked: Mapping[str, Any]) -> None:
        """Take up what an earlier run has written.  Raises BadInput if it was asked for something else."""
        try:
            self.values = dict(json.loads(path.read_bytes()))
            there = dict(self.values["asked"])
        except OSError as error:
            raise cannot_read(path, error) from None
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is damaged ({error}): remove it and begin again") from None
        if differ := [f"{name} {there.get(name)}, not {x}" for name, x in asked.items() if there.get(name) != x]:
            raise BadInput(f"--out {self.out} is of other settings ({'; '.join(differ)}): give a new folder")

    @property
    def begun(self) -> bool:
        """Whether a run with some music was."""
        return "music_sha256" in self.values

    def check(self, music: Music) -> None:
        """Raises BadInput if the run was begun with other music."""
        if self.values.setdefault("music_sha256", music.sha256) != music.sha256:
            raise BadInput(f"{self.work} was begun with other music: remove it, or give another --out")
        self.write()

    def write(self) -> None:
        """Save."""
        (self.made / REPORT).mkdir(parents=True, exist_ok=True)
        write_bytes(self.made / REPORT / FACTS, (json.dumps(self.values, indent=2) + "\n").encode())

    def finish(self) -> None:
        """All is done: what was made gets its place, and what only the way there needed goes."""
        self.write()
        if self.out.is_dir():
            self.out.rmdir()
        self.made.rename(self.out)
        shutil.rmtree(self.work, ignore_errors=True)


def look(job: Teaching, weights: Released, held_out: list[np.ndarray], facts: Facts, when: str) -> None:
    """Score the weights and write a sample, "before" or "after"."""
    leave_if(job.stop)
    style = job.style if when == "after" else None
    found = report.nats(weights, held_out, job.stop.asked, style_token(style))
    each = " and ".join(f"{found[name]:.4f} on {called}" for name, called in report.CALLED.items() if name in found)
    job.say(f"musicgen: nats a token {when}: {each}")
    leave_if(job.stop)
    report.write_sample(
        open_model(weights), facts.made / REPORT / f"{when}.mid", job.seed, style or ANY, job.stop.asked
    )
    leave_if(job.stop)
    facts.values[when] = found
    facts.write()


def leave_if(stop: StopRun) -> None:
    """Raises Left after a signal: all that is worth it is on the disk."""
    if stop:
        raise Left


def run(job: Teaching, base: Released, music: Music, config: TuneConfig, path: Path) -> State:
    """Train, from where it was stopped."""
    if config.style_token is not None:
        first = VOCABULARY_2.first("style")
        trained = adapters.initial_style(base.weights, slice(first, first + len(STYLES)))
    else:
        trained = adapters.initial(config.model, config.rank, job.seed)
    context = config.model.context
    rows = OwnRows(music.train, context, job.seed, MILD, config.style_token)
    held_out = OwnRows(music.held_out, context, job.seed, None, config.style_token).spread(CHECKED_ROWS)
    job.say("musicgen: compiling a step, which takes half a minute ...")
    return tune(
        config,
        dequantize(base.weights),  # nobody else keeps them: 300 MB of piano
        trained,
        functools.partial(rows, batch=1),
        held_out,
        path,
        on_step=lambda step, nats: job.on_step(step, config.steps, nats),
        on_check=lambda step, nats: job.say(f"musicgen: held-out rows after {step} steps: {nats:.4f} nats a token"),
        stop=job.stop,
    )


def release(
    job: Teaching, facts: Facts, base: Released, music: Music, config: TuneConfig, state: State, card: str = ""
) -> None:
    """Write the adapters, with the index of the music and the hashes of its files."""
    stored = {name: np.asarray(x, np.float16) for name, x in jax.device_get(state.best).items()}
    of_base: dict[str, Any] = {"name": base.name, "sha256": base.sha256}
    if config.style_token is not None:
        of_base |= {"style": job.style, "style_token": config.style_token}
    training = {**dataclasses.asdict(config), "model": None, "seed": job.seed, "music": music.sha256}
    about = {"model": base.config.to_dict(), "bits": 8, checkpoints.BASE: of_base, "steps": state.step}
    documents = {"config.json": {**about, "training": training}, "tokenizer.json": base.tokenizer}
    pieces = ((music.train.name(i), "", music.train.notes(i)) for i in range(len(music.train)))
    write_bytes(facts.made / INDEX, index_bytes(build_index(pieces)))
    write_training_files(facts.made, read_training_files(base.folder) | set(music.files))
    checkpoints.write(facts.made, stored, documents, card or f"# {job.out.name}\n")


def count_copies(job: Teaching, learnt: Released, facts: Facts) -> dict[str, Any]:
    """See `report.copies`."""
    from musicgen.app.evaluation.memorisation_report import open_index

    leave_if(job.stop)
    job.say(f"musicgen: looking for copies in {report.PIECES} short pieces ...")
    index = open_index(str(facts.made / INDEX))
    copied = report.copies(open_model(learnt), index, job.seed, job.style or ANY, job.stop.asked)
    leave_if(job.stop)
    return copied


def ended(config: TuneConfig, state: State, music: Music) -> str:
    """The run in a line of the card."""
    early = f", of {config.steps}: the held-out rows got no better" if state.step < config.steps else ""
    return f"{told(config, music.tokens)}; {counted(state.step, 'step')} done{early}; on {jax.default_backend()}"


def try_it(job: Teaching) -> str:
    """What to type next."""
    style = f" --style {job.style}" if job.style is not None else ""
    return f"musicgen --checkpoint {job.out}{style} --out new.mid"
