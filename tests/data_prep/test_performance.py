from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.performance import (
    NO_PEDAL,
    Performance,
    apply_pedal,
    cut,
    empty,
    merge,
    remove_overlaps,
    shift_time,
)


def piece(notes: list[tuple[float, float, int]], pedal: list[tuple[float, float]] | None = None) -> Performance:
    """Notes as (onset, end, pitch)."""
    onset, end, pitch = (np.array(column) for column in zip(*notes, strict=True))
    return Performance(onset, end, pitch, np.full(len(notes), 64), np.array(pedal or []))


def notes_of(performance: Performance) -> list[tuple[float, float, int]]:
    return list(zip(performance.onset.tolist(), performance.end.tolist(), performance.pitch.tolist(), strict=True))


def test_notes_are_sorted_typed_and_read_only() -> None:
    onset = np.array([1.0, 0.0, 0.0])
    performance = Performance(onset, onset + 1, [60, 64, 62], np.array([1, 2, 127]), [[2.0, 0], [1.0, 127]])  # type: ignore[arg-type]
    assert performance.pitch.tolist() == [62, 64, 60]
    assert performance.velocity.tolist() == [127, 2, 1]
    assert performance.pedal.tolist() == [[1, 127], [2, 0]]
    assert [performance.onset.dtype, performance.pitch.dtype] == [np.float64, np.uint8]
    with pytest.raises(ValueError, match="read-only"):
        performance.onset[0] = 5
    onset[:] = 9  # the caller's array is the caller's
    assert performance.onset.tolist() == [0, 0, 1]


def test_an_array_in_order_is_copied_too() -> None:
    onset = np.array([0.0, 1.0])
    performance = Performance(onset, onset + 1, np.array([1, 2]), np.array([1, 2]), NO_PEDAL)
    onset[0] = 7
    assert performance.onset.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"onset": [-1.0]}, "none negative"),
        ({"onset": [float("nan")]}, "finite"),
        ({"end": [float("inf")]}, "finite"),
        ({"end": [0.5]}, "ends before it begins"),
        ({"end": [2.0, 3.0]}, "one onset"),
        ({"onset": [[1.0]]}, "one dimension"),
        ({"pitch": [128]}, "pitch lies in 0..127"),
        ({"pitch": [-1]}, "pitch lies in 0..127"),
        ({"velocity": [0]}, "velocity lies in 1..127"),
        ({"pedal": [[0.0, 128]]}, "pedal value"),
        ({"pedal": [[-1.0, 0]]}, "none negative"),
        ({"pedal": [1.0, 2.0]}, "pairs"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, list[float]], message: str) -> None:
    fields = {"onset": [1.0], "end": [2.0], "pitch": [60], "velocity": [64], "pedal": []} | changes
    with pytest.raises(ValueError, match=message):
        Performance(**{name: np.array(value) for name, value in fields.items()})


def test_the_pedal_holds_a_note_until_its_release() -> None:
    performance = piece([(0, 1, 60), (3.5, 4, 62)], [(0.5, 64), (3, 63)])
    assert notes_of(apply_pedal(performance)) == [(0, 3, 60), (3.5, 4, 62)]
    assert len(apply_pedal(performance).pedal) == 0
    assert performance.duration == 4


def test_a_half_pressed_pedal_holds_nothing() -> None:
    assert notes_of(apply_pedal(piece([(0, 1, 60)], [(0.5, 63), (3, 0)]))) == [(0, 1, 60)]


def test_a_repeated_pitch_ends_the_earlier_note() -> None:
    assert notes_of(apply_pedal(piece([(0, 1, 60), (2, 2.5, 60)], [(0, 127), (3, 0)]))) == [(0, 2, 60), (2, 3, 60)]
    assert notes_of(apply_pedal(piece([(0, 3, 60), (2, 4, 60)]))) == [(0, 2, 60), (2, 4, 60)]
    assert notes_of(remove_overlaps(piece([(0, 3, 60), (2, 4, 60), (2, 3, 60)]))) == [(0, 2, 60), (2, 4, 60)]
    assert notes_of(apply_pedal(piece([(0, 3, 60), (1, 2, 60), (4, 5, 60)]))) == [(0, 1, 60), (1, 3, 60), (4, 5, 60)]


