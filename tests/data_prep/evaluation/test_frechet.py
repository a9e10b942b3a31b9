"""The Frechet distance against its closed forms, and against chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from musicgen.data_prep.evaluation.frechet import MEASURES, distance, frechet
from musicgen.data_prep.evaluation.measures import UNITS, Measured


def cloud(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> list[Measured]:
    """Pieces whose measures are Gaussian, 10 units wide."""
    values = np.random.default_rng(seed).normal(shift, scale, (count, len(UNITS))) * 10
    return [Measured(dict(zip(UNITS, row.tolist(), strict=True)), {}, np.zeros(0), np.zeros((0, 0))) for row in values]


def test_distance_of_diagonal_gaussians() -> None:
    """Means 3 apart: 9. Widths 1 and 2 in each of four dimensions: 4 (2 - 1)^2."""
    points = np.random.default_rng(0).normal(size=(400, 4))
    points = (points - points.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    assert distance(points, points + np.array([3, 0, 0, 0])) == pytest.approx(9, rel=1e-6)
    assert distance(points, 2 * points) == pytest.approx(4, rel=1e-6)
    assert distance(points, points) == pytest.approx(0, abs=1e-6)


def test_distance_against_the_matrix_root() -> None:
    """Of two clouds that are turned against each other, with the root of a product of matrices that do not commute."""
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) for _ in range(2))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eig(first @ second)
    root = (vectors * np.sqrt(values)) @ np.linalg.inv(vectors)
    gap = a.mean(axis=0) - b.mean(axis=0)
    expected = gap @ gap + np.trace(first + second - 2 * root.real)
    assert distance(a, b) == pytest.approx(expected, rel=1e-8) and distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_chance() -> None:
    """Pieces of the same kind are within what chance gives, others are beyond it, and fewer pieces mean more."""
    reference = cloud(150, 0)
    same, other, fewer = (frechet(pieces, reference) for pieces in (cloud(60, 1), cloud(60, 2, 0.7), cloud(20, 3)))
    assert same and other and fewer
    assert same["distance"] < 2 * same["chance"]["mean"] and other["distance"] > 2 * other["chance"]["high"]
    assert fewer["chance"]["mean"] > 2 * same["chance"]["mean"]
    assert same == frechet(cloud(60, 1), reference) and same["pieces"] == {"samples": 60, "reference": 150}


def test_units_do_not_matter() -> None:
    """A measure in milliseconds counts as one in seconds."""
    sets = [cloud(30, 0), cloud(40, 1)]
    milli = [
        [dataclasses.replace(p, values=p.values | {"duration": p.values["duration"] * 1000}) for p in pieces]
        for pieces in sets
    ]
    first, second = frechet(*sets), frechet(*milli)
    assert first and second and first["distance"] == pytest.approx(second["distance"], rel=1e-9)


def test_pieces_without_a_measure_are_left_out() -> None:
    """And there is no distance where hardly any is left."""
    pieces = cloud(5, 0)
    for piece in pieces[:2]:
        piece.values[MEASURES[-1]] = np.nan
    told = frechet(pieces, cloud(9, 1))
    assert told and told["pieces"] == {"samples": 3, "reference": 9} and np.isfinite(told["distance"])
    assert frechet(pieces[:4], cloud(9, 1)) is None
