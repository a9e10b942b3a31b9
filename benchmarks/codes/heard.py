"""Is there music in made sound?  What a transcriber of piano music hears in it, beside recordings.

    pip install '.[transcribe]'
    python benchmarks/codes/listen.py RECORDINGS listen.jsonl --settings 0.85:1 --seconds 60 --keep MADE
    python benchmarks/codes/heard.py heard.jsonl real=RECORDINGS made=MADE/0.85_1 --skip 20 --seconds 20,60
    python benchmarks/codes/heard.py heard.jsonl                                              # the table again

A set is a folder of recordings; the first `--skip` seconds of each, the prime, are left out.  A line of JSON for each
set and number of seconds, means and standard errors over its recordings:

    notes      a second
    onsets     a second: notes struck within 30 ms of each other are one
    entropy    of the pitches that are struck, in bits
    explained  share of the energy that the notes explain (app/sureness.py)
    noise      share of the seconds of which they explain less than EXPLAINED, silent ones aside
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.app.sureness import DOUBTFUL, energy
from musicgen.app.transcription import AFTER, BEFORE, Hear, open_transcriber
from musicgen.data_prep.audio import AUDIO_SUFFIXES, read_audio
from musicgen.data_prep.audio import SAMPLE_RATE as RATE
from musicgen.data_prep.dataset.splits import find_files
from musicgen.data_prep.errors import PrepError

TOGETHER = 0.03  # seconds: notes of one onset
EXPLAINED = DOUBTFUL  # the share from which a second is music
SOFT = 40.0  # dB below the loudest second: silence
MEASURES = ("notes", "onsets", "entropy", "explained", "noise")


@dataclass(frozen=True)
class Heard:
    """notes: f64 [n, 4], onset, end, pitch and velocity, from the time that counts; seconds: f64 [s, 2], the energy of
    every second that they explain, and all of it."""

    notes: np.ndarray
    seconds: np.ndarray


def heard(sound: np.ndarray, hear: Hear, skip: float, seconds: int) -> Heard:
    """What is heard in f32 [n] from `skip` on, so many seconds of it; some more is listened to on either side."""
    start = max(0.0, skip - BEFORE)
    part = sound[round(start * RATE) : round((skip + seconds + AFTER) * RATE)]
    notes = hear(part, lambda done: None).notes
    at = skip - start
    energies = [energy(part, notes, at + second, at + second + 1) for second in range(seconds)]
    notes = notes - [at, at, 0, 0]
    return Heard(notes[np.argsort(notes[:, 0], kind="stable")], np.array(energies))


def measured(told: Heard, seconds: int) -> dict[str, float]:
    """The measures of the first seconds."""
    notes = told.notes[(told.notes[:, 0] >= 0) & (told.notes[:, 0] < seconds)]
    explained, total = told.seconds[:seconds].T
    sounding = total > total.max(initial=0.0) * 10 ** (-SOFT / 10)
    unexplained = explained[sounding] < EXPLAINED * total[sounding]
    struck = np.bincount(notes[:, 2].astype(int), minlength=128) / max(len(notes), 1)
    return {
        "notes": len(notes) / seconds,
        "onsets": float(len(notes) > 0) / seconds + np.count_nonzero(np.diff(notes[:, 0]) > TOGETHER) / seconds,
        "entropy": float(-np.sum(struck[struck > 0] * np.log2(struck[struck > 0]))),
        "explained": float(explained.sum() / max(total.sum(), 1e-9)),
        "noise": float(unexplained.mean()) if sounding.any() else 0.0,
    }


def line_of(name: str, pieces: list[Heard], seconds: int) -> dict[str, Any]:
    """A set's measures: mean and standard error of each."""
    rows = [measured(piece, seconds) for piece in pieces]
    told: dict[str, Any] = {"set": name, "seconds": seconds, "pieces": len(rows)}
    for key in MEASURES:
        values = np.array([row[key] for row in rows])
        error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
        told[key] = [round(float(values.mean()), 4), round(error, 4)]
    return told


def table(lines: list[dict[str, Any]]) -> str:
    """As Markdown."""
    rows = [f"| set | seconds | pieces | {' | '.join(MEASURES)} |", "| --- " * (3 + len(MEASURES)) + "|"]
    for line in lines:
        cells = " | ".join("{:.3g} ± {:.2g}".format(*line[key]) for key in MEASURES)
        rows.append(f"| {line['set']} | {line['seconds']} | {line['pieces']} | {cells} |")
    return "\n".join(rows)


def recordings_of(text: str) -> tuple[str, list[Path]]:
    """The name, and the recordings of the folder, of NAME=FOLDER."""
    name, _, folder = text.partition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text}: give NAME=FOLDER, a folder with recordings")
    try:
        return name, [Path(folder, path) for path in find_files(folder, AUDIO_SUFFIXES, "audio")]
    except PrepError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", type=recordings_of, nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--skip", type=float, default=0.0, help="seconds at the beginning that are left out")
    parser.add_argument("--seconds", default="20,60", help="how many are listened to (20,60)")
    parser.add_argument("--pieces", type=int, default=16, help="of a set, at the most")
    arguments = parser.parse_args()
    spans = sorted(int(span) for span in arguments.seconds.split(","))
    hear = open_transcriber() if arguments.sets else None
    for name, paths in arguments.sets:
        assert hear is not None
        pieces = []
        for path in paths[: arguments.pieces]:
            sound = read_audio(path)
            if len(sound) < (arguments.skip + spans[-1]) * RATE:
                print(f"left out: {path.name} is shorter than {arguments.skip + spans[-1]:g} seconds", file=sys.stderr)
                continue
            pieces.append(heard(sound, hear, arguments.skip, spans[-1]))
        if not pieces:
            parser.error(f"no recording of {name} is long enough: give fewer --seconds")
        for seconds in spans:
            line = line_of(name, pieces, seconds)
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), file=sys.stderr, flush=True)
    print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
