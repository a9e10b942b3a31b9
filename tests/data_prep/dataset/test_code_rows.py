"""Rows of codes: what stands in them, and that a reader goes on where it was."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from musicgen.data_prep.dataset.code_rows import CodeRows, frames_of
from musicgen.data_prep.vocabulary import BOS

Q = 3
RECORDINGS = [np.arange(Q * F).reshape(F, Q) % 50 for F in (40, 7, 60)]


def test_frames_of_codes() -> None:
    """BOS everywhere, then the codes."""
    frames = frames_of(RECORDINGS[1])
    assert frames.dtype == np.int16 and (frames[0] == BOS).all()
    np.testing.assert_array_equal(frames[1:], RECORDINGS[1] + 3)


def test_rows_are_pieces_of_the_recordings() -> None:
    """Rows begin at frames; what follows BOS is the beginning of a recording."""
    rows = CodeRows(RECORDINGS, batch=50, frames=8, seed=1)
    tokens = next(rows)["tokens"]
    assert tokens.dtype == np.int16 and tokens.shape == (50, 9, Q)
    starts = set()
    for frames in tokens:
        for one, next_one in itertools.pairwise(frames[1:]):
            if next_one[0] != BOS and one[0] != BOS:
                assert (next_one - 3 == (one - 3 + Q) % 50).all()
            elif one[0] == BOS:
                assert (one == BOS).all() and (next_one - 3 == np.arange(Q)).all()
        starts.add(int(frames[1, 0]))
    assert len(starts) > 10


def test_a_reader_goes_on() -> None:
    """From a saved state the same rows come; another seed gives others."""
    rows = CodeRows(RECORDINGS, batch=4, frames=8, seed=1)
    for _ in range(3):
        next(rows)
    state, expected = rows.get_state(), [next(rows)["tokens"] for _ in range(3)]
    again = CodeRows(RECORDINGS, batch=4, frames=8, seed=1)
    again.set_state(state)
    for tokens in expected:
        np.testing.assert_array_equal(next(again)["tokens"], tokens)
    other = CodeRows(RECORDINGS, batch=4, frames=8, seed=2)
    assert (next(other)["tokens"] != expected[0]).any()


def test_too_little() -> None:
    """A row needs as many frames as it has."""
    with pytest.raises(ValueError, match="have 110 frames together, a row has 111"):
        CodeRows(RECORDINGS, batch=1, frames=110, seed=0)
