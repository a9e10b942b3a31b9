"""Folders of music for measure.py: ten pieces to be taught and one or more to be held out, that `piano` has not heard.

python benchmarks/tuning/folders.py CORPORA OUT [--joplin DIR]
CORPORA: holds pijama, pop909 and emopia, each as its csv says (docs/data.md).  DIR: **kern files of Joplin's rags
(github.com/craigsapp/joplin, folder kern), written out without their repeats; needs the extra `score`.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

Row = dict[str, str]
# Of the test splits, so that only what was taught makes a difference.  EMOPIA has clips of 40 seconds.
FOLDERS: dict[str, tuple[str, int, Callable[[Row], bool]]] = {
    "hyman": ("pijama", 11, lambda row: row["performer"] == "Dick Hyman" and row["split"] == "test"),
    "pop": ("pop909", 11, lambda row: row["split"] == "test"),
    "emopia": ("emopia", 50, lambda row: row["split"] != "train"),
}
RAGS = 11


def from_corpora(corpora: Path, out: Path) -> None:
    """Copy the first so many of each."""
    for name, (corpus, most, wanted) in FOLDERS.items():
        with (corpora / corpus / f"{corpus}.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if wanted(row)]
        (out / name).mkdir(parents=True, exist_ok=True)
        for row in rows[:most]:
            shutil.copy(corpora / corpus / row["midi_filename"], out / name)


def rags(kern: Path, out: Path) -> None:
    """Write rags out as MIDI, the first in the alphabet."""
    import partitura

    warnings.filterwarnings("ignore")
    sys.setrecursionlimit(30_000)  # of partitura's reader
    (out / "rags").mkdir(parents=True, exist_ok=True)
    for path in sorted(kern.glob("*.krn"))[:RAGS]:
        partitura.save_score_midi(partitura.load_kern(str(path)), str(out / "rags" / f"{path.stem}.mid"))


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--joplin", type=Path)
    asked = parser.parse_args()
    from_corpora(asked.corpora, asked.out)
    if asked.joplin is not None:
        rags(asked.joplin, asked.out)


if __name__ == "__main__":
    main()
