"""How much of a piece is copied: its longest match with the pieces of a data set, in any transposition and tempo.

What is compared: notes in order of onset, those of one chord (within 30 ms of its first) in order of pitch, so that
neither a transposition, nor a tempo, nor the spread of a chord changes the sequence of steps from pitch to pitch.

What a match is: notes of the piece and of one training piece that agree, one after the other, at one transposition.
It begins from 9 notes that agree without a fault and goes on over places where up to 3 notes on either side differ
(an added, left-out or changed note, a chord whose notes fell apart), as long as 4 notes agree again behind them.

How long it is: the notes that agree, less those that continue a pattern. Scales, trills, repeated notes and broken
chords are in every piece; a note counts only if its last four steps have not occurred within the 32 notes before it.
What music of other composers has in common with the training set anyway is for the caller to measure and subtract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from musicgen.data_prep.evaluation.memorisation_index import BORDER, NGRAM, Index, Notes, hash_ngrams, order_notes
from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.performance import Performance, cut

FAULTS = 3  # notes in a row, on either side, that may differ within a match
RESUMED = 4  # notes that must agree behind them
PATTERN = 4  # intervals of a pattern
MEMORY = 32  # notes within which a pattern counts once
TELLING = 4  # counted notes that an n-gram must have: a match all of scales is found by nothing, and counts for nothing
REPEATS = 64  # places at which one n-gram of the piece is tried
CANDIDATES = 200  # faultless matches that are continued over faults, the longest first
BLOCK = 1 << 16  # n-grams of the index that are hashed at a time: all of them would take four times its memory
PAIRS = 1 << 20  # n-grams held at a time
BACKGROUND_SECONDS = 120.0
_PAST_THE_END = 999  # no interval at all
_GAPS = sorted(
    ((a, b) for a in range(FAULTS + 1) for b in range(FAULTS + 1) if a or b), key=lambda gap: (sum(gap), gap)
)


@dataclass(frozen=True)
class Match:
    """Where a piece and a training piece agree longest.

    length: the notes that count. notes: all that agree. start, seconds: where in the piece, and from the first onset to
    the last. name, title: the training piece; in it, from_start and from_seconds. transposition: semitones from the
    training piece to this one. rhythm: the share of the times between onsets that agree to a quarter (or to 20 ms),
    tempo aside.
    """

    length: int
    notes: int
    start: float
    seconds: float
    name: str
    title: str
    from_start: float
    from_seconds: float
    transposition: int
    rhythm: float


def mark_counted(pitch: np.ndarray) -> np.ndarray:
    """bool[n]: which notes continue no pattern of the MEMORY notes before."""
    counts = np.ones(len(pitch), np.bool_)
    if len(pitch) <= PATTERN:
        return counts
    steps = (np.diff(pitch) & 255).astype(np.int64)
    pattern = np.zeros(len(steps) - PATTERN + 1, np.int64)
    for place in range(PATTERN):
        pattern = pattern << 8 | steps[place : len(steps) - PATTERN + 1 + place]
    order = np.argsort(pattern, kind="stable")
    again = (np.diff(pattern[order]) == 0) & (np.diff(order) <= MEMORY)
    counts[order[1:][again] + PATTERN] = False
    return counts


def longest_match(performance: Performance, index: Index, *, without: Sequence[str] = ()) -> Match | None:
    """The longest match of a piece with the index, or None if they share no n-gram.

    Of equally long ones the first in the index. `without` names pieces that do not count, such as the piece itself.
    """
    notes = order_notes(performance)
    if len(notes.pitch) <= NGRAM or len(index.interval) <= NGRAM:
        return None
    interval = np.diff(notes.pitch, prepend=0)
    interval[0] = BORDER
    counts = np.concatenate([[0], np.cumsum(mark_counted(notes.pitch))])
    i, j, length = _find_exact_runs(interval, counts, index, [index.names.index(name) for name in without])
    # `length` intervals from i on lie between notes i - 1 and i + length - 1.
    order = np.lexsort((j, -length, -(counts[i + length] - counts[i - 1])))[:CANDIDATES]
    best: tuple[tuple[int, int, int], np.ndarray] | None = None
    seen = np.zeros((0, 3), np.int64)
    for at, to, steps in zip(i[order].tolist(), j[order].tolist(), length[order].tolist(), strict=True):
        begins, diagonal, lasts = seen[:, 0], seen[:, 1] - seen[:, 0], seen[:, 2]
        if np.any((diagonal == to - at) & (begins < at) & (at <= begins + lasts)):
            continue
        runs = _extend_over_faults(notes.pitch, index, at - 1, to - 1, steps + 1)
        seen = np.concatenate([seen, runs])
        length_counted = int((counts[runs[:, 0] + runs[:, 2]] - counts[runs[:, 0]]).sum())
        score = (length_counted, int(runs[:, 2].sum()), -int(runs[0, 1]))
        if best is None or score > best[0]:
            best = score, runs
    return _describe(best[0][0], best[1], notes, index) if best is not None else None


def measure_background(
    pieces: Iterable[Performance], index: Index, on_piece: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """i32[k], ascending: the longest match of every BACKGROUND_SECONDS of pieces that are not in the index.

    on_piece: told how many pieces are done.
    """
    lengths = []
    for count, piece in enumerate(pieces, start=1):
        for start in np.arange(0, piece.onset[-1] if len(piece) else 0, BACKGROUND_SECONDS):
            part = cut(piece, start, start + BACKGROUND_SECONDS)
            if len(part) and part.onset[-1] - start >= BACKGROUND_SECONDS / 2:  # no short remainders
                match = longest_match(part, index)
                lengths.append(match.length if match else 0)
        on_piece(count)
    return np.sort(np.array(lengths, np.int32))


def _find_exact_runs(
    interval: np.ndarray, counts: np.ndarray, index: Index, without: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(i, j, length), i64 each: all longest runs of equal intervals that hold a telling n-gram."""
    keys = hash_ngrams(interval.astype(np.int8))
    telling = counts[NGRAM + 1 :] - counts[: -NGRAM - 1] >= TELLING  # of the notes i .. i + NGRAM
    places = np.flatnonzero(telling) + 1  # the interval before note i + 1 is the n-gram's first
    places = places[np.argsort(keys[places], kind="stable")]
    rank = np.arange(len(places)) - np.searchsorted(keys[places], keys[places])
    places = places[rank < REPEATS]
    if not len(places):
        return (np.zeros(0, np.int64),) * 3
    sought = keys[places]
    table = np.zeros(1 << 20, np.bool_)
    table[sought >> np.uint32(12)] = True
    found = []
    for at in range(0, len(index.interval), BLOCK):
        theirs = hash_ngrams(index.interval[at : at + BLOCK + NGRAM - 1])
        place = np.flatnonzero(table[theirs >> np.uint32(12)])
        low = np.searchsorted(sought, theirs[place])
        found.append((at + place, low, np.searchsorted(sought, theirs[place], side="right") - low))
    hits, low, many = (np.concatenate(column) for column in zip(*found, strict=True))
    for piece in without:
        many[(hits >= index.offsets[piece]) & (hits < index.offsets[piece + 1])] = 0
    hits, low, many = hits[many > 0], low[many > 0], many[many > 0]
    padded = np.append(interval, np.full(1, _PAST_THE_END))
    padded[0] = _PAST_THE_END
    tried = np.zeros(len(interval) + 1, np.bool_)
    tried[places] = True
    parts = []
    for part in np.split(np.arange(len(hits)), np.flatnonzero(np.diff(np.cumsum(many) // PAIRS)) + 1):
        j = np.repeat(hits[part], many[part])
        within = np.arange(len(j)) - np.repeat(np.cumsum(many[part]) - many[part], many[part])
        i = places[np.repeat(low[part], many[part]) + within]
        new = ~(tried[i - 1] & (padded[i - 1] == index.interval[j - 1]))  # else the run has an n-gram further left
        parts.append(_extend_exactly(padded, index.interval, i[new], j[new]))
    runs = np.concatenate(parts, axis=1)
    once = np.unique(runs[0] * len(index.interval) + runs[1], return_index=True)[1]  # two n-grams may be in one run
    return runs[0][once], runs[1][once], runs[2][once]


def _extend_exactly(padded: np.ndarray, theirs: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """i64[3, runs]: the longest runs of equal intervals around the places i and j, those of at least an n-gram."""
    theirs = np.append(theirs, np.int8(BORDER))
    reach = []
    for direction, first in ((1, 0), (-1, -1)):
        length = np.zeros(len(i), np.int64)
        alive, step = np.arange(len(i)), first
        while len(alive):
            alive = alive[padded[i[alive] + step] == theirs[j[alive] + step]]
            length[alive] += 1
            step += direction
        reach.append(length)
    keep = reach[0] >= NGRAM  # less: two n-grams with the same hash
    return np.stack([i - reach[1], j - reach[1], reach[0] + reach[1]])[:, keep]


def _extend_over_faults(pitch: np.ndarray, index: Index, i: int, j: int, count: int) -> np.ndarray:
    """i64[runs, 3]: where runs of equal notes begin here and there, and how many, around `count` from i and j on."""
    piece = index.piece_at(j)
    begin, there = int(index.offsets[piece]), index.pitches(piece)
    j -= begin
    here = pitch + (int(there[j]) - int(pitch[i]))
    behind = [(i - a - same, j - b - same, same) for a, b, same in _extend(here[:i][::-1], there[:j][::-1])]
    ahead = [(i + count + a, j + count + b, same) for a, b, same in _extend(here[i + count :], there[j + count :])]
    return np.array([*reversed(behind), (i, j, count), *ahead], np.int64) + np.array([0, begin, 0])


def _extend(here: np.ndarray, there: np.ndarray) -> list[tuple[int, int, int]]:
    """(a, b, how many): runs of notes that agree, over faults, from the beginning of both on."""
    runs: list[tuple[int, int, int]] = []
    a = b = 0
    while True:
        gaps = (gap for gap in _GAPS if _agrees(here[a + gap[0] :][:RESUMED], there[b + gap[1] :][:RESUMED]))
        gap = next(gaps, None)
        if gap is None:
            return runs
        a, b = a + gap[0], b + gap[1]
        both = min(len(here) - a, len(there) - b)
        differ = np.flatnonzero(here[a : a + both] != there[b : b + both])
        same = int(differ[0]) if len(differ) else both
        runs.append((a, b, same))
        a, b = a + same, b + same


def _agrees(here: np.ndarray, there: np.ndarray) -> bool:
    return len(here) == RESUMED and np.array_equal(here, there)


def _describe(length: int, runs: np.ndarray, notes: Notes, index: Index) -> Match:
    ours, theirs = (np.concatenate([np.arange(run[side], run[side] + run[2]) for run in runs]) for side in (0, 1))
    piece = index.piece_at(int(theirs[0]))
    theirs -= index.offsets[piece]
    here, there = notes.step[ours], index.steps(piece)[theirs]
    between, original = np.diff(here), np.diff(there)
    struck = (between > 0) & (original > 0)
    between, original = between[struck], original[struck]
    tempo = float(np.median(between / original)) if len(between) else 1.0
    off = np.abs(between - tempo * original)
    return Match(
        length=length,
        notes=len(ours),
        start=float(here[0]) / STEPS_PER_SECOND,
        seconds=float(here[-1] - here[0]) / STEPS_PER_SECOND,
        name=index.names[piece],
        title=index.titles[piece],
        from_start=float(there[0]) / STEPS_PER_SECOND,
        from_seconds=float(there[-1] - there[0]) / STEPS_PER_SECOND,
        transposition=int(notes.pitch[ours[0]]) - int(index.pitches(piece)[theirs[0]]),
        rhythm=round(float(np.mean(off <= np.maximum(2, tempo * original / 4))), 3) if len(off) else 0.0,
    )
