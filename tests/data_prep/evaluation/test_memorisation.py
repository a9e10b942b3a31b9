"""The longest match: against a search that tries everything, and on copies planted in random music."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.data_prep import Performance, cut, empty, merge, shift_time
from musicgen.data_prep.dataset.augment import stretch, transpose
from musicgen.data_prep.evaluation.memorisation import longest_match, mark_counted, measure_background
from musicgen.data_prep.evaluation.memorisation_index import (
    BORDER,
    NGRAM,
    Index,
    MemorisationError,
    build_index,
    index_bytes,
    join,
    order_notes,
    read_index,
    title_of,
)

NOTES = 300


def music(seed: int, notes: int = NOTES, low: int = 30, high: int = 90) -> Performance:
    """Random notes and chords, chords 5 ms wide and 60 ms or more apart."""
    rng = np.random.default_rng(seed)
    apart = np.where(rng.random(notes) < 0.3, 0.005, rng.uniform(0.06, 0.4, notes))
    # No three notes of a chord: it would come to 10 ms, and stay far from the 30 ms at which chords end.
    onset = np.cumsum(apart)
    return Performance(onset, onset + 0.1, rng.integers(low, high, notes), np.full(notes, 64), np.zeros((0, 2)))


def spaced(seed: int, notes: int = NOTES) -> Performance:
    """Random notes one at a time."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.06, 0.4, notes))
    return Performance(onset, onset + 0.1, rng.integers(30, 90, notes), np.full(notes, 64), np.zeros((0, 2)))


TRAINING = [("folder/first", "Anon: One", spaced(1)), ("second", "", spaced(2)), ("third", "Ánon: Drei", spaced(3))]
INDEX = build_index(TRAINING)


def planted(copy: Performance, seed: int) -> tuple[Performance, float]:
    """A copy between other notes, and where it begins."""
    before, after = spaced(seed, 100), spaced(seed + 1, 100)
    at = float(before.onset[-1]) + 1
    copy = shift_time(copy, at - float(copy.onset[0]))
    return merge([before, copy, shift_time(after, float(copy.onset[-1]) + 1)]), at


@settings(max_examples=60)
@given(
    piece=st.integers(0, 2),
    start=st.integers(0, NOTES - 151),
    notes=st.integers(NGRAM + 4, 150),
    semitones=st.integers(-20, 20),
    tempo=st.floats(0.75, 4.0),
    seed=st.integers(100, 10_000),
)
def test_a_planted_copy_is_found_wherever_it_is_and_however_it_is_disguised(
    piece: int, start: int, notes: int, semitones: int, tempo: float, seed: int
) -> None:
    name, title, source = TRAINING[piece]
    excerpt = cut(source, source.onset[start], source.onset[start + notes])
    whole, at = planted(stretch(transpose(excerpt, semitones), tempo), seed)
    match = longest_match(whole, INDEX)
    assert match is not None
    assert (match.name, match.title, match.transposition) == (name, title, semitones)
    assert notes <= match.notes <= notes + 12  # chance may lengthen it a little at its ends, over faults
    assert match.length >= 0.8 * notes  # random notes seldom repeat a pattern
    if match.notes == notes:
        assert match.start == pytest.approx(at, abs=0.011)
        assert match.from_start == pytest.approx(source.onset[start], abs=0.011)
        assert match.from_seconds == pytest.approx(excerpt.onset[-1] - excerpt.onset[0], abs=0.021)
        assert match.seconds == pytest.approx(tempo * match.from_seconds, abs=0.1)
        assert match.rhythm == 1.0


@settings(max_examples=30)
@given(seed=st.integers(100, 100_000), chords=st.booleans())
def test_random_music_has_short_matches_only(seed: int, chords: bool) -> None:
    match = longest_match(music(seed) if chords else spaced(seed), INDEX)
    assert match is None or match.length <= 14


