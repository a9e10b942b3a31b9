"""A passage of a song written anew, so that it fits what is before it, what stays in it and what follows.

    request = ask(data, start=12, stop=18, pitches=(21, 59), seed=1)     # or hand="left", keep=..., amount=0.5
    result = fill(request, model)                                        # all samples at once
    result.fills[0].midi                                                 # the whole song, the likeliest fill in it

    request = ask_accompaniment(data, hand="left")                       # the same, with all notes of the song kept
    filling = Filling([request, ...], model)                             # for whoever shares an engine: block by block
    while not filling.over:
        for row, notes in enumerate(filling.step()): ...                 # the notes that this block struck or ended
    filling.result(0)                                                    # of the first request

Everything outside the region comes back event by event.  A region of more than `WINDOW` seconds is written window by
window, each knowing what was written before it; so is an accompaniment, whose notes come while it is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from musicgen.app.generate import Model
from musicgen.app.piece import Note
from musicgen.app.provenance import Provenance
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance

WINDOW = 30.0  # seconds: the longest gap that a model has seen
LONGEST = 3600.0  # seconds of a region or of an accompanied song
Hand = Literal["left", "right"]
Pedal = Literal["keep", "new"]


@dataclasses.dataclass(frozen=True)
class Region:
    """What is written anew: seconds [start, stop) of the song, on the grid of 10 ms, and keys low..high, both in it.

    hand: only what this hand plays or would play, by the split line of data_prep/hands.py; None for both.
    """

    start: float
    stop: float
    low: int = 0
    high: int = 127
    hand: Hand | None = None


@dataclasses.dataclass(frozen=True)
class FillRequest:
    """What is asked for, checked; from `ask` or `ask_accompaniment`.

    data: the song as a MIDI file, without our own texts; sha256: of it.
    region: as resolved; its stop may be the end of the song.
    stays: which of the song's notes that begin in the region stay: their numbers in order of onset.
    pedal: "keep" leaves the song's pedal in the region as it is, "new" writes it anew.
    settings: ``num_samples`` fills are made and ``sampling`` holds for them; ``latents`` and ``context``; the seconds
        are those of the region.
    seed: None draws one.
    """

    data: bytes
    sha256: str
    region: Region
    stays: tuple[int, ...]
    pedal: Pedal
    settings: Settings
    seed: int | None


@dataclasses.dataclass(frozen=True)
class Seam:
    """How the music crosses one border of the region, against real music.

    gap: seconds from the last onset before the border to the first one after it.
    velocity: mean velocity of the second after the border less that of the second before it.
    density: the same of notes a second.
    unusual: what of these three lies beyond what all but 1 % of random places in real music have, in words, such as
        "a silence of 2.1 s"; empty if nothing does.
    """

    gap: float
    velocity: float
    density: float
    unusual: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fill:
    """One fill, in its song.

    music: the whole song with the fill in it, as it is read.
    midi: the bytes of its MIDI file, from which `musicgen replay` makes it again.
    notes: those of the fill alone, as they sound: (onset, end, pitch, velocity), seconds of the song.
    nats: of what follows the region, a note, after this fill: the fewer, the better it leads there; None if it was not
        asked for (`ask`: score).
    seams: at the region's start and stop; None where the song begins or ends.
    provenance: how it was made; its ``sample`` says which of the batch it is.
    """

    music: Performance
    midi: bytes
    notes: tuple[Note, ...]
    nats: float | None
    seams: tuple[Seam | None, Seam | None]
    provenance: Provenance


@dataclasses.dataclass(frozen=True)
class FillResult:
    """The fills of one request, the likeliest first.

    seed: of the batch.
    real_nats: what `Fill.nats` is for the passage that was there.
    first_note_at: on the clock of `time.perf_counter`.
    stopped: whether it was stopped before the region's end; then the rest of the region is as it was.
    """

    fills: tuple[Fill, ...]
    request: FillRequest
    seed: int
    real_nats: float | None
    first_note_at: float
    tokens_per_second: float
    stopped: bool = False


def ask(
    data: bytes,
    *,
    start: float | None = None,
    stop: float | None = None,
    pitches: tuple[int, int] = (0, 127),
    hand: Hand | None = None,
    keep: bytes | None = None,
    keep_track: str | None = None,
    amount: float = 1.0,
    pedal: Pedal | None = None,
    settings: Settings = Settings(),
    seed: int | None = None,
    name: str = "the song",
) -> FillRequest:
    """Check what is asked of a song.

    Args:
        data: the song, a MIDI file.
        start, stop: seconds; None for its beginning or end.
        pitches: the lowest and highest key that is written anew; all others stay.
        hand: see `Region`.
        keep: a MIDI file whose notes stay where the song has them too: same key, onset within 50 ms.
        keep_track: the name of a track of the song whose notes stay, in any case of letters.
        amount: the share of the notes that is written anew: 0 gives the passage back, 1 all of it is new.
        pedal: None keeps it where notes stay in the region, and writes it anew where none do.
        settings: of `num_samples`, `sampling`, `latents`, `context`.
        name: of the song, in messages.

    Raises:
        BadInput: one line that says what cannot be used and what to do.
    """
    raise NotImplementedError


def ask_accompaniment(
    data: bytes,
    *,
    hand: Hand | None = None,
    track: str | None = None,
    start: float | None = None,
    stop: float | None = None,
    settings: Settings = Settings(),
    seed: int | None = None,
    name: str = "the melody",
) -> FillRequest:
    """As `ask`, for an accompaniment of all that is in a file: every note of it stays to the tick.

    Args:
        hand: which hand is written; None for both.
        track: of a file with several, the one that is accompanied; the others' notes go.
        start, stop: seconds between which it is accompanied; None for its beginning or end.
    """
    raise NotImplementedError


def fill(
    request: FillRequest,
    model: Model,
    on_progress: Callable[[float], None] = lambda seconds: None,
    on_notes: Callable[[int, list[Note]], None] = lambda row, notes: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FillResult:
    """Make the fills of a request.

    Args:
        on_progress: called with 0 when the song has been read, then with the seconds of the region that all fills have.
        on_notes: called with a row and its notes as `Filling.step` gives them.
        should_stop: asked after each block.

    Raises:
        BadInput: the weights cannot fill, or the settings do not fit them.
        KeyboardInterrupt: it is to stop before there is a note.
    """
    raise NotImplementedError


class Filling:
    """Fills of one or several requests on their way through the engine, each sample in a row of its own.

    Requests may share one if their ``settings`` are equal but for ``num_samples``.  Row by row they come in the order
    of the requests.  A fill made in company is made again alone by a request of ``settings.num_samples`` rows.

    over: whether all rows are done.  done: bool of each row.  seconds: of the region that each row has.
    seed: of the batch.
    """

    over: bool
    done: Sequence[bool]
    seconds: Sequence[float]
    seed: int

    def __init__(self, requests: Sequence[FillRequest], model: Model, seed: int | None = None, rows: int | None = None):
        """Read the first windows.

        seed: that of the first request unless given, or a new one.  rows: of the batch, if there are to be more than
        the requests have: copies that nobody waits for.

        Raises BadInput if the weights cannot fill or the settings do not fit them.
        """
        raise NotImplementedError

    def step(self) -> list[list[Note]]:
        """Draw one block.

        Returns, for each row, the notes that it struck or ended, in order.  A note that still sounds has ``math.nan``
        for its end, and is given again, with the same onset and pitch, when it ends.
        """
        raise NotImplementedError

    def stop(self, row: int) -> None:
        """Let a row end where it is; the rest of its region is as it was."""
        raise NotImplementedError

    def fill(self, row: int) -> Fill:
        """The fill of a row that is done, not scored."""
        raise NotImplementedError

    def result(self, number: int = 0, *, score: bool = True) -> FillResult:
        """The fills of a request that is done; score: find out which is the likeliest, which takes a pass over each."""
        raise NotImplementedError
