"""How far apart two sets of pieces lie, in one number: the Frechet distance of their measures.

Every piece is a point of 14 measures in units of the reference's standard deviation; both sets are taken as Gaussian
clouds and the distance is that of Heusel et al. (NeurIPS 2017): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Theirs has
the features of a network, as has the Frechet music distance (Retkowski et al., 2024), whose networks have to be
fetched; these features are named, and are there offline.

The distance of few pieces is never 0, and the fewer they are the larger it is, also where nothing differs. So it comes
with what chance gives: the distance of as many pieces drawn from the reference itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen.data_prep.evaluation.measures import Measured

MEASURES = (
    "pitch_class_entropy",
    "scale_consistency",
    "pitch",
    "pitch_range",
    "pitches_used",
    "notes_per_second",
    "inter_onset",
    "duration",
    "velocity",
    "velocity_spread",
    "polyphony",
    "self_similarity_10s",
    "longest_silence",
    "most_repeats",
)
DRAWS = 200


def frechet(samples: Sequence[Measured], reference: Sequence[Measured], *, seed: int = 0) -> dict[str, Any] | None:
    """distance, chance (mean, and where 95 % of the draws lie), measures, and how many pieces of both sets have them.

    None if fewer than three pieces of either set have all measures.
    """
    a, b = (_points(pieces) for pieces in (samples, reference))
    if min(len(a), len(b)) < 3:
        return None
    spread = b.std(axis=0, ddof=1)
    spread[spread < 1e-9] = 1.0  # the same in every piece: counted as it is
    a, b = a / spread, b / spread
    rng = np.random.default_rng((seed, len(MEASURES)))
    draws = [distance(b[rng.integers(len(b), size=len(a))], b) for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "distance": distance(a, b),
        "chance": {"mean": float(np.mean(draws)), "low": float(low), "high": float(high)},
        "measures": list(MEASURES),
        "pieces": {"samples": len(a), "reference": len(b)},
    }


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians of f64[n, k] and f64[m, k]."""
    gap = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # first @ second has the eigenvalues of this symmetric matrix.
    both = np.linalg.eigvalsh(root @ second @ root)
    cross = float(np.sqrt(np.maximum(both, 0)).sum())
    return max(float(gap @ gap + np.trace(first) + np.trace(second)) - 2 * cross, 0.0)


def _points(pieces: Sequence[Measured]) -> np.ndarray:
    """f64[n, 14]: the pieces that have every measure."""
    points = np.array([[piece.values[name] for name in MEASURES] for piece in pieces]).reshape(-1, len(MEASURES))
    return points[np.isfinite(points).all(axis=1)]