@settings(max_examples=40)
@given(seed=st.integers(0, 100_000), spread=st.randoms(use_true_random=False))
def test_the_order_within_a_chord_does_not_matter(seed: int, spread: object) -> None:
    rng = np.random.default_rng(seed)
    chords = np.repeat(np.cumsum(rng.uniform(0.1, 0.5, 60)), 3)
    pitch = rng.integers(30, 90, 180)
    flat, off = np.zeros((0, 2)), np.full(180, 64)
    original = Performance(chords, chords + 0.1, pitch, off, flat)
    late = chords + rng.uniform(0, 0.019, 180)  # 19 ms are at most 2 steps of 10 ms, whatever way they are rounded
    match = longest_match(Performance(late, late + 0.1, pitch, off, flat), build_index([("it", "", original)]))
    assert match is not None and match.notes == 180


def test_a_match_goes_on_over_few_faults_and_ends_at_many() -> None:
    source = TRAINING[0][2]
    pitch = source.pitch.astype(np.int64)
    for wrong, expected in ((3, 97), (4, 50)):
        changed = pitch.copy()
        changed[50 : 50 + wrong] += 13
        copy = cut(replace(source, pitch=changed), 0.0, float(source.onset[100]))
        match = longest_match(copy, INDEX)
        assert match is not None and match.notes == expected, wrong
    added = merge([cut(source, 0.0, float(source.onset[100])), Performance(*extra_note(source, 40))])
    match = longest_match(added, INDEX)
    assert match is not None and match.notes == 100 and match.name == "folder/first"
    left_out = np.arange(100) != 40
    fields = (getattr(source, name)[:100][left_out] for name in ("onset", "end", "pitch", "velocity"))
    match = longest_match(Performance(*fields, source.pedal), INDEX)
    assert match is not None and match.notes == 99


def extra_note(source: Performance, after: int) -> tuple[np.ndarray, ...]:
    onset = source.onset[after : after + 1] + 0.05
    return onset, onset + 0.1, np.array([100]), np.array([64]), source.pedal


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), pitches=st.integers(2, 5))
def test_without_faults_the_longest_is_that_of_a_search_that_tries_everything(seed: int, pitches: int) -> None:
    """Few pitches, so that music agrees by chance often and long."""
    rng = np.random.default_rng(seed)

    def simple(notes: int) -> Performance:
        onset = np.arange(notes) / 10
        return Performance(
            onset, onset + 0.05, rng.integers(60, 60 + pitches, notes), np.full(notes, 64), np.zeros((0, 2))
        )

    training = [(str(i), "", simple(int(rng.integers(1, 60)))) for i in range(4)]
    piece = simple(50)
    counts = mark_counted(order_notes(piece).pitch)
    match = longest_match(piece, build_index(training))
    ours = np.diff(piece.pitch.astype(int))
    best = 0
    for _, _, other in training:
        theirs = np.diff(other.pitch.astype(int))
        for i in range(len(ours)):
            for j in range(len(theirs)):
                length = 0
                while i + length < len(ours) and j + length < len(theirs) and ours[i + length] == theirs[j + length]:
                    length += 1
                # N-grams that are patterns only are not sought: those do not count for this search either.
                if any(counts[k : k + NGRAM + 1].sum() >= 4 for k in range(i, i + length - NGRAM + 1)):
                    best = max(best, int(counts[i : i + length + 1].sum()))
    assert (match.length if match else 0) >= best
    if match is not None:
        assert best > 0


def test_patterns_count_once() -> None:
    chromatic = np.arange(30, 90)
    assert mark_counted(chromatic).sum() == 5  # the first pattern of four steps is five notes
    assert mark_counted(np.full(50, 60)).sum() == 5
    assert mark_counted(np.tile([60, 62], 30)).sum() == 6
    assert mark_counted(np.tile([60, 64, 67, 64], 15)).sum() == 8
    assert mark_counted(np.random.default_rng(0).integers(21, 109, 60)).all()
    rng = np.random.default_rng(1)
    phrase = rng.integers(21, 109, 20)
    between = rng.integers(21, 109, 40)
    assert mark_counted(np.concatenate([phrase, between, phrase])).all()  # a theme that comes back is no pattern


