"""The music a generation begins with: read, trimmed to its opening, turned into tokens, packed for replay."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np

from musicgen.app.errors import BadInput, cannot_read
from musicgen.app.limits import (
    LARGEST_PACKED,
    LARGEST_SCORE,
    MOST_OTHER_BYTES,
    MOST_PRIME_NOTES,
    MOST_PRIME_OTHERS,
    MOST_PRIME_PEDAL,
)
from musicgen.app.output import STDIN
from musicgen.data_prep import STEPS_PER_SECOND, MidiError, Performance, encode, read_midi, steps
from musicgen.data_prep import source as source_bytes
from musicgen.data_prep.events import KINDS, Kind
from musicgen.data_prep.files import open_regular
from musicgen.data_prep.limits import MIDI_BYTES
from musicgen.data_prep.midi import MAX_SECONDS
from musicgen.data_prep.performance import PEDAL_DOWN, on_grid
from musicgen.data_prep.score import LONGEST_NAME, Score, is_mark
from musicgen.data_prep.source import Source, no_source
from musicgen.data_prep.time_base import FINEST

# Seconds per tick of the MIDI files we write.  A prime is on this grid, so it can be packed without loss; its times
# are ticks *multiplied* by it, as reading such a file gives them, so that half steps of the tokens round alike.
TICK = 2.5e-5
AND = "."  # between the parts of a packed prime: notes and pedal, a score, the order of events and all others
PART = 2**16  # bytes that are packed at once
MOST_SOURCE = 12 + 17 * MOST_PRIME_NOTES + 8 * MOST_PRIME_PEDAL + 24 * MOST_PRIME_OTHERS + MOST_OTHER_BYTES


@dataclasses.dataclass(frozen=True)
class Prime:
    """The opening that is continued.

    performance: its notes and pedal, as played; ends of notes may lie beyond the cut.
    tokens: int16[T], BOS first.  Notes that still sound at the cut have no note-off here: the model ends them.
    seconds: when the last of the tokens happens, which is where the new music's time begins.
    sha256: of the MIDI file it came from.
    """

    performance: Performance
    tokens: np.ndarray
    seconds: float
    sha256: str


def read_bytes(path: Path) -> bytes:
    """The bytes of a MIDI file, or of standard input, at most one more than `read_midi` accepts, so that it can say so.

    Raises BadInput or EnvironmentProblem if there is nothing to read.
    """
    try:
        with sys.stdin.buffer if path == STDIN else open_regular(path) as file:
            return file.read(MIDI_BYTES + 1)
    except OSError as error:
        raise cannot_read(path, error, "MIDI file") from None


def parse_midi(data: bytes, path: Path) -> tuple[Performance, tuple[str, ...]]:
    """The music in the bytes of a MIDI file, and remarks on what else was in it; ``path`` is for the message.

    Raises BadInput if it is not MIDI with notes.
    """
    try:
        return read_midi(data)
    except MidiError as error:
        raise BadInput(f"{path}: {error}") from None


def read_prime(path: Path, seconds: float | None) -> tuple[Prime, tuple[str, ...]]:
    """Read a MIDI file and keep its first ``seconds`` (None: all), counted from its first note.

    Returns the prime and remarks on what the file held besides notes and pedal.
    Raises BadInput if there is no such file or it is not MIDI with notes.
    """
    data = read_bytes(path)
    performance, remarks = parse_midi(data, path)
    return make_prime(performance, seconds, hashlib.sha256(data).hexdigest()), remarks


def make_prime(performance: Performance, seconds: float | None, sha256: str) -> Prime:
    """The opening of a performance with at least one note, as tokens; doing it twice changes nothing.

    Raises BadInput if it has more notes or pedal events than a prime may have.
    """
    if seconds is not None and len(performance) > MOST_PRIME_NOTES:  # before anything is done with the rest
        performance = opening(performance, float(performance.onset[0]) + seconds + 1.0)
    sizes = ((len(performance), MOST_PRIME_NOTES, "notes"), (len(performance.pedal), MOST_PRIME_PEDAL, "pedal events"))
    for count, most, what in sizes:
        if count > most:
            raise BadInput(f"the prime has {count:,} {what}, {most:,} are the most: cut it with --prime-seconds 60")
    performance = on_grid(performance, TICK)
    tokens = encode(performance, bos=True)
    if seconds is not None:
        cut = float(performance.onset[0]) + seconds
        performance = opening(performance, cut)
        tokens = encode(performance, bos=True)
        tokens = tokens[steps(tokens) <= np.floor(cut * STEPS_PER_SECOND + 0.5)]
    # A time shift that no event follows says nothing yet: the model decides how long the pause is.
    shift = KINDS[tokens] == Kind.TIME_SHIFT
    tokens = tokens[: int(np.flatnonzero(~shift)[-1]) + 1]
    return Prime(performance, tokens, float(steps(tokens)[-1]) / STEPS_PER_SECOND, sha256)


def opening(performance: Performance, cut: float) -> Performance:
    """The notes struck before ``cut`` seconds with their own ends, and the pedal up to the release that frees them."""
    keep = performance.onset < cut
    ends = performance.end[keep]
    last = max(cut, float(ends.max())) if ends.size else cut
    time, value = performance.pedal[:, 0], performance.pedal[:, 1]
    release = np.flatnonzero((time > last) & (value < PEDAL_DOWN))
    until = time[release[0]] if release.size else np.inf
    kept, source = time <= until, performance.source
    return Performance(
        performance.onset[keep],
        ends,
        performance.pitch[keep],
        performance.velocity[keep],
        performance.pedal[kept],
        source and source.part(0.0, cut).take(keep, kept),
    )


def pack(prime: Prime) -> str | None:
    """The prime's notes, pedal and source as ASCII text, without loss; None if that is more than `unpack` takes."""
    music = prime.performance
    if len(music) > MOST_PRIME_NOTES or len(music.pedal) > MOST_PRIME_PEDAL:
        return None
    onset, pedal = _ticks(music.onset), _ticks(music.pedal[:, 0])
    columns = (np.diff(onset, prepend=0), _ticks(music.end) - onset, np.diff(pedal, prepend=0))
    header = np.array([len(music), len(music.pedal)], "<u4")
    data = b"".join(
        [header.tobytes()]
        # Bytes of equal weight side by side compress far better than whole integers do.
        + [column.astype("<i8").view(np.uint8).reshape(-1, 8).T.tobytes() for column in columns]
        + [music.pitch.tobytes(), music.velocity.tobytes(), music.pedal[:, 1].astype("<f4").tobytes()]
    )
    source, score, others = music.source, b"", b""
    if source is not None:
        if len(source.data) > MOST_PRIME_OTHERS or sum(map(len, source.data)) > MOST_OTHER_BYTES:
            return None
        score = _score_to_json(source.score).encode("ascii") if source.score is not None else b""
        others = source_bytes.pack(source, TICK) if source.says_more else b""
    parts = [data] if source is None else [data, score, others] if others else [data, score]
    text = ""
    for number, part in enumerate(parts):
        packed = _compress(part, LARGEST_PACKED - len(text)) if part else ""
        if packed is None:
            return None
        text += AND * (number > 0) + packed
    return text if len(text) <= LARGEST_PACKED else None


