"""Rows of training drawn from several corpora at once: plain windows of music, and windows with gaps (gaps.py).

A row is i16[N + 1]; a token that is given and no target is written as ~token, which is negative.  Pieces are drawn in
proportion to their notes within a corpus, corpora by their weights, which differ for the two kinds of row.  A window
that reaches back beyond the beginning of its piece is filled with the ends of others, as in loader.py; a token for the
corpus' style follows BOS in most rows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np

from musicgen.data_prep.dataset.augment import Augmentation, augment
from musicgen.data_prep.dataset.gaps import BEFORE, GAP, SECOND, Example, Gap, example, in_steps, skyline, streams
from musicgen.data_prep.dataset.loader import Batches, LoaderSettings
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.performance import NO_PEDAL, Performance
from musicgen.data_prep.vocabulary import BOS, EOS, NOTE_OFF, NOTE_ON, STYLES, VOCABULARY_2

if TYPE_CHECKING:
    import grain

STYLE, MOOD = VOCABULARY_2.first("style"), VOCABULARY_2.first("mood")
EMOPIA = re.compile(r"Q([1-4])_")  # how a clip's name begins there: with the quadrant of valence and arousal
NOTES_BACK = 2_300  # of a window: a note is two tokens at the least


class Music(Protocol):
    """The training pieces of one corpus, their notes end to end.

    style: one of STYLES, if it is known.  weight, gap_weight: its share of plain rows, beside those of others, and of
    rows with gaps.  offsets: i64[P+1], of each piece its first note and the one past its last.  mood: i64[P], from 1; 0
    where none is told.  grid: whether onsets lie on one, which no jitter blurs.
    """

    @property
    def style(self) -> str | None: ...

    @property
    def weight(self) -> float: ...

    @property
    def gap_weight(self) -> float: ...

    @property
    def offsets(self) -> np.ndarray: ...

    @property
    def mood(self) -> np.ndarray: ...

    @property
    def grid(self) -> bool: ...

    def cut(self, piece: int, first: int, past: int) -> tuple[Performance, np.ndarray]:
        """The notes [first, past) of the corpus, all of one piece; bool[n]: which of them a file calls melody."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """The training pieces of one corpus, end to end: onset and end f64[n] seconds, pitch and velocity u8[n], melody
    bool[n] (which notes a file itself calls melody; all false if it does not), offsets i64[P+1], mood i64[P] (0: none).

    The others as in Music.
    """

    style: str
    weight: float
    gap_weight: float
    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    melody: np.ndarray
    offsets: np.ndarray
    mood: np.ndarray
    grid: bool = False

    def cut(self, piece: int, first: int, past: int) -> tuple[Performance, np.ndarray]:
        """See Music."""
        part = slice(first, past)
        columns = (self.onset[part], self.end[part], self.pitch[part], self.velocity[part])
        return Performance(*columns, NO_PEDAL), self.melody[part]


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Shares and sizes of what is drawn; the defaults are the recipe's.

    style: share of rows whose style is told after BOS; mood: and of these, the mood.  told: share of windows without
    BOS that begin with their style.  other: share of earlier pieces in a row that come from any corpus.
    """

    style: float = 0.8
    mood: float = 0.5
    told: float = 0.2
    other: float = 0.5
    kinds: tuple[tuple[str, float], ...] = (
        ("whole", 0.34),
        ("band", 0.36),
        ("melody_stays", 0.15),
        ("bass_stays", 0.04),
        ("blind", 0.06),
        ("melody_goes", 0.05),
    )
    seconds: tuple[float, float] = (1.0, 30.0)
    longest: int = 1_900  # tokens of a region: it has to fit into the latents


