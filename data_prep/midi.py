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

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np

from musicgen.data_prep import limits, playing, smf
from musicgen.data_prep.drums import find_drums
from musicgen.data_prep.files import write_atomically
from musicgen.data_prep.pauses import cut_pauses
from musicgen.data_prep.performance import Performance, remove_overlaps
from musicgen.data_prep.smf import MidiError
from musicgen.data_prep.source import END_PLACE, no_source

__all__ = ["MidiError", "read_midi", "read_text", "write_midi"]

MAX_SECONDS = 24 * 3600.0

# 500,000 microseconds a quarter note and 20,000 ticks in it: a tick is 25 microseconds, 400 ticks a step of 10 ms, so
# that `tokens.decode` can order the onsets inside a step.
TEMPO = 500_000
TICKS_PER_QUARTER = 20_000
TICKS_PER_SECOND = 40_000


def read_midi(source: str | Path | bytes) -> tuple[Performance, tuple[str, ...]]:
    """The music of a MIDI file, and remarks on what in it was not plain piano music (see the module).

    `source` is a path or a whole file's bytes. Raises MidiError, and nothing else, if it cannot be read.
    """
    events = smf.parse(_content(source))
    drum_events = find_drums(events)
    events, pauses = cut_pauses(events, drum_events)
    remarks = [*events.remarks, *pauses]
    stream = playing.merge_tracks(events)
    is_drum = drum_events[stream.event]
    drums = int(np.count_nonzero(playing.strikes(stream) & is_drum))
    if drums:
        remarks.append(f"{_count(drums, 'drum note')} dropped")
    keys = playing.pair_notes(stream, ~is_drum)
    if not len(keys.down):
        why = f" ({' and '.join(remarks)})" if remarks else ""
        raise MidiError(f"the file holds no piano notes{why}; give a file with notes")
    hanging = int(np.count_nonzero(keys.up == len(stream.tick)))
    if hanging:
        remarks.append(f"{_count(hanging, 'note')} never ended, held to the end of the track")
    remarks += _programs(stream, np.unique(stream.channel[keys.down]))
    performance, pedal_remarks = playing.to_performance(events, stream, keys)
    remarks += pedal_remarks
    sounding = remove_overlaps(performance)
    empty_notes = int(np.count_nonzero(sounding.end == sounding.onset))
    if empty_notes:
        remarks.append(f"{_count(empty_notes, 'note')} of no length kept, as short as can be")
    latest = max(performance.end.max(), performance.pedal[-1, 0] if len(performance.pedal) else 0.0)
    if latest > MAX_SECONDS:
        hours = latest / 3600
        raise MidiError(f"the file lasts {hours:,.0f} hours, 24 are the most; its times are damaged")
    return performance, tuple(remarks)


def read_text(source: str | Path | bytes) -> tuple[str, ...]:
    """The text events of a MIDI file in order, such as those that `write_midi` puts in. Raises MidiError."""
    return smf.parse(_content(source)).text


