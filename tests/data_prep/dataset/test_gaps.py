"""A piece comes back from its gap, and what is given says nothing of what was taken out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.data_prep.dataset.gaps import (
    AFTER,
    AHEAD,
    BEFORE,
    END,
    FILL,
    GAP,
    MOST_SECONDS,
    SECOND,
    TAIL,
    Gap,
    Steps,
    example,
    in_steps,
    skyline,
    streams,
)
from musicgen.data_prep.performance import NO_PEDAL, Performance
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import BOS, EOS, GAPS, NOTE_ON, TIME_SHIFT, VELOCITY, VOCABULARY_2

from .gap_reader import notes_of

STYLE = VOCABULARY_2.first("style")


@st.composite
def performances(draw: st.DrawFn, most: int = 40) -> Performance:
    n = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    onset = np.sort(rng.uniform(0, draw(st.sampled_from([0.3, 3.0, 20.0])), n)).round(3)
    low = draw(st.sampled_from([21, 58]))  # few keys: many are struck again
    end = onset + rng.exponential(1.0, n) + 0.001
    return Performance(
        onset, end, rng.integers(low, low + 12 if low == 58 else 109, n), rng.integers(1, 128, n), NO_PEDAL
    )


@st.composite
def regions(draw: st.DrawFn, kinds: tuple[str, ...] = GAPS) -> Gap:
    start = draw(st.integers(0, 1_500))
    kind = draw(st.sampled_from(kinds))
    return Gap(start, start + draw(st.integers(1, 1_000)), kind, 50, 60)


def stay(notes: Steps, gap: Gap, seed: int) -> np.ndarray:
    chosen = np.random.default_rng(seed).random(len(notes.start)) < 0.5
    return chosen & (gap.kind != "whole")


def as_set(notes: Steps, fill: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.column_stack([*notes, fill]).tolist()))


@given(performances())
def test_one_stream_is_what_encode_writes(performance: Performance) -> None:
    notes = in_steps(performance)
    at = np.zeros(len(notes.start), np.int64)
    assert streams(notes, at, at, np.zeros(1, np.int64), at[:1] if len(at) else np.zeros(1, np.int64))[0].tolist() == (
        encode(performance).tolist()
    )


@given(performances(), regions(tuple(kind for kind in GAPS if kind != "blind")), st.integers(0, 99))
@settings(max_examples=300)
def test_the_piece_comes_back(performance: Performance, gap: Gap, seed: int) -> None:
    notes = in_steps(performance)
    stays = stay(notes, gap, seed)
    made = example(notes, gap, stays, style=[STYLE])
    back, fill = notes_of(made.tokens)
    taken = (notes.start >= gap.start) & (notes.start < gap.stop) & ~stays
    assert as_set(back, fill) == as_set(notes, taken)
    # What stays is given word for word, of the fill every token is to be predicted.
    filled = np.zeros(len(made.tokens), bool)
    for i in np.flatnonzero(made.tokens == FILL):
        past = i + 1
        while made.tokens[past] < STYLE:
            past += 1
        filled[i + 1 : past + 1] = True  # and that the second's fill is over
    assert not made.given[filled].any()
    region = np.arange(len(made.tokens)) > np.flatnonzero(made.tokens == BEFORE)[0]
    marks = region & (made.tokens >= STYLE) & ~filled
    assert made.given[marks].all()


@given(performances(), performances(), regions(), st.sampled_from(["all", "stays", "none"]), st.integers(0, 99))
@settings(max_examples=300)
def test_what_is_given_says_nothing_of_what_was_taken_out(
    performance: Performance, other: Performance, gap: Gap, after: str, seed: int
) -> None:
    """The same piece with other notes taken out: all but the fill and its own ends is the same, token for token."""
    gap = gap._replace(after=after)
    notes, others = in_steps(performance), in_steps(other)
    stays = stay(notes, gap, seed)
    inside = (notes.start >= gap.start) & (notes.start < gap.stop)
    left = Steps(*(x[~inside | stays] for x in notes))
    rest = left.pitch  # others must not end what stays: take keys of their own
    new = (others.start >= gap.start) & (others.start < gap.stop) & ~np.isin(others.pitch, rest)

    def with_fill(fill: Steps) -> Steps:
        both = [np.concatenate(pair) for pair in zip(left, fill, strict=True)]
        order = np.lexsort((both[2], both[0]))
        return Steps(*(x[order] for x in both))

    def shown(fill: Steps) -> list[int]:
        together = with_fill(fill)
        mark = np.column_stack(left)[:, [0, 2]].tolist()
        stayed = np.array([[s, p] in mark for s, p in zip(together.start, together.pitch, strict=True)], bool)
        keep = stayed if gap.kind != "whole" else np.zeros(len(stayed), bool)
        made = example(together, gap, keep)
        tokens, own = made.tokens.tolist(), False
        found = []
        for token in tokens:
            own = token == FILL or (own and token < STYLE)
            if not own or token == FILL:
                found.append(token)
        return found

    empty = Steps(*(np.zeros(0, np.int64) for _ in range(4)))
    assert shown(Steps(*(x[new] for x in others))) == shown(empty)


def test_a_row_reads_as_the_module_says() -> None:
    """Four notes; the second and third begin in a region of 1.5 s, and the lower one of these stays."""
    notes = Steps(*np.array([[0, 50, 60, 9], [110, 130, 62, 10], [220, 400, 50, 11], [300, 320, 64, 12]]).T)
    gap = Gap(100, 250, "band", 55, 127)
    made = example(notes, gap, notes.pitch < 55, style=[STYLE])
    on, off, shift, v = NOTE_ON, NOTE_ON + 128, TIME_SHIFT - 1, VELOCITY - 1
    assert made.tokens.tolist() == [
        *[AFTER, shift + 50, v + 12, on + 64, shift + 20, off + 64, EOS],
        *[BEFORE, BOS, STYLE, v + 9, on + 60, shift + 50, off + 60, shift + 50],
        *[GAP + 1, on + 55, on + 127, shift + 50],
        *[SECOND + 1, FILL, shift + 10, v + 10, on + 62, shift + 20, off + 62],
        *[SECOND, shift + 20, v + 11, on + 50, FILL],
        *[TAIL, shift + 100, shift + 50, off + 50, FILL, END],
    ]
    ahead = example(notes, gap._replace(after="stays"), notes.pitch < 55)
    assert ahead.tokens[:2].tolist() == [AHEAD, EOS] and ahead.given[:2].all()
    short = example(notes, gap, notes.pitch < 55, most_before=2, most_after=3)
    assert short.tokens[:7].tolist() == [*[AFTER, shift + 50, v + 12, on + 64], *[BEFORE, shift + 50, off + 60]]


def test_seconds_are_counted_down_and_the_count_has_an_end() -> None:
    notes = Steps(*np.array([[0, 50, 60, 9]]).T)
    long = example(notes, Gap(0, 100 * (MOST_SECONDS + 2)), np.zeros(1, bool))
    counted = [t - SECOND + 1 for t in long.tokens.tolist() if SECOND <= t < SECOND + MOST_SECONDS]
    assert counted == [MOST_SECONDS] * 3 + list(range(MOST_SECONDS - 1, 0, -1))


@pytest.mark.parametrize("lowest", [False, True])
def test_the_outer_voice(lowest: bool) -> None:
    start = np.array([0, 2, 40, 100, 102])
    pitch = np.array([60, 72, 65, 50, 48])
    notes = Steps(start, start + 30, pitch, np.ones(5, np.int64))
    voice = [True, False, False, False, True] if lowest else [False, True, False, True, False]
    assert skyline(notes, 50, lowest=lowest).tolist() == voice
    assert skyline(Steps(*(x[:0] for x in notes)), 50).tolist() == []
