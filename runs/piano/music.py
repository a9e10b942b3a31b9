"""Pieces from nothing in batches on a GPU, as `musicgen` makes them one by one: sets of a kind of music and a length.

    python runs/piano/music.py RUN/leg/four --out RUN/music --part 0 --parts 2     # one process a GPU, from any state
    python runs/piano/music.py --midi RUN/music --out DIR                          # what they left, as MIDI files

The engine is the product's on a GPU (model/jax_engine.py), with its rules, preamble, care of loops and way of telling a
kind of music.  It waits for the weights to be there, and stops in time for --until.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import state

from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.vocabulary import (
    BOS,
    MAX_SHIFT,
    NOTE_OFF,
    NOTE_ON,
    STYLES,
    TIME_SHIFT,
    VOCABULARY_2,
)

ROWS = 64
STYLE = VOCABULARY_2.first("style")


class Job(NamedTuple):
    """A set of pieces: their kind, seconds, sampling, and whether the kind is told again out of BOS' sight."""

    style: str | None
    seconds: float = 120.0
    temperature: float = 1.0
    top_p: float = 1.0
    again: bool = True

    @property
    def name(self) -> str:
        dials = f"-t{self.temperature}-p{self.top_p}" * ((self.temperature, self.top_p) != (1.0, 1.0))
        return f"{self.style or 'any'}-{self.seconds:.0f}{dials}{'' if self.again or not self.style else '-once'}"


KINDS = ("classical", "jazz", "pop", "arrangement", None, "roll")
# In turns for two processes; the first eight are what was asked for, then other dials as far as time allows.
JOBS = (
    *(Job(style) for style in KINDS),
    Job("classical", 600.0),
    Job("classical", 600.0, again=False),
    *(Job(style, temperature=0.95, top_p=0.98) for style in KINDS),
    *(Job(style, top_p=0.95) for style in KINDS),
    Job(None, 600.0),
    Job("jazz", 600.0),
    *(Job(style, again=False) for style in KINDS if style),
)


def seconds_of(rows: np.ndarray, begun: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f64[B] of a block i16[B, k], silence before a row's first note left out; and bool[B], where notes have begun."""
    after = np.logical_or.accumulate((rows >= NOTE_ON) & (rows < NOTE_OFF), axis=1) | begun[:, None]
    shift = rows.astype(np.int64) - TIME_SHIFT + 1
    passed = np.where((shift >= 1) & (shift <= MAX_SHIFT) & after, shift, 0)
    return passed.sum(axis=1) / STEPS_PER_SECOND, after[:, -1]


def make(engine: Any, job: Job, seed: int, rows: int, until: float) -> tuple[list[np.ndarray], float]:
    """i16[T] of every piece, as far as it came, and the seconds of the shortest."""
    from musicgen.model.sampler import Sampling

    told = [STYLE + STYLES.index(job.style)] if job.style else []
    prime = np.array([BOS] if job.again else [BOS, *told], np.int16)
    sampling = Sampling(temperature=job.temperature, top_p=job.top_p)
    stream = engine.start([prime] * rows, sampling=sampling, seed=seed, told=told if job.again else ())
    made, seconds, begun = [], np.zeros(rows), np.zeros(rows, bool)
    while seconds.min() < job.seconds and time.time() < until:
        made.append(next(stream))
        passed, begun = seconds_of(made[-1], begun)
        seconds += passed
    return list(np.concatenate(made, axis=1)), float(seconds.min())


def trimmed(row: np.ndarray, seconds: float) -> np.ndarray:
    """A piece from its first note on, up to the shift that reaches its length."""
    first = int(np.flatnonzero((row >= NOTE_ON) & (row < NOTE_OFF))[0])
    row = np.concatenate(
        [row[:first][(row[:first] < TIME_SHIFT) | (row[:first] >= TIME_SHIFT + MAX_SHIFT)], row[first:]]
    )
    shift = row.astype(np.int64) - TIME_SHIFT + 1
    reached = np.cumsum(np.where((shift >= 1) & (shift <= MAX_SHIFT), shift, 0))
    return row[: int(np.searchsorted(reached, round(seconds * STEPS_PER_SECOND))) + 1]


def engine_of(folder: Path) -> Any:
    """The state's weights in an engine as app/backend.py makes it."""
    import jax

    from musicgen.data_prep.rules.loops import context_limit
    from musicgen.data_prep.rules.note_limits import NoteLimits
    from musicgen.data_prep.rules.preamble import preamble
    from musicgen.model.config import ModelConfig
    from musicgen.model.jax_engine import JaxEngine

    params, about = state.load(folder)
    shape = json.loads((folder.parent / "log.jsonl").read_text().splitlines()[0])["config"]["model"]
    config = ModelConfig.from_dict(shape)
    print(f"step {about['step']}, N={config.context}, M={config.latents}, on {jax.devices()[0]}", flush=True)
    return JaxEngine(config, params, NoteLimits(), preamble(), context_limit)


def generate(options: argparse.Namespace) -> None:
    """Make the sets of this process, one after the other."""
    options.out.mkdir(parents=True, exist_ok=True)
    while not (options.folder / "state.json").is_file() and time.time() < options.until:
        time.sleep(1)
    began = time.time()
    engine = engine_of(options.folder)
    for number, job in list(enumerate(JOBS))[options.part :: options.parts]:
        if options.toy:
            job = job._replace(seconds=job.seconds / 40)
        before = time.time()
        if before > options.until:
            break
        rows, shortest = make(engine, job, 1000 + number, 2 if options.toy else ROWS, options.until)
        took, drawn = time.time() - before, sum(map(len, rows))
        if shortest > 0:
            pieces = [trimmed(row, min(job.seconds, shortest)) for row in rows]
            beside = options.out / f"{job.name}.tmp"
            with beside.open("wb") as file:
                sizes = np.array([len(piece) for piece in pieces])
                np.savez_compressed(file, tokens=np.concatenate(pieces), sizes=sizes, seconds=shortest)
            beside.replace(options.out / f"{job.name}.npz")
        told = {"job": job.name, "took": took, "tokens": drawn, "speed": drawn / took, "shortest": shortest}
        with (options.out / f"music-{options.part}.jsonl").open("a") as file:
            file.write(json.dumps({**told, "since": time.time() - began}) + "\n")
        print(told, flush=True)
    (options.out / f"done-{options.part}").write_text("")


def to_midi(folder: Path, out: Path) -> None:
    """DIR/SET/NUMBER.mid of every set."""
    from musicgen.data_prep.midi import write_midi
    from musicgen.data_prep.tokens import decode

    for path in sorted(folder.glob("*.npz")):
        place = out / path.stem
        place.mkdir(parents=True, exist_ok=True)
        with np.load(path) as held:
            pieces = np.split(held["tokens"], np.cumsum(held["sizes"])[:-1])
        for number, piece in enumerate(pieces):
            write_midi(decode(piece), place / f"{number:02}.mid")
        print(f"{place}: {len(pieces)} pieces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a state of four bits")
    parser.add_argument("--midi", type=Path, help="a folder of sets to write as MIDI")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--until", type=float, default=float("inf"), help="as `date +%%s` gives it")
    parser.add_argument("--toy", action="store_true", help="a few rows of seconds, for a CPU")
    options = parser.parse_args()
    if options.midi:
        to_midi(options.midi, options.out)
    else:
        generate(options)


if __name__ == "__main__":
    main()
