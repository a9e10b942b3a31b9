"""Somebody's folder of MIDI files as what a model is taught: what of it is used, and what was dropped and why."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.app.errors import BadInput, cannot_write
from musicgen.app.progress import Progress, clock
from musicgen.checkpoints.training_files import HASH, read_training_files
from musicgen.data_prep.dataset import prep
from musicgen.data_prep.dataset.own_music import OwnMusic
from musicgen.data_prep.errors import PrepError, counted

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

MAESTRO, HELD_OUT_FILES = Path(__file__).parent / "maestro", "held_out_files.txt"  # of its validation and test splits
SHOWN = 5  # names in a report
FEWEST_TOKENS = 500  # less music than that teaches nothing


@dataclasses.dataclass(frozen=True)
class Music:
    """What there is to learn.  told: of it, in a line.  warnings: sentences for the report and the card."""

    train: OwnMusic
    held_out: OwnMusic
    told: str
    warnings: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Of the pieces that are taught."""
        return int(self.train.token_counts().sum())

    @property
    def files(self) -> list[str]:
        """The sha256 of each file that is taught."""
        return [self.train.sha256(i) for i in range(len(self.train))]

    @property
    def sha256(self) -> str:
        """Of all files, whatever their names."""
        every = [*self.files, *(self.held_out.sha256(i) for i in range(len(self.held_out)))]
        return hashlib.sha256("\n".join(sorted(every)).encode()).hexdigest()


def prepare(midi_dir: Path, out: Path, base: Released, say: Callable[[str], None]) -> Music:
    """Read the folder into a data set `out` and say what it holds.  Raises BadInput if there is nothing to learn."""
    if not midi_dir.is_dir():
        raise BadInput(f"--midi-dir {midi_dir} is not a folder: give the folder that holds your MIDI files")
    with Progress(0, "files") as progress:

        def show(state: prep.PrepProgress) -> None:
            progress.total = state.total
            progress.update(state.done, counted(state.notes, "note"))

        try:
            made = prep.run(midi_dir, out, on_progress=show, workers=0 if few(midi_dir) else None)
        except PrepError as error:
            raise BadInput(f"--midi-dir: {error}") from None
        except OSError as error:
            raise cannot_write(error.filename or out, error) from None
    train, held_out = OwnMusic(out, False), OwnMusic(out, True)
    reasons = [(str(entry["name"]), str(entry["reason"])) for entry in made.rejected]
    tell_dropped(reasons, say)
    if not len(train) or train.token_counts().sum() < FEWEST_TOKENS:
        why = f"; {reasons[0][0]}: {reasons[0][1]}" if reasons else ""
        raise BadInput(f"--midi-dir {midi_dir} has too little music to learn from (a minute at least){why}")
    told = describe(train, held_out)
    say(f"musicgen: {midi_dir}: {told}")
    warnings = tuple(warn(train, held_out, base))
    for line in warnings:
        say(f"musicgen: {line}")
    return Music(train, held_out, told, warnings)


def few(folder: Path) -> bool:
    """Whether processes take longer to start than the files to be read."""
    from itertools import islice

    return len(list(islice(folder.rglob("*.*"), 100))) < 100


def describe(train: OwnMusic, held_out: OwnMusic) -> str:
    """What is taught and what is held out, in a line."""
    taught = f"{counted(len(train), 'piece')}, {clock(train.seconds())}, {train.token_counts().sum():,} tokens"
    if train.single:
        return f"{taught}, the last tenth of it held out"
    names = ", ".join(held_out.name(i) for i in range(min(len(held_out), SHOWN)))
    more = ", ..." if len(held_out) > SHOWN else ""
    return f"{taught}; held out: {counted(len(held_out), 'piece')} ({names}{more})"


def tell_dropped(reasons: Sequence[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Which files are not used, and why."""
    if reasons:
        say(f"musicgen: {counted(len(reasons), 'file')} not used:")
    for name, reason in reasons[:SHOWN]:
        say(f"  {name}: {reason}")
    if len(reasons) > SHOWN:
        say(f"  and {len(reasons) - SHOWN:,} more")


def warn(train: OwnMusic, held_out: OwnMusic, base: Released) -> list[str]:
    """What of these files is known already: to the base, or to those who compare models on MAESTRO."""
    files = {pieces.sha256(i)[:HASH]: pieces.name(i) for pieces in (train, held_out) for i in range(len(pieces))}
    lines = []
    known = sorted(files[digits] for digits in read_training_files(base.folder) & files.keys())
    if known:
        lines.append(f"{base.name} knows {some(known)}: it was trained on them, so the scores of before flatter it")
    held = sorted(files[digits] for digits in read_training_files(MAESTRO, HELD_OUT_FILES) & files.keys())
    if held:
        lines.append(
            f"{some(held)} {'is' if len(held) == 1 else 'are'} of MAESTRO's validation or test split: what is taught"
            " them must not be scored there"
        )
    return lines


def some(names: Sequence[str]) -> str:
    """A few of these names, and how many there are."""
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"