def unpack(
    text: str, seconds: float | None, sha256: str, *, longest: float = MAX_SECONDS, most: int = MOST_PRIME_NOTES
) -> Prime:
    """Inverse of `pack`, for a text that anybody may have written.

    Raises BadInput if it is damaged, has more than ``most`` notes, or lasts longer than ``longest`` seconds.
    """
    try:
        if len(text) > LARGEST_PACKED:
            raise ValueError("it is too long")
        notes, score, source = (text + 2 * AND).split(AND)[:3]
        performance = _unpack(notes, most)
        if score or source:
            performance = dataclasses.replace(performance, source=_unpack_source(performance, score, source))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise BadInput(f"the prime inside this file is damaged ({error}): give it with --prime FILE") from None
    lasts = float(performance.onset[-1] - performance.onset[0])
    if lasts > longest:
        raise BadInput(f"the prime inside this file lasts {lasts / 60:.0f} minutes, {longest / 60:g} are the most here")
    return make_prime(performance, seconds, sha256)


def pack_bytes(data: bytes) -> str | None:
    """A whole file as ASCII text; None if that is more than `unpack_bytes` takes."""
    text = _compress(data, LARGEST_PACKED)
    return text if text is not None and len(text) <= LARGEST_PACKED else None


def unpack_bytes(text: str) -> bytes:
    """Inverse of `pack_bytes`, for a text that anybody may have written.  Raises BadInput if it is damaged."""
    try:
        if len(text) > LARGEST_PACKED:
            raise ValueError("it is too long")
        return _decompress(text, MIDI_BYTES)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise BadInput(f"the song inside this file is damaged ({error}): give it with --prime FILE") from None


