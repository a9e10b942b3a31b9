"""What was learnt: scores before and after, a sample of each, how much is copied, and the card that says so."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.evaluation.likelihood import score
from musicgen.app.evaluation.memorisation_report import THRESHOLD, nearest
from musicgen.app.generate import Model, Request, generate, midi_file
from musicgen.app.licence import licence_of
from musicgen.app.output import write_bytes
from musicgen.app.settings import Settings, derive_seed

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.data_prep.evaluation.memorisation_index import Index

Asked = Callable[[], bool]
HERE = Path(__file__).parent
MAESTRO = HERE / "maestro" / "validation.npz"  # beginnings of four pieces: see README.md there
CALLED = {"own": "your held-out music", "maestro": "MAESTRO"}
SAMPLE_SECONDS = 30.0
PIECES, PIECE_SECONDS, AT_ONCE = 32, 15.0, 16  # of which copies are looked for


def maestro_sample() -> list[np.ndarray]:
    """Beginnings of pieces of MAESTRO's validation split, i16 [T] each from BOS on."""
    with np.load(MAESTRO) as arrays:
        ends = np.cumsum(arrays["lengths"])[:-1]
        return [piece.astype(np.int16) for piece in np.split(arrays["tokens"], ends)]


def nats(
    released: Released, own: Sequence[np.ndarray], should_stop: Asked, style_token: int | None = None
) -> dict[str, float]:
    """Nats a token of the own held-out music, if there is some, and of MAESTRO's.

    style_token: told at the beginning of the own pieces.
    """
    figures = {}
    for name, pieces, style in (("own", own, style_token), ("maestro", maestro_sample(), None)):
        scored = score(released, list(pieces), style_token=style, should_stop=should_stop) if len(pieces) else None
        if scored is not None:
            figures[name] = scored.nats_per_token
    return figures


def write_sample(model: Model, path: Path, seed: int, style: str, should_stop: Asked) -> None:
    """Half a minute from nothing, as MIDI and as sound beside it."""
    from musicgen.app.render import render

    settings = Settings(seconds=SAMPLE_SECONDS, style=style)
    sample = generate(Request(settings, None, seed), model, should_stop=should_stop).samples[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, midi_file(sample, None))
    render(sample.music, path.with_suffix(".wav"))


def copies(model: Model, index: Index, seed: int, style: str, should_stop: Asked) -> dict[str, Any]:
    """How many of PIECES short pieces share THRESHOLD notes with one that was taught, and the longest match."""
    lengths = []
    for part in range(PIECES // AT_ONCE):
        settings = Settings(seconds=PIECE_SECONDS, num_samples=AT_ONCE, style=style)
        made = generate(Request(settings, None, derive_seed(seed, part)), model, should_stop=should_stop)
        matches = [nearest(sample.music, index) for sample in made.samples]
        lengths += [int(match["length"]) if match else 0 for match in matches]
    return {"pieces": PIECES, "copies": sum(n >= THRESHOLD for n in lengths), "longest": max(lengths)}


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of the card: nats before and after by name, what is copied, and lines about the music and the run."""

    before: dict[str, float]
    after: dict[str, float]
    copied: dict[str, Any]
    music: str
    run: str
    warnings: tuple[str, ...] = ()


def card(name: str, base: Released, command: str, figures: Figures) -> str:
    """The card of weights of one's own, as Markdown; the licence is the base's."""
    text = io.StringIO()
    what = f"{base.name}, taught somebody's own music: adapters that are added to it when it is loaded."
    print(f"# {name}\n\n{what}\n", file=text)
    rows = {
        "Music": figures.music,
        "Licence": f"that of {base.name}, of which they are derived: {licence_of(base)}; and whatever the owners of"
        " the music that was taught ask",
        "Base": f"{base.name}, sha256 {base.sha256}",
        "Command": f"`{command}`",
        "Training": figures.run,
    }
    print("| | |\n|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), sep="\n", file=text)
    print("\n| nats a token | before | after |\n|---|---|---|", file=text)
    for key, called in (("own", "own pieces that were held out"), ("maestro", "MAESTRO (a sample of validation)")):
        if key in figures.before:
            print(f"| {called} | {figures.before[key]:.4f} | {figures.after[key]:.4f} |", file=text)
    print(f"\n{told_copies(figures.copied)}", file=text)
    for line in figures.warnings:
        print(f"\n{line}", file=text)
    return text.getvalue()


def told_copies(copied: dict[str, Any]) -> str:
    """What copies there are, in a sentence."""
    return (
        f"{copied['copies']} of {copied['pieces']} pieces of {PIECE_SECONDS:g} s share {THRESHOLD} notes or more with a"
        f" piece that was taught; the longest match has {copied['longest']}."
    )