def test_a_match_reaches_into_patterns_that_it_could_not_begin_with() -> None:
    def with_scale(seed: int, before: int) -> Performance:
        told = np.random.default_rng(seed).integers(30, 90, 40)
        pitch = np.concatenate([np.random.default_rng(before).integers(91, 110, 30), np.arange(30, 75), told])
        onset = np.arange(len(pitch)) / 10
        return Performance(onset, onset + 0.1, pitch, np.full(len(pitch), 64), np.zeros((0, 2)))

    match = longest_match(with_scale(1, 2), build_index([("it", "", with_scale(1, 3))]))
    assert match is not None and match.notes == 45 + 40 and match.start == 3.0
    assert 40 <= match.length <= 50


def test_too_few_notes_between_faults_end_a_match() -> None:
    source = TRAINING[0][2]
    for agreeing, expected in ((3, 50), (4, 50 + 4 + 44)):
        pitch = source.pitch.astype(np.int64)
        pitch[50] += 13
        pitch[51 + agreeing] += 13
        match = longest_match(cut(replace(source, pitch=pitch), 0.0, float(source.onset[100])), INDEX)
        assert match is not None
        # With 3 between them neither fault can be passed: what is left of them is longer than what is right of them.
        assert match.notes == expected, agreeing


def test_a_scale_in_both_is_no_match() -> None:
    onset = np.arange(60) / 10
    scale = Performance(onset, onset + 0.1, np.arange(30, 90), np.full(60, 64), np.zeros((0, 2)))
    match = longest_match(scale, build_index([("scale", "", scale)]))
    assert match is None or match.length <= 5


def test_loops_in_both_take_bounded_time_and_memory() -> None:
    rng = np.random.default_rng(5)
    loop = rng.integers(40, 80, 40)  # longer than the memory: every seed is telling, and occurs a thousand times
    pitch = np.tile(loop, 1000)
    onset = np.arange(len(pitch)) / 20
    piece = Performance(onset, onset + 0.04, pitch, np.full(len(pitch), 64), np.zeros((0, 2)))
    half = cut(piece, 0.0, float(onset[20_000]))
    match = longest_match(half, build_index([("loop", "", piece)]))
    assert match is not None and match.notes == len(half)


