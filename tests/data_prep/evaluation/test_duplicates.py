"""One performance and one composition are found, whoever plays it; music that is only alike is not."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.data_prep.dataset.augment import jitter, stretch, transpose
from musicgen.data_prep.evaluation.duplicates import HeldOut, same_performances
from musicgen.data_prep.performance import NO_PEDAL, Performance, cut, shift_time

LENGTH = 32


def music(seed: int, notes: int = 200) -> Performance:
    """A line without patterns, four notes a second."""
    rng = np.random.default_rng(seed)
    onset = np.arange(notes) * 0.25 + rng.uniform(0, 0.05, notes)
    return Performance(onset, onset + 0.2, rng.integers(30, 90, notes), rng.integers(20, 110, notes), NO_PEDAL)


def played_anew(piece: Performance, seed: int) -> Performance:
    """By somebody else: a tone higher, slower, with a touch of their own."""
    rng = np.random.default_rng(seed)
    other = jitter(stretch(transpose(piece, 2), 1.3), rng, 0.01)
    return Performance(other.onset, other.end, other.pitch, rng.integers(20, 110, len(other)), NO_PEDAL)


def test_a_performance_is_found_by_its_touch() -> None:
    piece = music(0)
    pieces = [music(1), piece, shift_time(cut(piece, 10, 40), -9.7), played_anew(piece, 5), music(2, 10)]
    ((i, j, runs),) = same_performances(pieces)
    assert (i, j) == (1, 2) and 60 < runs < 120
    assert same_performances([]) == [] and same_performances([piece]) == []


def test_scales_are_no_performance() -> None:
    """Nor repeated notes, though all their velocities agree."""
    onset = np.arange(80) * 0.1
    scale = Performance(onset, onset + 0.1, 30 + np.arange(80) % 50, np.full(80, 64), NO_PEDAL)
    assert same_performances([scale, scale]) == []


def test_a_composition_is_found_whoever_plays_it() -> None:
    """In the second two minutes of a long piece, too; the place is that of the passage."""
    piece = music(0)
    held_out = HeldOut([("a", "test", music(3)), ("b", "validation", piece)])
    (match,) = held_out.matches(played_anew(piece, 1), LENGTH)
    assert (match.name, match.title, match.transposition) == ("b", "validation", 2)
    assert match.length >= 100 and match.start == pytest.approx(0, abs=0.2)
    late = shift_time(played_anew(cut(piece, 0, 20), 2), 130.0)
    both = Performance(
        *(np.concatenate([getattr(music(9), name), getattr(late, name)]) for name in ("onset", "end")),
        np.concatenate([music(9).pitch, late.pitch]),
        np.concatenate([music(9).velocity, late.velocity]),
        NO_PEDAL,
    )
    (match,) = held_out.matches(both, LENGTH)
    assert match.name == "b" and match.start == pytest.approx(130, abs=1)


def test_what_matches_two_pieces_is_told_of_both() -> None:
    piece = music(0)
    held_out = HeldOut([("a", "test", cut(piece, 0, 15)), ("b", "test", cut(piece, 20, 45))])
    assert [match.name for match in held_out.matches(piece, LENGTH)] == ["b", "a"]


def test_other_music_matches_nothing() -> None:
    held_out = HeldOut([("a", "test", music(0))])
    empty = cut(music(0), 500, 600)
    assert not held_out.matches(music(1), LENGTH) and not held_out.matches(empty, LENGTH)
    assert not HeldOut([]).matches(music(1), LENGTH)


def test_the_first_question_loses_nothing() -> None:
    """Passages of the fewest notes that count are found wherever they stand in other music."""
    for seed in range(8):
        piece, other = music(seed, 60), music(100 + seed)
        held_out = HeldOut([("a", "test", piece)])
        passage = shift_time(played_anew(cut(piece, 2, 12), seed), 60.0)
        mixed = [np.concatenate([getattr(other, k)[:200], getattr(passage, k)]) for k in ("onset", "end")]
        both = Performance(
            *mixed,
            np.concatenate([other.pitch, passage.pitch]),
            np.concatenate([other.velocity, passage.velocity]),
            NO_PEDAL,
        )
        assert [match.name for match in held_out.matches(both, LENGTH)] == ["a"]
