"""Folders of music for measure.py: some pieces to be taught, and one in ten to be held out by the command.

python benchmarks/tuning/folders.py OUT [--corpora DIR] [--repositories DIR]
CORPORA: holds pijama, pop909 and emopia, each as its csv says (docs/data.md).
REPOSITORIES: holds clones of these, of which `piano` has heard none, each as owner+name; kern needs the extra `score`.
(PiJAMA's train split has a few of Joplin's rags as Marcus Roberts plays them, none of the eleven here.)  Scores are
played as they are written, without repeats, all keys equally loud.

    rags      github.com/craigsapp/joplin, Joplin's (CC BY-NC-SA 4.0), kern
    chorales  github.com/craigsapp/bach-370-chorales, Bach's in four voices (CC BY-NC-SA 4.0), kern
    organ     github.com/DCMLab/frescobaldi_fiori_musicali, Frescobaldi's Fiori musicali (CC BY-NC-SA 4.0), tables
    trios     github.com/DCMLab/corelli, movements of Corelli's trio sonatas (CC BY-NC-SA 4.0), tables
    folk      github.com/jukedeck/nottingham-dataset, jigs, reels and waltzes with their chords (GPL 3.0), MIDI
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.performance import NO_PEDAL

Row = dict[str, str]
# Of the test splits, so that only what was taught makes a difference.  EMOPIA has clips of 40 seconds.
OF_CORPORA: dict[str, tuple[str, int, Callable[[Row], bool]]] = {
    "hyman": ("pijama", 11, lambda row: row["performer"] == "Dick Hyman" and row["split"] == "test"),
    "pop": ("pop909", 11, lambda row: row["split"] == "test"),
    "emopia": ("emopia", 50, lambda row: row["split"] != "train"),
}
QUARTER, VELOCITY = 0.5, 64  # seconds of a quarter note, and how loud
OTHERS = 8


def from_corpora(corpora: Path, out: Path) -> None:
    """Copy the first so many of each."""
    for name, (corpus, most, wanted) in OF_CORPORA.items():
        with (corpora / corpus / f"{corpus}.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if wanted(row)]
        (out / name).mkdir(parents=True, exist_ok=True)
        for row in rows[:most]:
            shutil.copy(corpora / corpus / row["midi_filename"], out / name)


def from_kern(path: Path, out: Path) -> None:
    """A score in **kern."""
    import partitura

    warnings.filterwarnings("ignore")
    sys.setrecursionlimit(30_000)  # of partitura's reader
    partitura.save_score_midi(partitura.load_kern(str(path)), str(out))


def from_table(path: Path, out: Path) -> None:
    """A table of notes as DCML writes it: onsets and durations in quarters, a row for each part of a tied note."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    notes = list[tuple[float, float, int]]()
    held = dict[tuple[str, int], int]()  # which note a staff's key goes on with
    for row in rows:
        onset = float(Fraction(row["quarterbeats_all_endings"]))
        end, pitch = onset + float(row["duration_qb"]), int(row["midi"])
        key = row["staff"], pitch
        if row["tied"] in ("0", "-1") and key in held:
            notes[held[key]] = (notes[held[key]][0], end, pitch)
        else:
            held[key] = len(notes)
            notes.append((onset, end, pitch))
    onsets, ends, pitches = np.array(notes).T
    loud = np.full(len(notes), VELOCITY)
    out.write_bytes(write_midi(Performance(onsets * QUARTER, ends * QUARTER, pitches.astype(int), loud, NO_PEDAL)))


def copy(path: Path, out: Path) -> None:
    """A MIDI file as it is."""
    shutil.copy(path, out)


# How many, and of how many each is taken: a folder's pieces are spread over its collection.  NAME-others has a few of
# those that are neither taught nor held out.
OF_REPOSITORIES: dict[str, tuple[str, str, int, int, Callable[[Path, Path], None]]] = {
    "rags": ("craigsapp+joplin", "kern/*.krn", 11, 1, from_kern),
    "chorales": ("craigsapp+bach-370-chorales", "kern/*.krn", 33, 11, from_kern),
    "organ": ("DCMLab+frescobaldi_fiori_musicali", "notes/*.notes.tsv", 22, 2, from_table),
    "trios": ("DCMLab+corelli", "notes/*.notes.tsv", 22, 6, from_table),
    "folk": ("jukedeck+nottingham-dataset", "MIDI/*.mid", 50, 20, copy),
}


def from_repositories(repositories: Path, out: Path, names: Sequence[str]) -> None:
    """Write out those that are there."""
    for name in names:
        repository, pattern, most, each, write = OF_REPOSITORIES[name]
        found = sorted((repositories / repository).glob(pattern))
        chosen = found[::each][:most]
        others = [path for path in found if path not in chosen][:OTHERS]
        for folder, paths in ((name, chosen), (f"{name}-others", others)):
            (out / folder).mkdir(parents=True, exist_ok=True)
            for path in paths:
                write(path, out / folder / f"{path.name.removesuffix(pattern.rpartition('*')[2])}.mid")


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--repositories", type=Path)
    asked = parser.parse_args()
    if asked.corpora is not None:
        from_corpora(asked.corpora, asked.out)
    if asked.repositories is not None:
        from_repositories(asked.repositories, asked.out, [*OF_REPOSITORIES])


if __name__ == "__main__":
    main()