class Slice:
    """Notes around one note of a piece, augmented."""

    def __init__(self, rows: Rows, corpus: Music, note: int, back: int, on: int, rng: np.random.Generator) -> None:
        piece = int(np.searchsorted(corpus.offsets, note, side="right")) - 1
        begin, past = corpus.offsets[piece : piece + 2].tolist()
        first, stop = max(begin, note - back), min(past, note + on)
        self.whole = (first == begin, stop == past)
        notes, melody = corpus.cut(piece, first, stop)
        shift = 0.0 if self.whole[0] else notes.onset[0]  # counted from the slice's first note
        notes = Performance(notes.onset - shift, notes.end - shift, notes.pitch, notes.velocity, NO_PEDAL)
        changed = notes if rows.augmentation is None else augment(notes, rng, rows.augmentation_of(corpus))
        self.steps = in_steps(changed)
        # Augmentation may change the order of notes, and drop some: the note's place is good to within a few.
        self.note = min(note - first, len(self.steps.start) - 1)
        self.melody = melody if len(self.steps.start) == stop - first else np.zeros(0, bool)
        self.style = rows.style_of(corpus, piece, rng)


class Rows:
    """Draws rows; can be pickled for worker processes."""

    def __init__(
        self, corpora: Sequence[Music], context: int, augmentation: Augmentation | None, mixing: Mixing = Mixing()
    ) -> None:
        self.corpora, self.context, self.augmentation, self.mixing = tuple(corpora), context, augmentation, mixing
        weights = np.array([[corpus.weight, corpus.gap_weight] for corpus in corpora])
        self.shares, self.gap_shares = (weights / weights.sum(axis=0)).T

    def augmentation_of(self, corpus: Music) -> Augmentation:
        """How a corpus is augmented."""
        assert self.augmentation is not None
        return dataclasses.replace(self.augmentation, jitter=0.0) if corpus.grid else self.augmentation

    def style_of(self, corpus: Music, piece: int, rng: np.random.Generator) -> list[int]:
        """The tokens that tell the style of a piece, or none."""
        if rng.random() >= self.mixing.style or corpus.style is None:
            return []
        mood = int(corpus.mood[piece])
        told = mood and rng.random() < self.mixing.mood
        return [STYLE + STYLES.index(corpus.style), *([MOOD + mood - 1] if told else [])]

    def draw(self, rng: np.random.Generator, *, gap: bool = False) -> tuple[Music, int]:
        """A corpus and one of its notes."""
        corpus = self.corpora[int(rng.choice(len(self.corpora), p=self.gap_shares if gap else self.shares))]
        return corpus, self.draw_from(corpus, rng)

    def plain(self, rng: np.random.Generator) -> np.ndarray:
        """A window that ends anywhere in a piece."""
        corpus, note = self.draw(rng)
        part = Slice(self, corpus, note, NOTES_BACK, 40, rng)
        tokens = written(part)
        ons = np.flatnonzero((tokens >= NOTE_ON) & (tokens < NOTE_OFF))
        place = part.note + 1
        past = int(rng.integers(ons[part.note], ons[place] if place < len(ons) else len(tokens))) + 1
        row, left = self.filled([tokens[:past]], corpus, rng)
        if not left and rng.random() < self.mixing.told and part.style and not (row == ~BOS).any():
            row = np.concatenate([~np.array(part.style, np.int16), row[len(part.style) :]])
        return row

    def filled(self, parts: list[np.ndarray], corpus: Music, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """The parts, the last first, with ends of pieces before them up to a row; and how many tokens were missing."""
        size = self.context + 1
        missing = left = size - sum(map(len, parts))
        while missing > 0:
            other = self.draw(rng)[0] if rng.random() < self.mixing.other else corpus
            piece = int(rng.integers(len(other.offsets) - 1))
            last = int(other.offsets[piece + 1]) - 1
            parts.append(written(Slice(self, other, last, missing // 2 + 2, 1, rng)))
            missing -= len(parts[-1])
        row = np.concatenate(parts[::-1])
        return row[len(row) - size :], max(left, 0)

    def gaps(self, rng: np.random.Generator) -> np.ndarray:
        """A window that ends with a filled gap; half of them hold one example, half as many as fit."""
        single = rng.random() < 0.5
        parts: list[np.ndarray] = []
        missing = self.context + 1
        corpus, note = self.draw(rng, gap=True)
        while missing > 400 or not parts:
            made = self.example(corpus, note, missing, single, rng)
            parts.append(np.where(made.given, ~made.tokens, made.tokens).astype(np.int16))
            missing -= len(parts[-1])
            other = rng.random() < self.mixing.other
            corpus, note = self.draw(rng, gap=True) if other else (corpus, self.draw_from(corpus, rng))
            single = False
        return self.filled(parts, corpus, rng)[0]

    @staticmethod
    def draw_from(corpus: Music, rng: np.random.Generator) -> int:
        """A note of the corpus."""
        return int(rng.integers(int(corpus.offsets[-1])))

    def example(self, corpus: Music, note: int, room: int, single: bool, rng: np.random.Generator) -> Example:
        """A gap about a note; `single`: what comes before it takes all the room that is left, of so many tokens."""
        part = Slice(self, corpus, note, NOTES_BACK if single else NOTES_BACK // 2, 1_400, rng)
        gap, stays = self.gap(part, rng)
        most_after = int(np.exp(rng.uniform(np.log(24), np.log(self.context / 4))))
        most_before = room if single else int(np.exp(rng.uniform(np.log(48), np.log(self.context / 2))))
        style = part.style if part.whole[0] or rng.random() < 0.5 else []
        while True:
            made = example(
                part.steps,
                gap,
                stays,
                style=style,
                whole=part.whole,
                most_before=most_before,
                most_after=most_after,
            )
            inside = len(made.tokens) - int(np.flatnonzero(made.tokens == BEFORE)[-1])
            region = len(made.tokens) - int(np.flatnonzero((made.tokens >= GAP) & (made.tokens < SECOND))[-1])
            shorter = gap.start + max(STEPS_PER_SECOND, (gap.stop - gap.start) // 2)
            excess = len(made.tokens) - room
            if region > self.mixing.longest and shorter < gap.stop:
                gap = gap._replace(stop=shorter)
            elif single and excess > 0 and most_before > 0:
                most_before = max(0, min(most_before, inside - region - 1) - excess)
            else:
                return made

    def gap(self, part: Slice, rng: np.random.Generator) -> tuple[Gap, np.ndarray]:
        """A region about the slice's note, and bool[n]: what stays of it."""
        notes = part.steps
        names, shares = zip(*self.mixing.kinds, strict=True)
        kind = str(rng.choice(names, p=np.array(shares) / sum(shares)))
        shortest, longest = self.mixing.seconds
        log = rng.random() < 0.6
        seconds = np.exp(rng.uniform(np.log(shortest), np.log(longest))) if log else rng.uniform(shortest, longest)
        length = int(seconds) * STEPS_PER_SECOND if rng.random() < 0.5 else int(seconds * STEPS_PER_SECOND)
        start = max(0, int(notes.start[part.note]) - int(rng.integers(0, 60)))
        gap = Gap(start, start + length, kind)
        inside = (notes.start >= gap.start) & (notes.start < gap.stop)
        stays = np.zeros(len(notes.start), bool)
        if kind in ("band", "blind"):
            gap = self.band(gap, notes.pitch[inside], rng)
            stays = (notes.pitch < gap.low) | (notes.pitch > gap.high)
        elif kind != "whole":
            named = len(part.melody) == len(stays) and part.melody.any() and kind != "bass_stays" and rng.random() < 0.7
            back = int(rng.integers(15, 90))
            line = part.melody if named else skyline(notes, back, lowest=kind == "bass_stays")
            stays = ~line if kind == "melody_goes" else line
        chance = rng.random()
        if kind == "blind" or chance < 0.2:
            return gap._replace(after="none"), stays
        return gap._replace(after="stays" if kind != "whole" and chance < 0.5 else "all"), stays

    @staticmethod
    def band(gap: Gap, pitches: np.ndarray, rng: np.random.Generator) -> Gap:
        """The lower part, the upper part or a middle band of what sounds."""
        if not len(pitches):
            return gap._replace(low=0, high=int(rng.integers(48, 72)))
        low, high = np.quantile(pitches, sorted(rng.uniform(0.15, 0.85, 2))).astype(int).tolist()
        which = int(rng.integers(3))
        split = int(np.quantile(pitches, rng.uniform(0.25, 0.75)))
        return gap._replace(low=(0, split, low)[which], high=(split, 127, high)[which])


def written(part: Slice) -> np.ndarray:
    """The ordinary tokens of a slice: [BOS, style] and EOS where the piece has its ends, given tokens inverted."""
    notes = part.steps
    at = np.zeros(len(notes.start), np.int64)
    origin = np.array([0 if part.whole[0] else notes.start.min(initial=0)])
    tokens = streams(notes, at, at, origin, np.zeros(1, np.int64))[0]
    front = ~np.array([BOS, *part.style], np.int16) if part.whole[0] else np.zeros(0, np.int16)
    return np.concatenate([front, tokens, np.array([EOS] if part.whole[1] else [], np.int16)])


class Sharded:
    """The pieces of one corpus of a data set; see Music."""

    def __init__(self, pieces: ShardSet, name: str, weight: float, gap_weight: float) -> None:
        self.pieces, self.style = pieces, pieces.styles.get(name)
        self.weight, self.gap_weight = weight, gap_weight
        self.grid = self.style == "arrangement"  # written, not played
        self.numbers = [i for i in range(len(pieces)) if pieces.source(i) == name]
        self.offsets = np.concatenate([[0], np.cumsum(pieces.note_counts()[self.numbers])])
        moods = [EMOPIA.match(PurePosixPath(pieces.name(i)).name) for i in self.numbers]
        self.mood = np.array([int(found[1]) if found else 0 for found in moods])

    def cut(self, piece: int, first: int, past: int) -> tuple[Performance, np.ndarray]:
        """Data sets do not tell what is melody."""
        begin = int(self.offsets[piece])
        notes = self.pieces.notes(self.numbers[piece], slice(first - begin, past - begin))
        return notes, np.zeros(len(notes), bool)


class Mixture:
    """The draw of one row of a mixture of corpora: (place in a group of rows, random generator) -> tokens.

    gaps: bool[rows of a group], which of them hold gaps.
    """

    def __init__(self, rows: Rows, gaps: np.ndarray) -> None:
        self.rows, self.gaps = rows, gaps
        self.total = sum(int(corpus.offsets[-1]) for corpus in rows.corpora)  # notes

    def dataset(self, seed: int) -> grain.MapDataset[dict[str, np.ndarray]]:
        """Rows without end, drawn by a seed."""
        import grain

        return grain.MapDataset.range(len(self.gaps)).seed(seed).repeat().random_map(self)

    def __call__(self, place: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """{"tokens": i16[N + 1]}, given ones as ~token (see above)."""
        return {"tokens": self.rows.gaps(rng) if self.gaps[place] else self.rows.plain(rng)}


def mixed_batches(
    pieces: ShardSet,
    weights: Mapping[str, tuple[float, float]],
    gaps: np.ndarray,
    settings: LoaderSettings,
    augmentation: Augmentation | None = None,
    later: Sequence[tuple[int, Augmentation | None]] = (),
    mixing: Mixing = Mixing(),
) -> Batches:
    """Endless {"tokens": i16[batch, context + 1]} drawn from the corpora of a data set.

    weights: of its corpora, by name, for plain rows and for those with gaps.  gaps: bool[rows of a group], which of
    them hold gaps; a batch is whole groups.
    The others as of `batches`.
    """
    corpora = [Sharded(pieces, name, *each) for name, each in weights.items()]

    def drawn(augmentation: Augmentation | None) -> Mixture:
        return Mixture(Rows(corpora, settings.context, augmentation, mixing), gaps)

    return Batches(drawn(augmentation), settings, [(first, drawn(another)) for first, another in later])