def test_a_query_takes_less_memory_than_the_index() -> None:
    rng, pieces, notes = np.random.default_rng(6), 100, 5_000
    interval, gap = rng.integers(-30, 31, pieces * notes, np.int8), rng.integers(0, 50, pieces * notes, np.uint16)
    interval[::notes] = BORDER
    offsets, names = np.arange(0, pieces * notes + 1, notes), ("other",) * pieces
    index = join(INDEX, Index(interval, gap, np.full(pieces, 60, np.uint8), offsets, names, names, INDEX.background))
    tracemalloc.start()
    try:
        match = longest_match(TRAINING[1][2], index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert match is not None and match.notes == NOTES
    assert peak / len(index.interval) < 8  # bytes; the index itself has 3


def test_pieces_left_out_and_borders_between_pieces() -> None:
    whole = TRAINING[1][2]
    assert longest_match(whole, INDEX).notes == NOTES  # type: ignore[union-attr]
    assert longest_match(whole, INDEX).seconds == pytest.approx(whole.onset[-1] - whole.onset[0], abs=0.02)  # type: ignore[union-attr]
    other = longest_match(whole, INDEX, without=["second"])
    assert other is None or other.name != "second"
    halves = build_index([("a", "", cut(whole, 0, whole.onset[150])), ("b", "", cut(whole, whole.onset[150], 1e9))])
    match = longest_match(whole, halves)
    assert match is not None and match.notes == 150  # no match runs from one piece into the next


@pytest.mark.parametrize("notes", [0, 1, 2, NGRAM, NGRAM + 1])
def test_little_music(notes: int) -> None:
    few = cut(TRAINING[0][2], 0.0, float(TRAINING[0][2].onset[notes]))
    assert len(few) == notes
    match = longest_match(few, INDEX)
    assert match is None if notes <= NGRAM else match is not None and match.notes == notes
    assert longest_match(TRAINING[0][2], build_index([("few", "", few)])) is None or notes > NGRAM


def test_an_index_holds_all_notes() -> None:
    index = build_index([*TRAINING, ("silence", "", empty())])
    assert index.names == ("folder/first", "second", "third")
    for piece, (_, _, performance) in enumerate(TRAINING):
        part = slice(*index.offsets[piece : piece + 2].tolist())
        notes = order_notes(performance)
        assert np.array_equal(index.pitches(piece), notes.pitch)
        assert np.array_equal(index.steps(piece), notes.step)
        assert index.interval[part][0] == BORDER
        assert [index.piece_at(note) for note in (part.start, part.stop - 1)] == [piece, piece]


def test_an_index_survives_its_file(tmp_path: Path) -> None:
    index = replace(INDEX, background=np.array([3, 7], np.int32))
    content = index_bytes(index)
    assert content == index_bytes(index)
    path = tmp_path / "memorisation.npz"
    path.write_bytes(content)
    back = read_index(path)
    for name in ("interval", "gap", "first", "offsets", "background"):
        assert np.array_equal(getattr(back, name), getattr(index, name)), name
        assert getattr(back, name).dtype == getattr(index, name).dtype, name
    assert (back.names, back.titles) == (index.names, index.titles)
    assert longest_match(TRAINING[2][2], back) == longest_match(TRAINING[2][2], INDEX)


KNOWN = st.text(st.characters(exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
MISSING = st.sampled_from(["", "  ", None])


@given(composer=KNOWN, title=KNOWN, missing=MISSING)
def test_a_piece_is_called_by_what_is_known(composer: str, title: str, missing: str | None) -> None:
    assert title_of(composer, title) == f"{composer}: {title}"
    assert title_of(composer, missing) == composer and title_of(missing, title) == title
    assert title_of(missing, missing) == ""


@pytest.mark.parametrize(
    ("composer", "title", "called"),
    [
        ("", "", ""),
        ("", "Circles", "Circles"),
        ("Anon", "", "Anon"),
        ("Anon", "Circles", "Anon: Circles"),
        ("", "Études: Op. 10: No. 1", "Études: Op. 10: No. 1"),
        ("Anon", "Études: Op. 10: No. 1", "Anon: Études: Op. 10: No. 1"),
        ("", "To be continued:", "To be continued:"),
    ],
)
def test_an_index_says_no_separator_where_a_half_is_missing(
    composer: str, title: str, called: str, tmp_path: Path
) -> None:
    """Whether its titles are written as they are now, or as they were in the index of `piano`."""
    path = tmp_path / "memorisation.npz"
    for written in (title_of(composer, title), f"{composer}: {title}"):
        path.write_bytes(index_bytes(replace(INDEX, titles=(written, "between", written))))
        assert read_index(path).titles == (called, "between", called)


def test_an_empty_index_is_one(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    path.write_bytes(index_bytes(build_index([])))
    assert longest_match(spaced(9), read_index(path)) is None


@settings(max_examples=60)
@given(at=st.floats(0, 1), value=st.integers(0, 255), cut_off=st.booleans())
def test_a_damaged_index_is_one_line_or_an_index(at: float, value: int, cut_off: bool, tmp_path_factory) -> None:
    content = bytearray(index_bytes(INDEX))
    place = int(at * (len(content) - 1))
    if cut_off:
        del content[place:]
    else:
        content[place] = value
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    path.write_bytes(content)
    try:
        index = read_index(path)
    except MemorisationError as error:
        assert "\n" not in str(error) and "--build-index" in str(error)
    else:
        assert isinstance(index, Index)  # a byte that does not matter, such as a date


def test_other_files_are_no_index(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    for content in (b"", b"MThd", _npz(interval=np.zeros(3)), _npz(format=np.frombuffer(b"other/2", np.uint8))):
        path.write_bytes(content)
        with pytest.raises(MemorisationError, match=r"build"):
            read_index(path)
    with pytest.raises(FileNotFoundError):
        read_index(tmp_path / "missing.npz")


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_the_background_is_measured_in_equal_parts() -> None:
    long = spaced(50, 2000)  # about 460 s: three parts of 120 s, and a fourth that is more than half of one
    assert 420 < long.onset[-1] < 480
    told: list[int] = []
    lengths = measure_background([long, spaced(51, 20), TRAINING[0][2], empty()], INDEX, told.append)
    assert told == [1, 2, 3, 4]
    assert len(lengths) == 5  # the second and fourth piece are too short
    assert lengths[-1] > 250 and lengths[-2] <= 14 and np.all(np.diff(lengths) >= 0)
