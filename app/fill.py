"""A passage of a song written anew, so that it fits what is before it, what stays in it and what follows.

    request = request_fill(data, start=12, stop=18, pitches=(21, 59), seed=1)     # or hand="left", keep=..., amount=0.5
    result = fill(request, model)                                        # all samples at once
    result.fills[0].midi                                                 # the whole song, the likeliest fill in it

    request = request_accompaniment(data, hand="left")                       # the same, with all notes of the song kept
    filling = Filling([request, ...], model)                             # for whoever shares an engine: block by block
    while not filling.over:
        for row, notes in enumerate(filling.step()): ...                 # the notes that this block struck or ended
    filling.result(0)                                                    # of the first request

Everything outside the region comes back event by event.  A region that holds more than a model fills at once is written
window by window, each knowing what was written before it; so is an accompaniment, whose notes come while it is made.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.evaluation.memorisation_report import nearest
from musicgen.app.fill_file import let_go_in, song_with
from musicgen.app.fill_request import (
    FillRequest,
    Hand,
    Pedal,
    Region,
    open_song,
    passage_of,
    request_accompaniment,
    request_fill,
    to_facts,
)
from musicgen.app.fill_score import Seam, nats_a_note, seam
from musicgen.app.generate import Model, new_seed
from musicgen.app.passage import Passage
from musicgen.app.piece import Note
from musicgen.app.prime import pack_bytes
from musicgen.app.provenance import Provenance, texts
from musicgen.app.settings import Settings, derive_seed
from musicgen.app.styles import told
from musicgen.app.version import version
from musicgen.data_prep import PAD, STEPS_PER_SECOND, Performance, decode, read_midi
from musicgen.data_prep.dataset.gaps import BEFORE, FillReader
from musicgen.data_prep.events import NoteDecoder
from musicgen.data_prep.performance import cut, empty, merge, shift_time
from musicgen.data_prep.rules.fills import Fills
from musicgen.data_prep.rules.preamble import preamble
from musicgen.model.engine import reserve

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

__all__ = [
    "Fill",
    "FillRequest",
    "FillResult",
    "Filling",
    "Hand",
    "Pedal",
    "Region",
    "Seam",
    "fill",
    "request_accompaniment",
    "request_fill",
]

WINDOW = 30 * STEPS_PER_SECOND  # the longest gap that a model has seen
# M and N of a fill: room for about so many tokens of it, with what comes before and what follows in the rest.
LENGTHS = ((1024, 2048), (2048, 4096))
FULL = 0.75  # of the room that is planned for: some fills are denser than what they replace


@dataclasses.dataclass(frozen=True)
class Fill:
    """One fill, in its song.

    music: the whole song with the fill in it, as it is read.
    midi: the bytes of its MIDI file, from which `musicgen replay` makes it again.
    notes: those of the fill alone: (onset, end, pitch, velocity), seconds of the song.  At its end a key is let go; a
        pedal that stays may hold what it sounds longer.
    seams: at the region's start and stop; None where there is no music on one side.
    nats: a note of the region and of the three seconds behind it, as the model hears them after what is before: the
        fewer, the likelier; None if it was not asked for.
    provenance: how it was made; its ``sample`` says which of the batch it is.
    """

    music: Performance
    midi: bytes
    notes: tuple[Note, ...]
    provenance: Provenance
    seams: tuple[Seam | None, Seam | None] = (None, None)
    nats: float | None = None

    def likelihood(self) -> float:
        """By which fills are sorted: the likeliest first, those without a note last."""
        return math.inf if self.nats is None else self.nats


@dataclasses.dataclass(frozen=True)
class FillResult:
    """The fills of one request; the likeliest first if that was asked for.

    real_nats: as `Fill.nats`, of the passage that was there.
    seed: of the batch.  first_note_at: on the clock of `time.perf_counter`.
    """

    fills: tuple[Fill, ...]
    request: FillRequest
    seed: int
    first_note_at: float
    tokens_per_second: float
    real_nats: float | None = None


@dataclasses.dataclass
class Row:
    """One sample on its way.  begins, stop: of the window that is being drawn; written: the notes before it."""

    request: FillRequest
    passage: Passage
    begins: int
    stop: int
    window: int  # steps that are filled at once
    reader: FillReader
    decoder: NoteDecoder
    tokens: list[int] = dataclasses.field(default_factory=list)  # of this window, as an ordinary stream
    written: Performance = dataclasses.field(default_factory=empty)
    onsets: dict[int, tuple[float, int]] = dataclasses.field(default_factory=dict)
    stopped_at: int | None = None

    @property
    def over(self) -> bool:
        """Whether its last window is filled."""
        return self.stopped_at is not None or (self.reader.over and self.stop == self.passage.stop)

    @property
    def step(self) -> int:
        """How far it is, of the song."""
        return min(self.begins + self.reader.step, self.stop)

    def read(self, tokens: np.ndarray) -> list[Note]:
        """The notes that tokens i16[T] strike or end; see `Filling.step`."""
        if self.over:
            return []
        plain = self.reader.read(tokens)
        self.tokens += plain
        found: dict[int, Note] = {}
        for number, step, pitch, velocity in self.decoder.feed(plain):
            at = (self.begins + step) / STEPS_PER_SECOND
            onset, loudness = (at, velocity) if velocity else self.onsets[number]
            self.onsets[number] = (onset, loudness)
            found[number] = Note(onset, math.nan if velocity else at, pitch, loudness)
        return list(found.values())

    def next_window(self) -> None:
        """Go on behind the window that is filled, or stay behind the last."""
        if self.over:
            return
        self.written = self._all_written()
        self.begins, self.stop = self.stop, min(self.stop + self.window, self.passage.stop)
        self.tokens, self.onsets = [], {}
        self.reader, self.decoder = FillReader(self.stop - self.begins), NoteDecoder()

    def finished(self) -> tuple[Performance, float]:
        """All notes of the fill, and where it ends: seconds of the song."""
        notes = self._all_written()
        if self.stopped_at is None:
            return notes, self.passage.stop / STEPS_PER_SECOND
        upto = self.stopped_at / STEPS_PER_SECOND
        return cut(notes, 0.0, upto), upto

    def _all_written(self) -> Performance:
        if not self.tokens:
            return self.written
        rest = self.reader.rest() if self.stopped_at is not None else []  # what still sounds ends there
        new = decode(np.array([*self.tokens, *rest], np.int16))
        return merge([self.written, shift_time(new, self.begins / STEPS_PER_SECOND)])


def lengths_for(settings: Settings, passages: Sequence[Passage], model: Model) -> Settings:
    """The settings with M and N filled in: the shortest in which each region is one window, unless all is to come soon.

    Raises BadInput if what was chosen does not fit the model.
    """
    longest = max(passage.tokens for passage in passages)
    ample = [pair for pair in LENGTHS if FULL * reserve(pair[1], pair[0]) >= longest]
    soon = any(passage.alone for passage in passages)
    latents, context = LENGTHS[0] if soon else (*ample, LENGTHS[-1])[0]
    latents, context = min(latents, model.latents), min(context, model.context)
    return settings.resolve(min(latents, settings.context or latents), context)


def _first_row(request: FillRequest, passage: Passage, room: int) -> Row:
    length = passage.stop - passage.start
    most = int(min(WINDOW, FULL * room / max(passage.tokens, 1) * length))
    parts = -(-length // max(most, STEPS_PER_SECOND))
    window = -(-length // (parts * STEPS_PER_SECOND)) * STEPS_PER_SECOND  # whole seconds
    stop = min(passage.start + window, passage.stop)
    row = Row(request, passage, passage.start, stop, window, FillReader(stop - passage.start), NoteDecoder())
    row.stopped_at = passage.stop if request.amount == 0 else None  # nothing is to change
    return row


def fill(
    request: FillRequest,
    model: Model,
    on_progress: Callable[[float], None] = lambda seconds: None,
    on_notes: Callable[[int, list[Note]], None] = lambda row, notes: None,
    should_stop: Callable[[], bool] = lambda: False,
    score: bool = False,
    index: Index | None = None,
) -> FillResult:
    """Make the fills of a request.

    Args:
        score: whether to find out how likely each of them is.
        index: of a training set that they are compared with; their provenance has what was found.
        on_progress: called with 0 when the song has been read, then with the seconds of the region that all fills have.
        on_notes: called with a row and its notes as `Filling.step` gives them.
        should_stop: asked after each block; then the fills end where they are.

    Raises:
        BadInput: the weights cannot fill, or the settings do not fit them.
        KeyboardInterrupt: it is to stop before there is a note.
    """
    filling = Filling([request], model)
    on_progress(0.0)
    while not filling.over:
        for row, notes in enumerate(filling.step()):
            on_notes(row, notes)
        on_progress(min(filling.seconds))
        if should_stop() and not filling.over:
            if math.isnan(filling.first_note_at):
                raise KeyboardInterrupt
            for row in range(len(filling.rows)):
                filling.stop(row)
    return filling.result(score=score, index=index)


class Filling:
    """Fills of one or several requests on their way through the engine, each sample in a row of its own.

    Requests may share one if their settings are equal but for ``num_samples`` and ``seconds``.  Rows come in the order
    of the requests.

    seed: of the batch.  settings: of all, resolved.
    """

    def __init__(self, requests: Sequence[FillRequest], model: Model, seed: int | None = None) -> None:
        """Read the songs, and the first windows of the regions.

        seed: that of the first request unless given, or a new one.

        Raises BadInput if the weights cannot fill, or the settings do not fit them.
        """
        if not model.can_fill:
            raise BadInput(f"the weights {model.name} have not learnt to fill passages: use --checkpoint piano")
        self.model, self.requests = model, list(requests)
        chosen = seed if seed is not None else requests[0].seed
        self.seed = chosen if chosen is not None else new_seed()
        self.songs = [open_song(request.data, "the song") for request in requests]
        style = told(requests[0].settings.style, model.styles, model.name)
        passages = [
            dataclasses.replace(passage_of(request, song), style=style)
            for request, song in zip(requests, self.songs, strict=True)
        ]
        self.settings = lengths_for(requests[0].settings, passages, model)
        self.windows = self.tokens = 0
        self.began, self.first_note_at = time.perf_counter(), math.nan
        self.rows = [
            _first_row(request, passage, self.room)
            for request, passage in zip(requests, passages, strict=True)
            for _ in range(request.settings.num_samples)
        ]
        if not self.over:
            self._begin()

    @property
    def room(self) -> int:
        """Tokens of a window that can be drawn while all that was read is seen."""
        assert self.settings.latents is not None and self.settings.context is not None  # resolved
        return reserve(self.settings.context, self.settings.latents)

    @property
    def over(self) -> bool:
        """Whether all rows are done."""
        return all(row.over for row in self.rows)

    @property
    def done(self) -> list[bool]:
        """Of each row."""
        return [row.over for row in self.rows]

    @property
    def seconds(self) -> list[float]:
        """Of the region, that each row has."""
        return [(row.step - row.passage.start) / STEPS_PER_SECOND for row in self.rows]

    def _begin(self) -> None:
        """Read what the next window of each row needs."""
        assert self.settings.context is not None
        most = self.settings.context - self.room - len(preamble())
        alike = self.windows == 0 and len(self.requests) == 1
        read = [
            row.passage.window(row.begins, row.stop, row.written, most) for row in self.rows[: 1 if alike else None]
        ]
        prompts, scripts = [prompt for prompt, _ in read], tuple(script for _, script in read)
        heads = [
            np.append(prompt[: np.flatnonzero(prompt == BEFORE)[0] + 1], row.passage.style).astype(np.int16)
            for prompt, row in zip(prompts, self.rows, strict=False)
        ]
        seed = derive_seed(self.seed, self.windows) if self.windows else self.seed
        self.stream = self.model.engine.start(
            prompts,
            latents=self.settings.latents,
            context=self.settings.context,
            sampling=self.settings.sampling,
            seed=seed,
            rules=Fills(scripts),
            copies=len(self.rows) if alike else 1,
            heads=heads,  # of a fill denser than was planned, what follows stays in sight
        )
        self.windows += 1

    def step(self) -> list[list[Note]]:
        """Draw one block.

        Returns, for each row, the notes that it struck or ended, in order.  A note that still sounds has ``math.nan``
        for its end, and is given again, with the same onset and pitch, when it ends.
        """
        block = np.asarray(next(self.stream))
        found = [row.read(tokens) for row, tokens in zip(self.rows, block, strict=True)]
        self.tokens += int((block != PAD).sum())
        if math.isnan(self.first_note_at) and any(found):
            self.first_note_at = time.perf_counter()
        if not self.over and all(row.reader.over or row.over for row in self.rows):
            del self.stream  # its memory is free before the next one takes some
            for row in self.rows:
                row.next_window()
            self._begin()
        return found

    def stop(self, number: int, step: int | None = None) -> None:
        """Let a row end where it is, or at an earlier step of the song; the rest of its region is as it was."""
        row = self.rows[number]
        if not row.over:
            row.stopped_at = row.step if step is None else step

    def fill(self, number: int, facts: Mapping[str, Any] = MappingProxyType({}), index: Index | None = None) -> Fill:
        """The fill of a row that is over.  facts: of its provenance, in place of what they would be; index: `fill`."""
        row = self.rows[number]
        request, song = row.request, self.songs[self.requests.index(row.request)]
        notes, upto = row.finished()
        notes = let_go_in(request, song, notes, upto)
        if index is not None:
            facts = {"memorisation": nearest(notes, index) or {"length": 0}, **facts}
        made, asked = upto - request.region.start, request.region.stop - request.region.start
        provenance = Provenance(
            settings=dataclasses.replace(self.settings, seconds=made or asked, num_samples=len(self.rows)),
            seed=self.seed,
            sample=number + 1,
            checkpoint=self.model.name,
            checkpoint_sha256=self.model.sha256,
            prime_sha256=request.sha256,
            prime_notes=0,
            join_seconds=0.0,
            backend=self.model.backend,
            version=version(),
            asked=asked if made < asked else None,
            fill=to_facts(request, song),
        )
        provenance = dataclasses.replace(provenance, **facts)
        midi = song_with(request, song, notes, upto, texts(provenance, pack_bytes(request.data)))
        columns = (notes.onset.tolist(), notes.end.tolist(), notes.pitch.tolist(), notes.velocity.tolist())
        music, new = read_midi(midi)[0], tuple(Note(*values) for values in zip(*columns, strict=True))
        return Fill(music, midi, new, provenance, (seam(music, request.region.start), seam(music, upto)))

    def result(self, number: int = 0, *, score: bool = False, index: Index | None = None) -> FillResult:
        """The fills of a request that is over; score: with their nats, a pass over each, and in order of these."""
        first = sum(request.settings.num_samples for request in self.requests[:number])
        request = self.requests[number]
        fills = tuple(self.fill(first + sample, index=index) for sample in range(request.settings.num_samples))
        rate = self.tokens / (time.perf_counter() - self.began)
        if not score:
            return FillResult(fills, request, self.seed, self.first_note_at, rate)
        where = (request.region.start, request.region.stop)
        nats = [nats_a_note(self.model.engine, one.music, *where) for one in fills]
        scored = [dataclasses.replace(one, nats=value) for one, value in zip(fills, nats, strict=True)]
        scored.sort(key=Fill.likelihood)
        real = nats_a_note(self.model.engine, read_midi(request.data)[0], *where)
        return FillResult(tuple(scored), request, self.seed, self.first_note_at, rate, real)
