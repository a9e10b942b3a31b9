"""What music.py made beside real music: is the asked kind heard, how far from its kind is a set, does long music loop.

    python runs/piano/kinds.py CORPORA RUN/music > RUN/kinds.jsonl

A line of JSON for each set, and for real music.  The classifier is a softmax regression on what can be counted in 30 s
(`counted`), fitted to training pieces of the corpora; a piece is named by all its parts together.  `named`: how many
pieces are taken for each kind.  `frechet`: distance of `musicgen evaluate --samples` to the test split of the kind's
corpus (without a kind: MAESTRO's), of the first two minutes, of pop 30 s, as its clips are short.  `loops`: share of
pieces with a bar over 16 times, of those of ten minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path

import index
import numpy as np
from corpora import STYLES

from musicgen.data_prep.evaluation.frechet import frechet
from musicgen.data_prep.evaluation.measures import Measured, measure
from musicgen.data_prep.performance import Performance, cut
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import STYLES as KINDS

PART, SHORTEST, PARTS = 30.0, 15.0, 4  # seconds of a part, at least, and how many of a piece are looked at
FITTED, HEARD = 240, 64  # pieces of a kind: of training, and held out
SCALARS = (
    *("scale_consistency", "pitch_class_entropy", "pitch", "pitch_range", "pitches_used", "notes_per_second"),
    *("inter_onset", "duration", "velocity", "velocity_spread", "polyphony", "longest_silence", "most_repeats"),
)
CORPUS = {"classical": "maestro", "jazz": "pijama", "pop": "emopia", "arrangement": "pop909", "roll": "supra"}
PENALTY = 3.0  # on squared weights


def counted(notes: Performance) -> np.ndarray:
    """f64[k]: the measures of a part, its histograms, and those of pitch and of the steps from note to note."""
    measured = measure(notes)
    pitch = notes.pitch.astype(int)
    steps = np.abs(np.diff(pitch)).clip(0, 24)
    scalars = np.nan_to_num([measured.values[name] for name in SCALARS])
    shares = [measured.histograms[name] for name in ("inter_onset", "duration", "velocity")]
    shares += [np.bincount(pitch // 6, minlength=22)[:22] / len(pitch), np.bincount(steps, minlength=25) / len(pitch)]
    return np.concatenate([scalars, *(np.sqrt(share) for share in shares)])


def parts_of(notes: Performance) -> np.ndarray:
    """f64[parts, k]."""
    first, last = float(notes.onset[0]), float(notes.onset[-1])
    starts = [first + PART * i for i in range(PARTS) if last - first - PART * i >= SHORTEST]
    parts = [cut(notes, start, start + PART) for start in starts or [first]]
    return np.array([counted(part) for part in parts if len(part) > 8])


def seconds_of(kind: str | None) -> float:
    """How much of a piece is measured."""
    return PART if kind == "pop" else 120.0


def look(notes: Performance, kind: str | None) -> tuple[np.ndarray, Measured]:
    return parts_of(notes), measure(notes, seconds_of(kind))


def look_at_file(job: tuple[str, str]) -> tuple[np.ndarray, Measured] | None:
    notes = index.read(job[0])
    return None if notes is None or len(notes) < 32 else look(notes, job[1])


def look_at_tokens(job: tuple[np.ndarray, str | None]) -> tuple[np.ndarray, Measured, float]:
    """And how often its most frequent bar comes."""
    notes = decode(job[0])
    return *look(notes, job[1]), measure(notes).values["most_repeats"]


class Ear:
    """The classifier: softmax regression by L-BFGS."""

    def __init__(self, parts: Sequence[np.ndarray], labels: Sequence[int]) -> None:
        """parts: f64[parts, k] of every piece."""
        from scipy.optimize import minimize

        x = np.concatenate(parts)
        y = np.repeat(labels, [len(part) for part in parts])
        self.middle, self.spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        x = self._scaled(x)
        balance = (1 / np.bincount(y, minlength=len(KINDS)))[y] / len(KINDS)
        hot = np.eye(len(KINDS))[y]

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(x.shape[1], len(KINDS))
            logs = self._logs(x, weights)
            slope = x.T @ (balance[:, None] * (np.exp(logs) - hot)) + 2 * PENALTY / len(x) * weights
            cost = -(balance * logs[np.arange(len(y)), y]).sum() + PENALTY / len(x) * (weights**2).sum()
            return cost, slope.reshape(-1)

        start = np.zeros(x.shape[1] * len(KINDS))
        self.weights = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x.reshape(
            x.shape[1], len(KINDS)
        )

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack([np.clip((x - self.middle) / self.spread, -5, 5), np.ones(len(x))])

    @staticmethod
    def _logs(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        z = x @ weights
        return np.asarray(z - np.logaddexp.reduce(z, axis=1, keepdims=True))

    def names(self, parts: Sequence[np.ndarray]) -> dict[str, int]:
        """How many pieces are taken for each kind."""
        told = [int(self._logs(self._scaled(part), self.weights).sum(axis=0).argmax()) for part in parts]
        return {kind: told.count(i) for i, kind in enumerate(KINDS)}


def spread(found: list[str], most: int) -> list[str]:
    """So many of them, evenly."""
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).astype(int))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the corpora")
    parser.add_argument("music", type=Path, help="sets that music.py made")
    parser.add_argument("--sets", nargs="*", help="their names (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    of_split: dict[str, dict[str, list[str]]] = {}
    for split in ("train", "validation", "test"):
        of_split[split] = {name: [] for name in STYLES}
        for path, name, _ in index.names_of(options.folder, split):
            of_split[split][name.split("/")[0]].append(path)
    with Pool(options.workers) as pool:
        parts, labels, real = [], [], {}
        for number, kind in enumerate(KINDS):
            jobs = [(path, kind) for path in spread(of_split["train"][CORPUS[kind]], FITTED)]
            found = [x for x in pool.map(look_at_file, jobs, chunksize=4) if x is not None]
            parts += [x[0] for x in found if len(x[0])]
            labels += [number] * sum(bool(len(x[0])) for x in found)
        ear = Ear(parts, labels)
        for kind, corpus in CORPUS.items():
            for split in ("test", "validation"):
                jobs = [(path, kind) for path in spread(of_split[split][corpus], 2 * HEARD)]
                real[kind, split] = [x for x in pool.map(look_at_file, jobs, chunksize=4) if x is not None]
            tested, held = ([x[1] for x in real[kind, split]] for split in ("test", "validation"))
            heard = spread([x[0] for split in ("test", "validation") for x in real[kind, split]], HEARD)  # type: ignore[arg-type]
            line = {"real": kind, "named": ear.names(heard), "frechet": frechet(held, tested)}
            print(json.dumps(line), flush=True)
        for path in sorted(options.music.glob("*.npz")):
            if options.sets and path.stem not in options.sets:
                continue
            kind = None if path.stem.startswith("any") else path.stem.split("-")[0]
            with np.load(path) as held_tokens:
                pieces = np.split(held_tokens["tokens"], np.cumsum(held_tokens["sizes"])[:-1])
            made = pool.map(look_at_tokens, [(piece, kind) for piece in pieces], chunksize=4)
            reference = [x[1] for x in real[kind or "classical", "test"]]
            line = {
                "set": path.stem,
                "pieces": len(pieces),
                "named": ear.names([x[0] for x in made]),
                "frechet": frechet([x[1] for x in made], reference),
                "loops": float(np.mean([x[2] > 16 for x in made])),
                "means": {name: float(np.nanmean([x[1].values[name] for x in made])) for name in SCALARS},
                "real_means": {name: float(np.nanmean([x.values[name] for x in reference])) for name in SCALARS},
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
