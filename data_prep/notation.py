"""Notes of a performance as they would be written down: bars, staves, voices, and lengths that can be drawn.

Times are counted in parts of a quarter note.  In each quarter the coarsest grid is taken that its onsets lie on, so
that triplets stand beside quavers; notes go to the staff of the hand that plays them, and on each staff to as few
voices as let every note keep its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from musicgen.data_prep.hands import line_at, split_line

PARTS = 24  # of a quarter note: semiquavers and triplets are whole numbers of them, and so are their halves
GRIDS = {1: 0.0, 2: 0.0, 4: 0.01, 3: 0.02, 8: 0.04, 6: 0.05}  # notes in a quarter; what each costs, in quarters
COARSE = {grid: cost for grid, cost in GRIDS.items() if grid <= 4}  # where the beat is a guess
VOICES = 4  # on a staff
RIGHT, LEFT = 1, 2  # staves
MOST_BARS = 3000
PLAIN = {96: ("whole", 0), 72: ("half", 1), 48: ("half", 0), 36: ("quarter", 1), 24: ("quarter", 0), 18: ("eighth", 1)}
PLAIN |= {12: ("eighth", 0), 9: ("16th", 1), 6: ("16th", 0), 3: ("32nd", 0)}
TRIPLET = {16: ("quarter", 0), 12: ("eighth", 1), 8: ("eighth", 0), 4: ("16th", 0)}  # three in the time of two
REST = -1  # in the place of a pitch


class Metre(NamedTuple):
    """From which part on it holds, and its two numbers."""

    start: int
    beats: int
    unit: int

    @property
    def bar(self) -> int:
        """Its parts."""
        return self.beats * 4 * PARTS // self.unit

    @property
    def pulse(self) -> int:
        """The parts of what is counted: dotted in 6/8 and its like."""
        return 3 * PARTS // 2 if self.unit == 8 and self.beats % 3 == 0 and self.beats > 3 else PARTS


class Symbol(NamedTuple):
    """One note head or rest: parts [start, stop), pitch or REST, staff, voice; its type and dots; whether it is one of
    a triplet; whether it is tied to the one before or behind."""

    start: int
    stop: int
    pitch: int
    staff: int
    voice: int
    kind: str
    dots: int
    triplet: bool
    tied_back: bool
    tied_on: bool


class Length(NamedTuple):
    """A whole note, tied or not, or a rest."""

    start: int
    stop: int
    pitch: int
    staff: int
    voice: int


class Bar(NamedTuple):
    """From one part to another."""

    start: int
    stop: int
    metre: Metre


@dataclass(frozen=True)
class Notation:
    """What is to be drawn.

    bars: without gaps, from the first part on.
    symbols: what is drawn.  The first voice of each staff has no gaps.
    triplets: the quarters, by number, that are divided by three.
    moved: f64[n] quarters by which each onset was moved.
    """

    bars: tuple[Bar, ...]
    symbols: tuple[Symbol, ...]
    lengths: tuple[Length, ...]
    triplets: frozenset[int]
    moved: np.ndarray


class TooLong(ValueError):
    """More bars than anybody could read."""


def notate(
    onset: np.ndarray,
    end: np.ndarray,
    pitch: np.ndarray,
    staff: np.ndarray,
    metres: Sequence[Metre],
    *,
    guessed: bool,
) -> Notation:
    """Write notes down.

    Args:
        onset, end: f64[n] quarters from the first bar's beginning, onsets in order.
        pitch, staff: i64[n].
        metres: in order; the first holds from 0.
        guessed: whether the beat is a guess: then grids are coarser, and what almost touches is joined.

    Raises TooLong.
    """
    if end.max() * PARTS > MOST_BARS * 2 * metres[0].bar:
        raise TooLong(f"{end.max() / 4:,.0f} bars")
    start, grids = _to_grid(onset, COARSE if guessed else GRIDS)
    stop = np.empty_like(start)
    for note, (begin, finish) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        step = _step(grids.get(int(np.floor(finish)), 1))
        stop[note] = max(round(finish * PARTS / step) * step, begin + _step(grids[begin // PARTS]))
    if guessed:
        stop = _join(start, stop, staff)
    lengths = _voices(start, stop, pitch, staff)
    bars = _bars(metres, max(length[1] for length in lengths))
    triplets = frozenset(quarter for quarter, grid in grids.items() if grid % 3 == 0)
    symbols = [symbol for length in [*lengths, *_rests(lengths, bars)] for symbol in _symbols(length, bars, triplets)]
    return Notation(bars, tuple(symbols), tuple(lengths), triplets, start / PARTS - onset)


def staves(onset: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """i64[n]: the staff of each note, by the line between the hands.  onset: f64[n] seconds, in order."""
    return np.where(pitch >= line_at(split_line(onset, pitch), onset), RIGHT, LEFT)


def _to_grid(onset: np.ndarray, grids: dict[int, float]) -> tuple[np.ndarray, dict[int, int]]:
    """i64[n] parts, and the grid of each quarter in which something begins."""
    quarter = np.floor(onset + 0.5 / max(grids)).astype(np.int64)
    inside = onset - quarter
    start, chosen = np.empty(len(onset), np.int64), {}
    for number in np.unique(quarter).tolist():
        notes = np.flatnonzero(quarter == number)
        moments = inside[notes]

        def cost(grid: int, moments: np.ndarray = moments) -> float:
            off = moments - np.rint(moments * grid) / grid
            return float(np.sqrt(np.mean(off**2))) + grids[grid]

        best = min(grids, key=cost)
        start[notes] = number * PARTS + np.rint(moments * best).astype(np.int64) * (PARTS // best)
        chosen[number] = best
    for part in start.tolist():
        chosen.setdefault(part // PARTS, 1)  # moved to the beginning of the next quarter
    return start, chosen


def _step(grid: int) -> int:
    """The parts that an end may be apart from a quarter with this grid: semiquavers, or what its onsets have."""
    return PARTS // (grid if grid % 3 == 0 else max(grid, 4))


def _join(start: np.ndarray, stop: np.ndarray, staff: np.ndarray) -> np.ndarray:
    """Ends moved to the next onset of the hand where they are near to it, or overlap it a little."""
    joined = stop.copy()
    for side in (RIGHT, LEFT):
        notes = np.flatnonzero(staff == side)
        moments = np.unique(start[notes])
        following = np.append(moments, np.iinfo(np.int64).max)[np.searchsorted(moments, start[notes], side="right")]
        away = np.abs(stop[notes] - following)
        near = (away <= PARTS // 2) | (following - start[notes] <= PARTS // 2) & (stop[notes] < following)
        joined[notes[near]] = following[near]
    return joined


def _voices(start: np.ndarray, stop: np.ndarray, pitch: np.ndarray, staff: np.ndarray) -> list[Length]:
    """Each note with its voice: those of one moment and length share one; where there is no voice left, the note that
    has sounded longest ends."""
    found: list[Length] = []
    for side in (RIGHT, LEFT):
        chords: dict[tuple[int, int], set[int]] = {}
        own = np.flatnonzero(staff == side)
        longest: dict[tuple[int, int], int] = {}
        for note in own.tolist():
            key = (int(start[note]), int(pitch[note]))
            longest[key] = max(longest.get(key, 0), int(stop[note]))
        for (begin, struck), until in longest.items():
            chords.setdefault((begin, until), set()).add(struck)
        order = sorted(chords, key=lambda span: (span[0], -max(chords[span])))
        open_spans: list[list[tuple[int, int]]] = [[] for _ in range(VOICES)]
        ends: dict[tuple[int, tuple[int, int]], int] = {}
        for span in order:
            free = [v for v in range(VOICES) if not open_spans[v] or ends[v, open_spans[v][-1]] <= span[0]]
            if not free:  # never one of this very moment unless all are: then its length is shared
                earlier = [v for v in range(VOICES) if open_spans[v][-1][0] < span[0]]
                if not earlier:
                    last = open_spans[VOICES - 1][-1]
                    chords[last] |= chords[span]
                    continue
                voice = min(earlier, key=lambda v: open_spans[v][-1][0])
                ends[voice, open_spans[voice][-1]] = span[0]
                free = [voice]
            open_spans[free[0]].append(span)
            ends[free[0], span] = span[1]
        for voice in range(VOICES):
            number = voice + 1 + (VOICES if side == LEFT else 0)
            for span in open_spans[voice]:
                found += [Length(span[0], ends[voice, span], key, side, number) for key in sorted(chords[span])]
    return found


def _bars(metres: Sequence[Metre], until: int) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    now = number = 0
    while now < until or not bars:
        while number + 1 < len(metres) and metres[number + 1].start <= now:
            number += 1
        metre = metres[number]
        stop = now + metre.bar
        if number + 1 < len(metres):
            stop = min(stop, metres[number + 1].start)
        bars.append(Bar(now, stop, metre))
        if len(bars) > MOST_BARS:
            raise TooLong(f"more than {MOST_BARS:,} bars")
        now = stop
    return tuple(bars)


def split_span(start: int, stop: int, bar: Bar, triplets: frozenset[int]) -> list[tuple[int, int, str, int, bool]]:
    """A length inside one bar as pieces that can be drawn: (start, stop, type, dots, triplet)."""
    pieces = []
    while start < stop:
        beat = bar.metre.pulse
        border = bar.start + ((start - bar.start) // beat + 1) * beat
        quarter_end = (start // PARTS + 1) * PARTS
        ends_in_triplet = stop % PARTS != 0 and stop // PARTS in triplets
        if start // PARTS in triplets and (start % PARTS or stop < quarter_end):  # from or to a place in a triplet
            left = min(stop, quarter_end) - start
            length = next((size for size in TRIPLET if size <= left), left)
            pieces.append((start, start + length, *TRIPLET.get(length, ("32nd", 0)), True))
            start += length
            continue
        until = stop - stop % PARTS if ends_in_triplet else stop
        left = until - start
        if (start - bar.start) % beat and left not in PLAIN:
            left = min(left, border - start)
        elif (start - bar.start) % beat and until > border and (start - bar.start) % (PARTS // 2):
            left = border - start
        length = next((size for size in PLAIN if size <= left), left)
        pieces.append((start, start + length, *PLAIN.get(length, ("32nd", 0)), False))
        start += length
    return pieces


def _symbols(length: Length, bars: Sequence[Bar], triplets: frozenset[int]) -> list[Symbol]:
    start, stop, pitch, staff, voice = length
    pieces = []
    first = int(np.searchsorted([bar.start for bar in bars], start, side="right")) - 1
    for bar in bars[first:]:
        if bar.start >= stop:
            break
        pieces += split_span(max(start, bar.start), min(stop, bar.stop), bar, triplets)
    last = len(pieces) - 1 if pitch != REST else 0
    return [
        Symbol(a, b, pitch, staff, voice, kind, dots, triplet, pitch != REST and number > 0, number < last)
        for number, (a, b, kind, dots, triplet) in enumerate(pieces)
    ]


def _rests(lengths: Sequence[Length], bars: Sequence[Bar]) -> list[Length]:
    """What the first voice of each staff is silent for, bar by bar."""
    found = []
    for staff, voice in ((RIGHT, 1), (LEFT, VOICES + 1)):
        taken = sorted({(start, stop) for start, stop, _, _, own in lengths if own == voice})
        now = 0
        gaps = []
        for start, stop in [*taken, (bars[-1].stop, bars[-1].stop)]:
            gaps.append((now, start))
            now = max(now, stop)
        at = 0
        for start, stop in gaps:
            while start < stop:
                while bars[at].stop <= start:
                    at += 1
                until = min(stop, bars[at].stop)
                found.append(Length(start, until, REST, staff, voice))
                start = until
    return found


def brackets(notation: Notation) -> list[tuple[int, int]]:
    """Which symbols, by number, begin and end a triplet: those of a voice that fill a quarter."""
    places: dict[tuple[int, int], list[int]] = {}
    for number, symbol in enumerate(notation.symbols):
        if symbol.triplet:
            places.setdefault((symbol.voice, symbol.start // PARTS), []).append(number)
    found = []
    for numbers in places.values():
        spans = {(notation.symbols[number].start, notation.symbols[number].stop) for number in numbers}
        if sum(stop - start for start, stop in spans) == PARTS:
            ends = [pick(numbers, key=lambda number: notation.symbols[number].start) for pick in (min, max)]
            found.append((ends[0], ends[1]))
    return found


FLAGS = {"eighth": 1, "16th": 2, "32nd": 3}


def beams(notation: Notation) -> dict[tuple[int, int], list[str]]:
    """By voice and start, what each beam does there, the first outermost: begin, continue, end or a hook. A beam joins
    notes of one pulse."""
    found: dict[tuple[int, int], list[str]] = {}
    edges = [bar.start for bar in notation.bars]
    groups: dict[tuple[int, int, int], dict[int, Symbol]] = {}
    for symbol in notation.symbols:
        if symbol.pitch != REST and symbol.kind in FLAGS:
            bar = notation.bars[int(np.searchsorted(edges, symbol.start, side="right")) - 1]
            key = (symbol.voice, bar.start, (symbol.start - bar.start) // bar.metre.pulse)
            groups.setdefault(key, {})[symbol.start] = symbol
    for (voice, _, _), symbols in groups.items():
        runs: list[list[Symbol]] = []
        for start in sorted(symbols):
            if not runs or runs[-1][-1].stop != start:
                runs.append([])
            runs[-1].append(symbols[start])
        for run in runs:
            if len(run) > 1:
                found |= {(voice, one.start): _levels(run, number) for number, one in enumerate(run)}
    return found


def _levels(run: Sequence[Symbol], number: int) -> list[str]:
    flags = [FLAGS[symbol.kind] for symbol in run]
    told = []
    for level in range(1, flags[number] + 1):
        before = number > 0 and flags[number - 1] >= level
        behind = number + 1 < len(run) and flags[number + 1] >= level
        alone = "forward hook" if number == 0 else "backward hook"
        told.append(
            {(True, True): "continue", (True, False): "end", (False, True): "begin"}.get((before, behind), alone)
        )
    return told
