from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.dataset.augment import (
    Augmentation,
    augment,
    jitter,
    scale_velocity,
    semitone_range,
    stretch,
    transpose,
)
from musicgen.data_prep.performance import Performance, empty


def piece(*pitches: int) -> Performance:
    onset = np.arange(len(pitches)) * 0.5
    return Performance(
        onset, onset + 0.4, np.array(pitches), np.full(len(pitches), 64), np.array([[0.2, 127], [0.9, 0]])
    )


def test_transposition_moves_pitches_alone() -> None:
    moved = transpose(piece(60, 64), 3)
    assert moved.pitch.tolist() == [63, 67]
    assert np.array_equal(moved.onset, piece(60, 64).onset)
    assert moved.pedal.tolist() == [[0.2, 127], [0.9, 0]]
    with pytest.raises(ValueError, match="pitch"):
        transpose(piece(126), 3)


def test_stretching_moves_notes_and_pedal() -> None:
    slow = stretch(piece(60, 64), 2)
    assert slow.onset.tolist() == [0, 1]
    assert slow.end == pytest.approx([0.8, 1.8])
    assert slow.pedal.tolist() == [[0.4, 127], [1.8, 0]]
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="factor"):
            stretch(slow, factor)


def test_velocity_stays_a_velocity() -> None:
    assert scale_velocity(piece(60), 1.5, 1).velocity.tolist() == [97]
    assert scale_velocity(piece(60), 3).velocity.tolist() == [127]
    assert scale_velocity(piece(60), 0).velocity.tolist() == [1]


def test_jitter_keeps_lengths() -> None:
    moved = jitter(piece(60, 64, 67), np.random.default_rng(0), 0.01)
    assert moved.end - moved.onset == pytest.approx([0.4] * 3)
    assert not np.array_equal(moved.onset, piece(60, 64, 67).onset)
    assert moved.onset.min() >= 0


def test_transposition_stops_at_the_ends_of_the_keyboard() -> None:
    assert semitone_range(piece(60), 6) == (-6, 6)
    assert semitone_range(piece(23, 107), 6) == (-2, 1)
    assert semitone_range(piece(21, 108), 6) == (0, 0)
    assert semitone_range(piece(20, 108), 6) == (-6, 6)  # beyond the piano already: MIDI's range it is
    assert semitone_range(piece(2, 126), 6) == (-2, 1)


@given(
    st.lists(st.integers(0, 127), max_size=10),
    st.integers(0, 2**32),
    st.builds(
        Augmentation,
        semitones=st.integers(0, 12),
        stretch=st.floats(0, 0.5),
        loudness=st.floats(0, 0.5),
        velocity=st.integers(0, 40),
        jitter=st.sampled_from([0.0, 0.02]),
    ),
)
def test_augmented_music_is_the_same_music(pitches: list[int], seed: int, settings: Augmentation) -> None:
    performance = piece(*pitches) if pitches else empty()
    first, again = (augment(performance, np.random.default_rng(seed), settings) for _ in range(2))
    assert first.equals(again)
    assert len(first) == len(performance)
    if pitches and min(pitches) >= 21 and max(pitches) <= 108:
        assert first.pitch.min() >= 21 and first.pitch.max() <= 108
    if pitches and not settings.jitter:
        shift = {int(a) - b for a, b in zip(first.pitch, pitches, strict=True)}
        assert len(shift) == 1 and abs(shift.pop()) <= settings.semitones
        ratio = first.end[-1] / performance.end[-1]
        assert 1 / (1 + settings.stretch) - 1e-9 <= ratio <= 1 + settings.stretch + 1e-9


def test_every_amount_is_drawn() -> None:
    rng = np.random.default_rng(1)
    drawn = [augment(piece(60, 64), rng, Augmentation()) for _ in range(300)]
    assert {int(p.pitch[0]) for p in drawn} == set(range(57, 64))
    assert {int(p.velocity[0]) for p in drawn} == set(range(56, 73))
    ends = np.array([p.end[1] for p in drawn]) / 0.9
    assert ends.min() < 0.96 and ends.max() > 1.04 and len(set(ends)) == 300


def test_nothing_to_do_changes_nothing() -> None:
    still = Augmentation(semitones=0, stretch=0, loudness=0, velocity=0, jitter=0)
    assert augment(piece(60, 64), np.random.default_rng(0), still).equals(piece(60, 64))


@pytest.mark.parametrize("field", ["semitones", "stretch", "loudness", "velocity", "jitter"])
def test_settings_are_not_negative(field: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        Augmentation(**{field: -1})
    with pytest.raises(ValueError, match="below 1"):
        Augmentation(stretch=1.0)