def _unpack(text: str, most_notes: int) -> Performance:
    """Every number is checked before anything is made of it.  Raises ValueError, zlib.error."""
    data = _decompress(text, 8 + 18 * MOST_PRIME_NOTES + 12 * MOST_PRIME_PEDAL)
    notes, events = (int(n) for n in np.frombuffer(data, "<u4", 2))
    if not 1 <= notes <= most_notes or events > MOST_PRIME_PEDAL:
        raise ValueError(f"it has {notes:,} notes and {events:,} pedal events")
    sizes = (8 * notes, 8 * notes, 8 * events, notes, notes, 4 * events)
    if len(data) != 8 + sum(sizes):
        raise ValueError("wrong length")
    parts, at = [], 8
    for size in sizes:
        parts.append(np.frombuffer(data, np.uint8, size, at))
        at += size
    steps_on, length, steps_pedal = (part.reshape(8, -1).T.copy().view("<i8").ravel() for part in parts[:3])
    most = round(MAX_SECONDS / TICK)
    for ticks in (steps_on, length, steps_pedal):
        if ticks.size and not (ticks.min() >= 0 and ticks.max() <= most):
            raise ValueError("a time in it is below zero or more than a day")
    onset, time = np.cumsum(steps_on), np.cumsum(steps_pedal)  # no sum of so few such numbers overflows
    if max(int((onset + length).max()), int(time[-1]) if events else 0) > most:
        raise ValueError("it lasts more than a day")
    values = parts[5].view("<f4")
    if not np.isfinite(values).all():  # to turn one into another kind of number would be a warning of NumPy's
        raise ValueError("a pedal value is no number")
    pedal = np.stack([time * TICK, values.astype(np.float64)], axis=1)
    return Performance(onset * TICK, (onset + length) * TICK, parts[3], parts[4], pedal)


def _unpack_source(performance: Performance, score: str, source: str) -> Source:
    counts = (len(performance), len(performance.pedal))
    found = no_source(*counts)
    if source:
        found = source_bytes.unpack(_decompress(source, MOST_SOURCE), *counts, TICK, round(MAX_SECONDS / TICK))
    return dataclasses.replace(found, score=_score_from_json(_decompress(score, LARGEST_SCORE)) if score else None)


def _score_to_json(score: Score) -> str:
    ticks = _ticks(np.array([seconds for seconds, _ in score.events])).tolist()
    events = [[tick, data.hex()] for tick, (_, data) in zip(ticks, score.events, strict=True)]
    return json.dumps([score.division, score.title.hex(), score.name.hex(), events], separators=(",", ":"))


def _score_from_json(text: bytes) -> Score:
    """Raises ValueError for what `_score_to_json` cannot have written."""
    try:
        division, title, name, events = json.loads(text)
        ticks = [tick for tick, _ in events]
        marks = [bytes.fromhex(data) for _, data in events]
        title, name = bytes.fromhex(title), bytes.fromhex(name)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its score: {error}") from None
    plain = all(type(tick) is int for tick in [*ticks, 1 if division is None else division])
    if (
        not plain
        or not 1 <= (1 if division is None else division) <= FINEST
        or max(len(title), len(name)) > LONGEST_NAME
    ):
        raise ValueError("its score has no meaning")
    if ticks != sorted(ticks) or (ticks and not 0 <= ticks[0] <= ticks[-1] <= MAX_SECONDS / TICK):
        raise ValueError("its score's times")
    if not all(is_mark(data) for data in marks):
        raise ValueError("its score's events")
    return Score(division, tuple((tick * TICK, data) for tick, data in zip(ticks, marks, strict=True)), title, name)


def _compress(data: bytes, most: int) -> str | None:
    """As ASCII; None, soon, if that takes more letters than ``most``."""
    packer, packed = zlib.compressobj(9), b""
    for at in range(0, len(data), PART):
        packed += packer.compress(data[at : at + PART])
        if len(packed) > most:
            return None
    return base64.b64encode(packed + packer.flush()).decode("ascii")


def _decompress(text: str, most: int) -> bytes:
    """At most so many bytes.  Raises ValueError, zlib.error."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(text, validate=True), most)
    if not inflate.eof:
        raise ValueError("wrong length")
    return data


def _ticks(seconds: np.ndarray) -> np.ndarray:
    return np.rint(seconds / TICK).astype(np.int64)
