"""MIDI files <-> Performance.

Reading, in the words of its outcomes:

* events become keys and pedals as `playing` says;
* drums (of channel 10, or as `drums` says) are dropped, all other programs and tracks become one piano;
* a note of no length is kept, as short as can be;
* where nothing happens for ten minutes or more, the pause is cut (see `pauses`);
* a pedal that is never released stays down until the last event (`performance.apply_pedal`);
* everything of this that happened is reported in the remarks; a file without notes is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from musicgen.data_prep import limits, playing, smf
from musicgen.data_prep.drums import find_drums
from musicgen.data_prep.errors import counted
from musicgen.data_prep.files import open_regular, write_atomically
from musicgen.data_prep.pauses import cut_pauses
from musicgen.data_prep.performance import Performance, remove_overlaps
from musicgen.data_prep.score import LONGEST_NAME, NAME, PIANO, SET_TEMPO, Score, is_mark, tempo_event
from musicgen.data_prep.smf import MidiError
from musicgen.data_prep.smf_writer import Event, write_file
from musicgen.data_prep.source import END_PLACE, no_source, rank
from musicgen.data_prep.time_base import DEFAULT_TEMPO, ROUNDED, Clock

__all__ = ["MidiError", "read_midi", "read_text", "write_midi"]

MAX_SECONDS = 24 * 3600.0
LOOSE = 0.004  # seconds that new music may be moved: less than half a step, so that its tokens stay what they are
FEW_PARTS = (1, 2, 3, 4, 6, 8, 12, 16)  # of a file's own ticks


def read_midi(source: str | Path | bytes) -> tuple[Performance, tuple[str, ...]]:
    """The music of a MIDI file, and remarks on what in it was not plain piano music (see the module).

    `source` is a path or a whole file's bytes. Raises MidiError, and nothing else, if it cannot be read.
    """
    events = smf.parse(_content(source))
    _check_counts(events)
    drum_events = find_drums(events)
    events, pauses = cut_pauses(events, drum_events)
    remarks = [*events.remarks, *pauses]
    stream = playing.merge_tracks(events)
    is_drum = drum_events[stream.event]
    drums = int(np.count_nonzero(playing.strikes(stream) & is_drum))
    if drums:
        remarks.append(f"{counted(drums, 'drum note')} dropped")
    keys = playing.pair_notes(stream, ~is_drum)
    if not len(keys.down):
        why = f" ({' and '.join(remarks)})" if remarks else ""
        raise MidiError(f"the file holds no piano notes{why}; give a file with notes")
    hanging = int(np.count_nonzero(keys.up == len(stream.tick)))
    if hanging:
        remarks.append(f"{counted(hanging, 'note')} never ended, held to the end of the track")
    remarks += _programs(stream, np.unique(stream.channel[keys.down]))
    performance, pedal_remarks = playing.to_performance(events, stream, keys, ~is_drum)
    remarks += pedal_remarks
    score = _score_of(events)
    if score is not None:
        known = performance.source or no_source(len(performance), len(performance.pedal))
        performance = replace(performance, source=replace(known, score=score))
    empty_notes = int(np.count_nonzero(performance.end == performance.onset))
    if empty_notes:
        remarks.append(f"{counted(empty_notes, 'note')} of no length kept, as short as can be")
    latest = max(performance.end.max(), performance.pedal[-1, 0] if len(performance.pedal) else 0.0)
    if latest > MAX_SECONDS:
        hours = latest / 3600
        raise MidiError(f"the file lasts {hours:,.0f} hours, 24 are the most; its times are damaged")
    return performance, tuple(remarks)


def _check_counts(events: smf.MidiEvents) -> None:
    kind = events.status & 0xF0
    notes = int(np.count_nonzero((kind == playing.NOTE_ON) & (events.data2 > 0)))
    controls = int(np.count_nonzero((kind != playing.NOTE_ON) & (kind != playing.NOTE_OFF)))
    for count, most, what in (
        (notes, limits.MIDI_NOTES, "notes"),
        (controls, limits.MIDI_CONTROLS, "controllers, programs and bends"),
    ):
        if count > most:
            raise MidiError(f"the file holds {count:,} {what}, {most:,} are the most; thin it out or cut it first")


def read_text(source: str | Path | bytes) -> tuple[str, ...]:
    """The text events of a MIDI file in order, such as those that `write_midi` puts in. Raises MidiError."""
    return smf.parse(_content(source)).text


def _content(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        with open_regular(path) as file:
            return file.read(limits.MIDI_BYTES + 1)  # enough for `parse` to see that it is too large
    except FileNotFoundError:
        raise MidiError(f"there is no file {path}; check the name") from None
    except IsADirectoryError:
        raise MidiError(f"{path} is a directory; name one MIDI file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidiError(f"{path} cannot be read: {reason}") from None


def _programs(stream: playing.Stream, channels: np.ndarray) -> list[str]:
    """Remarks on programs other than pianos, and on several channels that play."""
    changes = (stream.kind == 0xC0) & np.isin(stream.channel, channels)
    foreign = np.unique(stream.data1[changes & (stream.data1 >= 8)])
    remarks = []
    if len(foreign):
        names = ", ".join(str(program + 1) for program in foreign.tolist())
        remarks.append(f"General MIDI {'program' if len(foreign) == 1 else 'programs'} {names} read as piano")
    if len(channels) > 1:
        remarks.append(f"{len(channels)} channels merged into one piano")
    return remarks


def _score_of(events: smf.MidiEvents) -> Score | None:
    """The score of a file; None if it says nothing but what is written without one."""
    frames = events.time_base.in_frames
    marks = [event for event in events.long if is_mark(event.data) and not (frames and event.data[1] == SET_TEMPO)]
    marks.sort(key=lambda event: event.tick)
    seconds = events.seconds(np.array([event.tick for event in marks], np.int64)).tolist()
    with_notes = set(np.unique(events.track[(events.status & 0xF0) == playing.NOTE_ON]).tolist())
    named = [event for event in events.long if event.data[:2] == bytes([smf.META, NAME]) and event.data[2:].strip()]
    score = Score(
        None if frames else events.division,
        tuple((time, event.data) for time, event in zip(seconds, marks, strict=True)),
        _names(event.data[2:] for event in named if event.track not in with_notes),
        _names(event.data[2:] for event in named if event.track in with_notes) or PIANO,
    )
    return None if score.is_ours else score


def _names(names: Iterable[bytes]) -> bytes:
    return b", ".join(dict.fromkeys(name.strip() for name in names))[:LONGEST_NAME]


def write_midi(
    performance: Performance,
    path: str | Path | None = None,
    *,
    text: Sequence[str] = (),
    name: str = "Piano",
    loose_from: float | None = None,
) -> bytes:
    """The performance as a Standard MIDI File (type 1, one piano track), written to `path` if there is one; returns
    its bytes.

    Equal performances and texts give equal bytes. Music that comes from no file is written at tempo 120 on ticks of 25
    microseconds; that of a file on its own ticks, or parts of them, and with its tempo map, metre, keys and names. A
    note lasts a tick at the least, a repeated pitch ends the earlier note (MIDI knows one note per key). `text` goes in
    as text events before the music. The file appears whole or not at all. Raises OSError if it cannot be written.

    loose_from: from this second on times may be moved by up to four milliseconds, so that the file's own ticks, or few
        parts of them, will do; None moves nothing.
    """
    source = performance.source
    score = (source and source.score) or Score(name=name.encode())
    clock = _clock_of(performance, score, loose_from)
    channel = source.channel if source is not None else 0
    conductor = _conductor(score, clock, text)
    head = [(0, bytes([smf.META, NAME]) + score.name), (0, bytes([0xC0 | channel, 0]))]
    piano = itertools.chain(head, _events(performance, clock))
    content = write_file(clock.division, (conductor, piano))
    if path is not None:
        write_atomically(Path(path), content)
    return content


def _clock_of(performance: Performance, score: Score, loose_from: float | None) -> Clock:
    """The finest ticks, or the fewest that hold the music."""
    finest = Clock.of(score.time_base())
    if loose_from is None or performance.source is None or performance.source.score is None:
        return finest
    fewer = (Clock(finest.base, parts) for parts in FEW_PARTS if parts < finest.parts)
    return next((clock for clock in fewer if _holds(performance, clock, loose_from)), finest)


def _holds(performance: Performance, clock: Clock, loose_from: float) -> bool:
    """Whether nothing is moved before this second, and little from there on."""
    notes, other_ticks, _ = _in_ticks(performance, clock)
    source = performance.source or no_source(len(performance), len(performance.pedal))
    times = np.concatenate([performance.onset, performance.end, performance.pedal[:, 0], source.time])
    ticks = np.concatenate([notes.onset, notes.end, notes.pedal[:, 0], other_ticks])
    moved = np.abs(clock.base.seconds(ticks / clock.parts) - times)
    return bool(np.all(moved <= np.where(times < loose_from - ROUNDED, 2 * ROUNDED, LOOSE)))


def _conductor(score: Score, clock: Clock, text: Sequence[str]) -> list[Event]:
    """The track without notes: title, tempo map, metre and keys; at its beginning also texts."""
    ticks = clock.ticks(np.array([seconds for seconds, _ in score.events]))
    marks = [(tick, data) for tick, (_, data) in zip(ticks.tolist(), score.events, strict=True)]
    if not any(tick == 0 and data[1] == SET_TEMPO for tick, data in marks):
        marks.insert(0, (0, tempo_event(DEFAULT_TEMPO)))
    first = sum(tick == 0 for tick, _ in marks)
    title = [(0, bytes([smf.META, NAME]) + score.title)] if score.title else []
    texts = [(0, bytes([smf.META, smf.TEXT]) + line.encode()) for line in text]
    return [*title, *marks[:first], *texts, *marks[first:]]


def _events(performance: Performance, clock: Clock) -> Iterator[Event]:
    """All events of the piano; at one tick in the order of the source, or else pedal, note-offs and note-ons, as
    note-seq takes them."""
    notes, other_ticks, other_ranks = _in_ticks(performance, clock)
    notes = remove_overlaps(notes)  # in ticks, which are whole numbers that a double holds exactly
    source = notes.source or no_source(len(notes), len(notes.pedal))
    own = ~np.isin(source.pedal_place, other_ranks)  # what another message does to the pedal is not said again
    pedal, ranks = notes.pedal[own], source.pedal_place[own]
    others = np.zeros((len(other_ticks), 3))  # stands in their place
    columns = (
        (pedal[:, 0], ranks, _messages(playing.CONTROL | source.channel, playing.SUSTAIN, np.rint(pedal[:, 1]))),
        (other_ticks, other_ranks, others),
        (notes.end, source.end_place, _messages(playing.NOTE_OFF | source.channel, notes.pitch, source.release)),
        (notes.onset, source.onset_place, _messages(playing.NOTE_ON | source.channel, notes.pitch, notes.velocity)),
    )
    tick, rank, short = (np.concatenate(parts).astype(np.int64) for parts in zip(*columns, strict=True))
    # Tens of megabytes as arrays, and hundreds as objects: a message is made when it is its turn.
    order, data, first = np.lexsort((rank, tick)), short.astype(np.uint8).tobytes(), len(pedal)
    for number, now in zip(order, tick[order], strict=True):
        other = int(number) - first
        is_other = 0 <= other < len(source.data)
        yield int(now), source.data[other] if is_other else data[3 * number : 3 * number + 3]


def _messages(status: int, first: np.ndarray | int, second: np.ndarray) -> np.ndarray:
    """[n, 3]: messages of two data bytes."""
    return np.stack(np.broadcast_arrays(status, first, second), axis=1)


def _in_ticks(performance: Performance, clock: Clock) -> tuple[Performance, np.ndarray, np.ndarray]:
    """(times in ticks, each new note lasting one at the least, and for places the ranks among all events;
    ticks and ranks of the source's other events)."""
    onset, pedal = _keep_order(performance, clock.ticks(performance.onset)), performance.pedal.copy()
    pedal[:, 0] = clock.ticks(pedal[:, 0])
    end, source = clock.ticks(performance.end), performance.source
    # A file's own note of no length stays as it is.
    end = np.maximum(end, onset + 1 if source is None else onset + (source.end_place == END_PLACE))
    other_ticks = other_ranks = np.zeros(0, np.int64)
    if source is not None:
        times = (source.time, performance.onset, performance.end, performance.pedal[:, 0])
        places = (source.place, source.onset_place, source.end_place, source.pedal_place)
        other_ticks = clock.ticks(source.time)
        other_ranks, *ranks = rank(times, places)
        source = replace(source, onset_place=ranks[0], end_place=ranks[1], pedal_place=ranks[2])
    notes = Performance(onset, end, performance.pitch, performance.velocity, pedal, source)
    return notes, other_ticks, other_ranks


def _keep_order(performance: Performance, onset: np.ndarray) -> np.ndarray:
    """Onsets in ticks where those that come one after the other, in an order that is not that of their pitches, do so
    in ticks, too: notes of one tick are read in the order of their pitches."""
    falls = (np.diff(performance.onset) > 0) & (np.diff(performance.pitch.astype(int)) <= 0)
    of_ours = performance.source is None or performance.source.score is None  # on a grid that keeps it
    if of_ours or not np.any(falls & (np.diff(onset) <= 0)):
        return onset
    moved = onset.tolist()
    for note in range(1, len(moved)):
        moved[note] = max(moved[note], moved[note - 1] + int(falls[note - 1]))
    return np.array(moved)
