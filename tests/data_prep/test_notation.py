"""Notes written down: bars that add up, lengths that are kept, beams and triplets where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.notation import (
    LEFT,
    PARTS,
    PLAIN,
    REST,
    RIGHT,
    TRIPLET,
    Metre,
    Notation,
    TooLong,
    beams,
    brackets,
    notate,
)

COMMON = Metre(0, 4, 4)


def written(
    *notes: tuple[float, float, int, int], metres: tuple[Metre, ...] = (COMMON,), guessed: bool = False
) -> Notation:
    """Of (quarter, length, pitch, staff)."""
    onset, length, pitch, staff = (np.array(column) for column in zip(*sorted(notes), strict=True))
    return notate(onset.astype(float), (onset + length).astype(float), pitch, staff, metres, guessed=guessed)


def check_drawn(notation: Notation) -> None:
    """Everything lies in one bar and has a length that can be drawn; the first voice of each staff has no gaps."""
    edges = [bar.start for bar in notation.bars]
    for symbol in notation.symbols:
        bar = notation.bars[int(np.searchsorted(edges, symbol.start, side="right")) - 1]
        assert bar.start <= symbol.start < symbol.stop <= bar.stop
        table = TRIPLET if symbol.triplet else PLAIN
        assert table[symbol.stop - symbol.start] == (symbol.kind, symbol.dots)
    for voice in (1, 5):
        spans = sorted({(symbol.start, symbol.stop) for symbol in notation.symbols if symbol.voice == voice})
        assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
        assert spans[-1][1] == notation.bars[-1].stop


def whole_notes(notation: Notation) -> list[tuple[int, int, int]]:
    """Symbols with their ties followed, as (start, stop, pitch)."""
    found: list[tuple[int, int, int]] = []
    sounding: dict[tuple[int, int], int] = {}
    for symbol in notation.symbols:
        if symbol.pitch == REST:
            continue
        key = (symbol.voice, symbol.pitch)
        begin = sounding.pop(key) if symbol.tied_back else symbol.start
        if symbol.tied_on:
            sounding[key] = begin
        else:
            found.append((begin, symbol.stop, symbol.pitch))
    assert not sounding
    return sorted(found)


def test_a_note_over_the_bar_line_is_tied() -> None:
    notation = written((0, 3, 60, RIGHT), (3, 2.5, 64, RIGHT))
    drawn = [(s.start / PARTS, s.kind, s.dots, s.tied_back, s.tied_on) for s in notation.symbols if s.pitch == 64]
    assert drawn == [(3, "quarter", 0, False, True), (4, "quarter", 1, True, False)]
    assert len(notation.bars) == 2


def test_triplets_stand_beside_quavers() -> None:
    thirds = [(1 + n / 3, 1 / 3, 60 + n, RIGHT) for n in range(3)]
    notation = written((0, 0.5, 70, RIGHT), (0.5, 0.5, 71, RIGHT), *thirds, (2, 2, 60, RIGHT))
    notes = [s for s in notation.symbols if s.voice == 1]
    assert [s.triplet for s in notes] == [False, False, True, True, True, False]
    assert notation.triplets == {1}
    assert [(notation.symbols[a].start, notation.symbols[b].stop) for a, b in brackets(notation)] == [(24, 48)]


def test_beams_join_what_lies_in_one_pulse() -> None:
    eighths = [(n / 2, 0.5, 60 + n, RIGHT) for n in range(6)]
    waltz = written(*eighths, metres=(Metre(0, 3, 4),))
    assert [beams(waltz)[1, n * 12] for n in range(6)] == [["begin"], ["end"]] * 3
    jig = written(*eighths, metres=(Metre(0, 6, 8),))
    assert [beams(jig)[1, n * 12] for n in range(6)] == [["begin"], ["continue"], ["end"]] * 2


def test_a_dotted_pair_has_a_hook() -> None:
    notation = written((0, 0.75, 60, RIGHT), (0.75, 0.25, 62, RIGHT))
    assert beams(notation) == {(1, 0): ["begin"], (1, 18): ["end", "backward hook"]}


def test_a_metre_that_changes_ends_the_bar() -> None:
    notation = written(*((n, 1, 60, RIGHT) for n in range(10)), metres=(Metre(0, 4, 4), Metre(6 * PARTS, 3, 4)))
    assert [(bar.stop - bar.start) / PARTS for bar in notation.bars] == [4, 2, 3, 3]


def test_a_guessed_beat_joins_what_nearly_touches() -> None:
    notation = written((0.02, 0.8, 60, RIGHT), (1.04, 1.1, 62, RIGHT), (1.97, 0.9, 64, RIGHT), guessed=True)
    assert whole_notes(notation) == [(0, 24, 60), (24, 48, 62), (48, 66, 64)]  # the last one has nothing to touch


def test_more_bars_than_anybody_reads() -> None:
    with pytest.raises(TooLong):
        written((0, 1, 60, RIGHT), (1e6, 1, 60, RIGHT))


span = st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(40, 80), st.sampled_from([RIGHT, LEFT]))


@given(st.lists(span, min_size=1, max_size=12), st.sampled_from([(4, 4), (3, 4), (6, 8), (5, 8), (2, 2)]))
def test_semiquavers_keep_their_lengths_and_bars_add_up(spans: list, metre: tuple[int, int]) -> None:
    """As long as a staff has voices enough."""
    notes = {(start, pitch, staff): (start / 4, length / 4, pitch, staff) for start, length, pitch, staff in spans}
    notation = written(*notes.values(), metres=(Metre(0, *metre),))
    check_drawn(notation)
    begins = sorted((round(a * PARTS), pitch) for a, _, pitch, _ in notes.values())
    found = whole_notes(notation)
    assert sorted((start, pitch) for start, _, pitch in found) == begins
    sounding = max(
        sum(a <= now < a + b for a, b, _, own in notes.values() if own == staff) for now, _, _, staff in notes.values()
    )
    if sounding <= 4:
        assert found == sorted((round(a * PARTS), round((a + b) * PARTS), p) for a, b, p, _ in notes.values())


@given(
    st.lists(
        st.tuples(st.floats(0, 40), st.floats(0.05, 6), st.integers(30, 90), st.sampled_from([RIGHT, LEFT])),
        min_size=1,
        max_size=20,
    ),
    st.booleans(),
)
def test_whatever_is_played_can_be_drawn(notes: list, guessed: bool) -> None:
    check_drawn(written(*notes, metres=(Metre(0, 3, 4),), guessed=guessed))