def _content(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        with open(path, "rb") as file:
            return file.read(limits.MIDI_BYTES + 1)  # enough for `parse` to see that it is too large
    except FileNotFoundError:
        raise MidiError(f"there is no file {path}; check the name") from None
    except IsADirectoryError:
        raise MidiError(f"{path} is a directory; name one MIDI file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidiError(f"{path} cannot be read: {reason}") from None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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


def write_midi(
    performance: Performance, path: str | Path | None = None, *, text: Sequence[str] = (), name: str = "Piano"
) -> bytes:
    """The performance as a Standard MIDI File (type 1, one piano track), written to `path` if there is one; returns
    its bytes.

    Equal performances and texts give equal bytes. Times are rounded to ticks of 25 microseconds, each note lasts a
    tick at the least, a repeated pitch ends the earlier note (MIDI knows one note per key). `text` goes in as text
    events before the music. The file appears whole or not at all. Raises OSError if it cannot be written.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER, charset="utf-8")
    conductor = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO, time=0)])
    conductor.extend(mido.MetaMessage("text", text=line, time=0) for line in text)
    piano = mido.MidiTrack([mido.MetaMessage("track_name", name=name, time=0)])
    channel = performance.source.channel if performance.source is not None else 0
    piano.append(mido.Message("program_change", channel=channel, program=0, time=0))
    piano.extend(_messages(performance))
    for track in (conductor, piano):
        track.append(mido.MetaMessage("end_of_track", time=0))
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    content = buffer.getvalue()
    if path is not None:
        write_atomically(Path(path), content)
    return content


def _messages(performance: Performance) -> list[mido.Message | mido.MetaMessage]:
    """All events with delta times; at one tick in the order of the source, or else pedal, note-offs and note-ons, as
    note-seq takes them."""
    notes, other_ranks = _in_ticks(performance)
    notes = remove_overlaps(notes)  # in ticks, which are whole numbers that a double holds exactly
    source = notes.source or no_source(len(notes), len(notes.pedal))
    channel = source.channel
    implied = _implied(performance)
    entries: list[tuple[int, int, mido.Message | mido.MetaMessage]] = []

    def add(kind: str, ticks: np.ndarray, ranks: np.ndarray, **fields: np.ndarray) -> None:
        columns = (column.astype(np.int64).tolist() for column in (ticks, ranks, *fields.values()))
        for tick, rank, *values in zip(*columns, strict=True):
            message = mido.Message(kind, channel=channel, **dict(zip(fields, values, strict=True)))
            entries.append((tick, rank, message))

    pedal, ranks = notes.pedal[~implied], source.pedal_place[~implied]
    control = np.full(len(pedal), playing.SUSTAIN)
    add("control_change", pedal[:, 0], ranks, control=control, value=np.rint(pedal[:, 1]))
    entries += zip(_ticks(source.time).tolist(), other_ranks.tolist(), map(_message, source.data), strict=True)
    add("note_off", notes.end, source.end_place, note=notes.pitch, velocity=source.release)
    add("note_on", notes.onset, source.onset_place, note=notes.pitch, velocity=notes.velocity)
    entries.sort(key=lambda entry: entry[:2])
    now = 0
    for tick, _, message in entries:
        message.time, now = tick - now, tick
    return [message for _, _, message in entries]


def _ticks(seconds: np.ndarray) -> np.ndarray:
    return np.rint(seconds * TICKS_PER_SECOND).astype(np.int64)


def _in_ticks(performance: Performance) -> tuple[Performance, np.ndarray]:
    """(times in ticks, each new note lasting one at the least, and for places the ranks among all events;
    those of the source's other events)."""
    onset, pedal = _ticks(performance.onset), performance.pedal.copy()
    pedal[:, 0] = _ticks(pedal[:, 0])
    end, source = _ticks(performance.end), performance.source
    # A file's own note of no length stays as it is.
    end = np.maximum(end, onset + 1 if source is None else onset + (source.end_place == END_PLACE))
    other_ranks = np.zeros(0, np.int64)
    if source is not None:
        times = (source.time, performance.end, performance.pedal[:, 0], performance.onset)
        places = (source.place, source.end_place, source.pedal_place, source.onset_place)
        kinds = np.repeat(np.arange(4), [len(time) for time in times])
        order = np.lexsort((kinds, np.concatenate(places), np.concatenate(times)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        other_ranks, *ranks = np.split(rank, np.cumsum([len(time) for time in times])[:-1])
        source = replace(source, end_place=ranks[0], pedal_place=ranks[1], onset_place=ranks[2])
    return Performance(onset, end, performance.pitch, performance.velocity, pedal, source), other_ranks


def _implied(performance: Performance) -> np.ndarray:
    """bool[p]: the pedal events that another message of the source brings about."""
    source = performance.source
    if source is None or not len(source.time):
        return np.zeros(len(performance.pedal), bool)
    told = set(zip(source.time.tolist(), source.place.tolist(), strict=True))
    moments = zip(performance.pedal[:, 0].tolist(), source.pedal_place.tolist(), strict=True)
    return np.array([moment in told for moment in moments], bool)


def _message(data: bytes) -> mido.Message | mido.MetaMessage:
    if data[0] == 0xFF:
        return mido.UnknownMetaMessage(data[1], data[2:])
    return mido.Message.from_bytes(data)
