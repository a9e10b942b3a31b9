"""Rows are music of the corpora they are said to be of, whole windows of it or with gaps."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.gaps import AFTER, AHEAD, BEFORE, END, GAP, SECOND, in_steps
from musicgen.data_prep.dataset.mixture import MOOD, STYLE, Corpus, Mixing, Rows, Slice
from musicgen.data_prep.performance import NO_PEDAL, Performance
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import BOS, EOS, PAD, STYLES

from .gap_reader import notes_of

N = 700


def corpus(style: str, weight: float, low: int, mood: int = 0, grid: bool = False) -> Corpus:
    """Three pieces of some 900, 300 and 12 notes on keys of their own, so that a row tells where it is from."""
    rng = np.random.default_rng(low)
    counts = [900, 300, 12]
    onset = np.concatenate([np.sort(rng.uniform(0.2, n / 8, n)).round(3) for n in counts])
    pitch = rng.integers(low, low + 16, len(onset)).astype(np.uint8)
    end = onset + rng.exponential(0.4, len(onset)).round(3) + 0.01
    velocity = rng.integers(1, 128, len(onset)).astype(np.uint8)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    order = np.concatenate([p + np.lexsort((pitch[p:q], onset[p:q])) for p, q in itertools.pairwise(offsets)])
    columns = (onset[order], end[order], pitch[order], velocity[order], pitch[order] == low)
    return Corpus(style, weight, 1 - weight, *columns, offsets, np.full(3, mood), grid)


CORPORA = (corpus("classical", 0.75, 30), corpus("pop", 0.25, 70, mood=3))


def of_whom(token: int) -> int:
    """Which corpus a note-on is of."""
    return int(token - 3 >= 60)


def pieces_of(corpus: Corpus) -> list[list[int]]:
    found = []
    for first, past in itertools.pairwise(corpus.offsets):
        part = slice(first, past)
        music = (corpus.onset[part], corpus.end[part], corpus.pitch[part], corpus.velocity[part])
        found.append([BOS, *encode(Performance(*music, NO_PEDAL)).tolist(), EOS])
    return found


def notes_in(corpus: Corpus, ends: tuple[int, int]) -> set[tuple[int, int, int]]:
    """Pitch, velocity bin and length of the notes of a piece."""
    part = slice(*ends)
    notes = in_steps(
        Performance(corpus.onset[part], corpus.end[part], corpus.pitch[part], corpus.velocity[part], NO_PEDAL)
    )
    return set(zip(notes.pitch.tolist(), notes.bin.tolist(), (notes.end - notes.start).tolist(), strict=True))


def test_plain_rows_are_windows_of_the_pieces() -> None:
    """The end of a row is a slice of the piece as it is encoded, but for what began before the notes looked at."""
    rows, rng = Rows(CORPORA, N, None, Mixing(style=0)), np.random.default_rng(0)
    texts = ["," + ",".join(map(str, piece)) + "," for one in CORPORA for piece in pieces_of(one)]
    ends, first = 0, []
    for _ in range(60):
        row = rows.plain(rng)
        assert row.shape == (N + 1,) and row.dtype == np.int16
        tokens = np.where(row < 0, ~row, row)
        assert set(tokens[row < 0].tolist()) <= {BOS}
        starts = np.flatnonzero(tokens == BOS)
        last = tokens[starts[-1] if len(starts) else 0 :]
        assert any("," + ",".join(map(str, last.tolist())) + "," in text for text in texts)
        ends += last[-1] == EOS
        ons = last[(last >= 3) & (last < 131)]
        first += [of_whom(int(ons[0]))] if len(ons) else []
    assert ends < 30
    assert 0.55 < 1 - np.mean(first) < 0.92


def test_styles_follow_bos_and_are_those_of_the_music() -> None:
    rows, rng = Rows(CORPORA, N, None, Mixing(style=1.0, mood=0.5, told=1.0)), np.random.default_rng(1)
    seen = set()
    for _ in range(80):
        row = rows.plain(rng)
        tokens = np.where(row < 0, ~row, row)
        for i in np.flatnonzero(tokens >= STYLE):
            token = int(tokens[i])
            assert row[i] < 0, "a style is given"
            if token >= MOOD:
                assert token == MOOD + 2 and tokens[i - 1] == STYLE + STYLES.index("pop")
                continue
            assert i == 0 or tokens[i - 1] == BOS
            ons = tokens[i:][(tokens[i:] >= 3) & (tokens[i:] < 131)]
            if len(ons):
                assert STYLES[token - STYLE] == ("pop" if of_whom(int(ons[0])) else "classical")
            seen.add((token, i == 0))
    assert len(seen) == 4


@pytest.mark.parametrize("augmentation", [None, Augmentation(2, 0.1, 0.1, 5, 0.003)], ids=["as played", "augmented"])
def test_rows_with_gaps_hold_whole_examples(augmentation: Augmentation | None) -> None:
    """The last example of a row is whole, and where nothing was augmented its notes are the corpus'."""
    rows, rng = Rows(CORPORA, N, augmentation, Mixing(longest=300)), np.random.default_rng(2)
    kinds = set()
    for _ in range(120):
        row = rows.gaps(rng)
        assert row.shape == (N + 1,) and row.dtype == np.int16
        tokens = np.where(row < 0, ~row, row)
        assert tokens[-1] == END and row[-1] == END and tokens.min() > PAD
        begin = int(np.flatnonzero(tokens == BEFORE)[-1])
        after = np.flatnonzero((tokens[:begin] == AFTER) | (tokens[:begin] == AHEAD))
        kinds.update((tokens[(tokens >= GAP) & (tokens < SECOND)] - GAP).tolist())
        last = tokens[int(after[-1]) if len(after) else begin :]
        if augmentation is None and (tokens == END).sum() == 1 and len(after) < 2:
            back, fill = notes_of(last)
            assert fill.sum() > 0
            pitches = {of_whom(int(p) + 3) for p in back.pitch}
            assert len(pitches) == 1
            whole = [notes_in(one, part) for one in CORPORA for part in itertools.pairwise(one.offsets)]
            mine = list(zip(back.pitch.tolist(), back.bin.tolist(), (back.end - back.start).tolist(), strict=True))
            share = max(np.mean([note in found for note in mine]) for found in whole)
            assert share > 0.85 or len(mine) < 12  # an end beyond what is told is not that of the piece
    assert kinds == set(range(6))


