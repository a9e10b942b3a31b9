"""Two sets of pieces side by side: means with bootstrap intervals, and how far their distributions overlap.

Overlap and divergence are those of mgeval (Yang and Lerch, "On the evaluation of generative models in music", Neural
Computing and Applications 32, 2020): for one measure take the distances between all pieces of one set (intra-set) and
those from the pieces of one set to the pieces of the other (inter-set), estimate both densities with Gaussian kernels
of Scott's width, and give the area under the lower of the two and KL(intra || inter). If the sets are alike, an
intra-set distance is like an inter-set one: the area is near 1, the divergence near 0. As in mgeval both sets have
their turn as "intra". Where we differ, each time so that a set compared with itself gives 1 and 0:

* both densities are taken at the same points (mgeval's `kl_dist` reads each on a grid of its own range);
* the points reach four kernel widths beyond the data (mgeval cuts off what the kernels put outside);
* every density has 1e-12 of its weight spread evenly and kernels are no narrower than 1/200 of the range, so that a
  divergence is finite and a set of equal pieces is no error;
* all pieces of both sets count (mgeval: the first of each, as many as the smaller set has).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.evaluation.frechet import frechet
from musicgen.data_prep.evaluation.measures import BY_MINUTE, EDGES, FRAME, FRAMES_BACK, UNITS, Measured, major_keys

RESAMPLES = 2000
LEVEL = 95  # per cent
Z = 1.959964  # standard deviations that leave 5 per cent outside
POINTS = 2048
MINUTES = 10
SIGNIFICANT = 5  # digits that are told

Table = dict[str, Any]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def compare(samples: Sequence[Measured], reference: Sequence[Measured], *, seed: int = 0) -> Table:
    """All measures of both sets, in plain numbers and lists fit for JSON. The same input and seed, the same result.

    ``measures`` of UNITS: per set mean, low and high (95 % bootstrap interval over pieces) and the number of pieces
    that have the measure; the difference of the means with its interval; overlap and kl, each for either set's
    intra-set distances against the inter-set ones (none for shares of pieces). ``histograms`` of EDGES: the mean
    histograms and the same comparison by Euclidean distance, for pitch classes the least over all transpositions;
    their mean histogram is turned so that the best fitting major scale of each piece begins at 0. ``self_similarity``
    by lag and ``minutes`` by minute, with intervals. ``frechet``: one number, see there. Shares of pieces have Wilson's
    intervals. None stands for what no piece has.

    Raises PrepError if either set has fewer than two pieces.
    """
    for pieces, what in ((samples, "the samples"), (reference, "the reference")):
        if len(pieces) < 2:
            raise PrepError(f"a comparison needs two pieces with notes at the least: {what} have {len(pieces)}")
    sets = {"samples": samples, "reference": reference}
    measures, histograms = {}, {}
    for name, unit in UNITS.items():
        a, b = (np.array([piece.values[name] for piece in pieces]) for pieces in sets.values())
        if unit == "pieces":
            measures[name] = {"unit": unit, **shares(a, b)}
            continue
        row: Table = {"unit": unit, **means(a, b, seed)}
        row |= overlaps(_euclid, *(x[np.isfinite(x), None] for x in (a, b)))
        measures[name] = row
    for name, edges in EDGES.items():
        a, b = (np.array([piece.histograms[name] for piece in pieces]) for pieces in sets.values())
        distance = _transposed if name == "pitch_classes" else _euclid
        turned = [np.array([_in_key(x) for x in y]) for y in (a, b)] if name == "pitch_classes" else [a, b]
        mean = columns(turned[0], turned[1], seed)
        histograms[name] = {"edges": edges.tolist(), **mean, **overlaps(distance, a, b)}
    curves = columns(_rows([p.similarity for p in samples]), _rows([p.similarity for p in reference]), seed)
    lags = [FRAME * (k + 1) for k in range(FRAMES_BACK)]
    minutes = {}
    for k, name in enumerate(BY_MINUTE):
        a, b = (_rows([piece.minutes[:MINUTES, k] for piece in pieces], MINUTES) for pieces in sets.values())
        minutes[name] = columns(a, b, seed)
    told = {
        "seed": seed,
        "resamples": RESAMPLES,
        "level": LEVEL,
        "measures": measures,
        "histograms": histograms,
        "frechet": frechet(samples, reference, seed=seed),
        "self_similarity": {"lag_seconds": lags, **curves},
        "minutes": minutes,
    }
    return _round(told)


def bootstrap_means(values: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """f64[2000]: the means of as many draws of n values from the n given, with replacement."""
    picks = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    return values[picks].mean(axis=1)


def means(samples: np.ndarray, reference: np.ndarray, seed: int) -> Table:
    """Mean and interval of both sets, f64[n] and f64[m] with NaN for missing, and of samples minus reference."""
    made: Table = {}
    draws = []
    for place, (name, values) in enumerate((("samples", samples), ("reference", reference))):
        values = values[np.isfinite(values)]
        draws.append(bootstrap_means(values, (seed, place)) if values.size else np.zeros(0))
        made[name] = {**_interval(values.mean() if values.size else None, draws[-1]), "pieces": len(values)}
    both = bool(draws[0].size and draws[1].size)
    gap = made["samples"]["mean"] - made["reference"]["mean"] if both else None
    return made | {"difference": _interval(gap, draws[0] - draws[1] if both else np.zeros(0))}


def shares(samples: np.ndarray, reference: np.ndarray) -> Table:
    """`means` of zeros and ones, f64[n] and f64[m].

    A bootstrap of nothing but zeros never leaves zero, so these intervals are Wilson's (JASA 22, 1927), and that of the
    difference is Newcombe's of both (method 10, Statistics in Medicine 17, 1998).
    """
    made: Table = {}
    for name, values in (("samples", samples), ("reference", reference)):
        n, p = len(values), float(values.mean())
        middle, half = p + Z**2 / (2 * n), Z * float(np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)))
        low, high = ((middle + side * half) / (1 + Z**2 / n) for side in (-1, 1))
        made[name] = {"mean": p, "low": max(low, 0.0), "high": min(high, 1.0), "pieces": n}
    a, b = made["samples"], made["reference"]
    gap = a["mean"] - b["mean"]
    below = float(np.hypot(a["mean"] - a["low"], b["high"] - b["mean"]))
    above = float(np.hypot(a["high"] - a["mean"], b["mean"] - b["low"]))
    return made | {"difference": {"mean": gap, "low": gap - below, "high": gap + above}}


def columns(samples: np.ndarray, reference: np.ndarray, seed: int) -> Table:
    """`means` of every column of f64[n, k] and f64[m, k], as lists by column; without the difference."""
    made: Table = {name: {key: [] for key in ("mean", "low", "high", "pieces")} for name in ("samples", "reference")}
    for column in range(samples.shape[1]):
        told = means(samples[:, column], reference[:, column], seed)
        for name, lists in made.items():
            for key, values in lists.items():
                values.append(told[name][key])
    return made


def _interval(mean: float | None, draws: np.ndarray) -> Table:
    if mean is None:
        return {"mean": None, "low": None, "high": None}
    low, high = np.percentile(draws, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def overlaps(distance: Distance, samples: np.ndarray, reference: np.ndarray) -> Table:
    """Distances, overlapped area and KL divergence of f64[n, k] and f64[m, k]; None with fewer than two pieces.

    distance: mean distance within the samples, within the reference, and between them. overlap and kl: of the intra-set
    distances of either set with the inter-set distances.
    """
    if min(len(samples), len(reference)) < 2:
        return {"distance": None, "overlap": None, "kl": None}
    inter = distance(samples, reference).ravel()
    made: Table = {"distance": {}, "overlap": {}, "kl": {}}
    for name, pieces in (("samples", samples), ("reference", reference)):
        intra = distance(pieces, pieces)[~np.eye(len(pieces), dtype=bool)]
        made["distance"][name] = float(intra.mean())
        made["overlap"][name], made["kl"][name] = overlap_and_kl(intra, inter)
    made["distance"]["between"] = float(inter.mean())
    return made


def overlap_and_kl(intra: np.ndarray, inter: np.ndarray) -> tuple[float, float]:
    """(overlapped area in 0..1, KL(intra || inter) in nats) of the kernel densities of two sets of numbers."""
    low, high = min(intra.min(), inter.min()), max(intra.max(), inter.max())
    if high - low < 1e-12:
        return 1.0, 0.0
    narrowest = (high - low) / 200
    widths = [max(float(x.std(ddof=1)) * len(x) ** -0.2, narrowest) for x in (intra, inter)]  # Scott's rule
    grid = np.linspace(low - 4 * max(widths), high + 4 * max(widths), POINTS)
    p, q = (_density(x, width, grid) for x, width in zip((intra, inter), widths, strict=True))
    return float(np.minimum(p, q).sum()), max(float((p * np.log(p / q)).sum()), 0.0)


def _density(values: np.ndarray, width: float, grid: np.ndarray) -> np.ndarray:
    """f64[grid], sums to 1: Gaussian kernels on values that are first shared out between their neighbours in the grid,
    which makes tens of thousands of distances as quick as a few."""
    step = grid[1] - grid[0]
    place = (values - grid[0]) / step
    left = np.minimum(place.astype(np.int64), len(grid) - 2)
    right = place - left
    weights = np.bincount(left, 1 - right, len(grid)) + np.bincount(left + 1, right, len(grid))
    half = min(int(8 * width / step) + 1, len(grid) - 1)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * step / width) ** 2)
    density = np.convolve(weights, kernel)[half : half + len(grid)]
    density = density / density.sum() + 1e-12 / len(grid)
    return density / density.sum()


def _euclid(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f64[n, m]: Euclidean distances between the rows of f64[n, k] and f64[m, k]."""
    return np.stack([np.sqrt(((row - b) ** 2).sum(axis=1)) for row in a])


def _transposed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least Euclidean distance between histograms of 12 pitch classes when either may be transposed."""
    return np.min([_euclid(a, np.roll(b, key, axis=1)) for key in range(12)], axis=0)


def _in_key(shares: np.ndarray) -> np.ndarray:
    """A pitch class histogram, f64[12], transposed so that the best fitting major scale is on 0."""
    return np.roll(shares, -int(np.argmax(np.round(major_keys(shares), 9))))


def _rows(series: Sequence[np.ndarray], width: int = FRAMES_BACK) -> np.ndarray:
    """f64[pieces, width]: a row for each piece, NaN where it has ended."""
    table = np.full((len(series), width), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: len(values)] = values
    return table


def _round(value: Any) -> Any:
    """The same with five digits in every number: more would be noise."""
    if isinstance(value, dict):
        return {key: _round(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_round(inner) for inner in value]
    return float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value