def test_a_pedal_never_released_holds_until_the_last_event() -> None:
    assert notes_of(apply_pedal(piece([(0, 1, 60), (2, 3, 62)], [(0.5, 127)]))) == [(0, 3, 60), (2, 3, 62)]
    assert piece([(0, 1, 60)], [(0.5, 127), (7, 127)]).duration == 7


def test_at_one_moment_the_pedal_moves_in_order_and_before_note_ends() -> None:
    assert notes_of(apply_pedal(piece([(0, 1, 60)], [(1, 127), (2, 0)]))) == [(0, 2, 60)]
    assert notes_of(apply_pedal(piece([(0, 1, 60)], [(0.5, 127), (1, 0), (2, 0)]))) == [(0, 1, 60)]
    assert notes_of(apply_pedal(piece([(0, 1, 60)], [(0.5, 0), (0.5, 127), (2, 0)]))) == [(0, 2, 60)]
    assert notes_of(apply_pedal(piece([(0, 1, 60)], [(0.5, 127), (0.5, 0), (2, 0)]))) == [(0, 1, 60)]


def test_of_two_strikes_at_one_moment_the_louder_one_counts() -> None:
    onset = np.zeros(2)
    for loud in (0, 1):
        velocity = np.array([90 - 40 * loud, 50 + 40 * loud])
        both = remove_overlaps(Performance(onset, np.array([1.0, 2.0]), np.array([60, 60]), velocity, NO_PEDAL))
        assert (both.end.tolist(), both.velocity.tolist()) == ([2], [90])


def test_no_notes() -> None:
    assert len(empty()) == len(apply_pedal(empty())) == len(merge([])) == 0
    assert empty().duration == 0
    none = np.zeros(0)
    only_pedal = Performance(none, none, none, none, np.array([[1.0, 127]]))
    assert len(apply_pedal(only_pedal).pedal) == 0


def test_cut_keeps_what_begins_inside_and_closes_the_pedal() -> None:
    performance = piece([(0, 3, 60), (1, 2, 62), (2, 9, 64), (5, 6, 65)], [(0.5, 100), (1.5, 0), (3, 90), (8, 0)])
    part = cut(performance, 1, 4)
    assert notes_of(part) == [(1, 2, 62), (2, 4, 64)]
    assert part.pedal.tolist() == [[1, 100], [1.5, 0], [3, 90], [4, 0]]
    assert cut(performance, 0, float("inf")).equals(performance)
    assert notes_of(shift_time(part, -1)) == [(0, 1, 62), (1, 3, 64)]
    with pytest.raises(ValueError, match="negative"):
        shift_time(part, -1.5)
    with pytest.raises(ValueError, match="later stop"):
        cut(performance, 2, 1)


times = st.floats(0, 5, allow_nan=False)
note = st.tuples(times, st.floats(0.001, 3), st.integers(58, 62))
pieces = st.builds(
    lambda notes, pedal: piece([(a, a + d, p) for a, d, p in notes], pedal),
    st.lists(note, min_size=1, max_size=20),
    st.lists(st.tuples(times, st.integers(0, 127)), max_size=10),
)


@given(pieces)
def test_sustained_notes_of_a_key_never_overlap(performance: Performance) -> None:
    sounding = apply_pedal(performance)
    for pitch in set(sounding.pitch.tolist()):
        of_key = sounding.pitch == pitch
        assert np.all(sounding.end[of_key][:-1] <= sounding.onset[of_key][1:])
        assert np.all(sounding.end[of_key] > sounding.onset[of_key])
    assert apply_pedal(sounding).equals(sounding)
    assert set(zip(sounding.onset, sounding.pitch, strict=True)) == set(
        zip(performance.onset, performance.pitch, strict=True)
    )


@given(pieces, st.floats(0, 5))
def test_parts_join_to_the_whole(performance: Performance, border: float) -> None:
    parts = merge([cut(performance, 0, border), cut(performance, border, float("inf"))])
    assert np.array_equal(parts.onset, performance.onset)
    assert sorted(parts.pitch.tolist()) == sorted(performance.pitch.tolist())