def test_rows_with_gaps_have_shares_of_their_own() -> None:
    rows, rng = Rows(CORPORA, N, None), np.random.default_rng(3)
    assert np.mean([rows.draw(rng)[0] is CORPORA[0] for _ in range(400)]) > 0.65
    assert np.mean([rows.draw(rng, gap=True)[0] is CORPORA[0] for _ in range(400)]) < 0.35


def test_notes_on_a_grid_stay_on_it() -> None:
    """Jitter of a second moves those of the other corpus alone."""
    free, fixed = corpus("pop", 0.5, 70), corpus("pop", 0.5, 70, grid=True)
    rng, shaken = np.random.default_rng(4), Augmentation(0, 0.0, 0.0, 0, 1.0)
    played = Slice(Rows([fixed], N, None), fixed, 400, 200, 40, rng).steps.start
    for one, same in ((fixed, True), (free, False)):
        assert np.array_equal(Slice(Rows([one], N, shaken), one, 400, 200, 40, rng).steps.start, played) is same


def test_rows_depend_on_the_generator_alone() -> None:
    rows = Rows(CORPORA, N, Augmentation())
    again = pickle.loads(pickle.dumps(rows))
    for name in ("plain", "gaps"):
        one, other, third = (getattr(r, name)(np.random.default_rng(s)) for r, s in ((rows, 5), (again, 5), (rows, 6)))
        assert np.array_equal(one, other) and not np.array_equal(one, third)


def test_corpora_are_drawn_by_their_weights() -> None:
    heavy = dataclasses.replace(CORPORA[0], weight=3.0)
    assert Rows((heavy, CORPORA[1]), N, None).shares == pytest.approx([3 / 3.25, 0.25 / 3.25])
