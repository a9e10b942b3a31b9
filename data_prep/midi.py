"""MIDI files <-> Performance.

Reading, in the words of its outcomes:

* notes are paired as pretty_midi pairs them, per track, channel and pitch: a note-off (or a note-on of velocity 0)
  ends all open notes, save those that began on its own tick; if only such notes are open, they have no length and are
  dropped;
* a note that is never ended is held to the end of its track, `HANGING_SECONDS` beyond the track's last note event at
  most;
* drums (of channel 10, or as `drums` says) are dropped, all other programs and tracks become one piano;
* the pedal (CC64) belongs to a channel, whatever track it stands in. If one channel plays, its pedal events are kept.
  If several play and there is pedal, each channel's own pedal goes into its notes' ends, since a `Performance` has
  one pedal only;
* where nothing happens for ten minutes or more, the pause is cut (see `pauses`);
* a pedal that is never released stays down until the last event (`performance.apply_pedal`);
* everything of this that happened is reported in the remarks; a file without notes is an error.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np

from musicgen.data_prep import limits, smf
from musicgen.data_prep.drums import find_drums
from musicgen.data_prep.files import write_atomically
from musicgen.data_prep.pauses import cut_pauses
from musicgen.data_prep.performance import NO_PEDAL, PEDAL_DOWN, Performance, apply_pedal, merge, remove_overlaps
from musicgen.data_prep.smf import MidiError

__all__ = ["MidiError", "read_midi", "read_text", "write_midi"]

HANGING_SECONDS = 1.0
MAX_SECONDS = 24 * 3600.0
SUSTAIN = 64

# 500,000 microseconds a quarter note and 20,000 ticks in it: a tick is 25 microseconds, 400 ticks a step of 10 ms, so
# that `tokens.decode` can order the onsets inside a step.
TEMPO = 500_000
TICKS_PER_QUARTER = 20_000
TICKS_PER_SECOND = 40_000


class _Notes(NamedTuple):
    """Paired notes of a file, in order of their onsets' place in it."""

    onset: np.ndarray  # i64 ticks
    end: np.ndarray  # i64 ticks
    pitch: np.ndarray
    velocity: np.ndarray
    channel: np.ndarray
    hanging: np.ndarray  # bool


def read_midi(source: str | Path | bytes) -> tuple[Performance, tuple[str, ...]]:
    """The music of a MIDI file, and remarks on what in it was not plain piano music (see the module).

    `source` is a path or a whole file's bytes. Raises MidiError, and nothing else, if it cannot be read.
    """
    events = smf.parse(_content(source))
    is_drum = find_drums(events)
    events, pauses = cut_pauses(events, is_drum)
    remarks = [*events.remarks, *pauses]
    notes, drums, empty_notes = _pair_notes(events, is_drum)
    if drums:
        remarks.append(f"{_count(drums, 'drum note')} dropped")
    if empty_notes:
        remarks.append(f"{_count(empty_notes, 'note')} of zero length dropped")
    if not len(notes.onset):
        why = f" ({' and '.join(remarks)})" if remarks else ""
        raise MidiError(f"the file holds no piano notes{why}; give a file with notes")
    hanging = int(notes.hanging.sum())
    if hanging:
        remarks.append(f"{_count(hanging, 'note')} never ended, held to the end of the track")
    remarks += _programs(events, notes)
    performance, pedal_remarks = _to_performance(events, notes)
    remarks += pedal_remarks
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


def _pair_notes(events: smf.MidiEvents, is_drum: np.ndarray) -> tuple[_Notes, int, int]:
    """(notes without drums, number of drum notes, number of notes of zero length)."""
    kind, channel = events.status & 0xF0, events.status & 0x0F
    is_note = (kind == 0x80) | (kind == 0x90)
    strikes = is_note & (kind == 0x90) & (events.data2 > 0)
    drums = int(np.count_nonzero(strikes & is_drum))
    index = np.flatnonzero(is_note & ~is_drum)
    key = (events.track[index].astype(np.int64) << 11) | (channel[index].astype(np.int64) << 7) | events.data1[index]
    index = index[np.argsort(key, kind="stable")]
    key.sort(kind="stable")
    tick, on = events.tick[index], strikes[index]
    count = len(index)
    # For each event the next note-off of its key, or `count`.
    ends = np.minimum.accumulate(np.where(on, count, np.arange(count))[::-1])[::-1]
    known = ends < count
    known[known] = key[ends[known]] == key[known]
    hanging = on & ~known
    end = np.where(known, tick[np.minimum(ends, count - 1)], -1) if count else tick
    dropped = 0
    same_tick = on & known & (end == tick)
    for affected in np.unique(key[same_tick]):
        first, last = np.searchsorted(key, affected), np.searchsorted(key, affected, side="right")
        ended = _ends_of_key(tick[first:last].tolist(), on[first:last].tolist())
        end[first:last] = ended
        hanging[first:last] = on[first:last] & (end[first:last] == -1)
        dropped += ended.count(_DROPPED)
    track = events.track[index]
    if hanging.any():
        latest = np.zeros(len(events.track_end), np.int64)
        np.maximum.at(latest, track, tick)
        allowed = _tick_after(events, latest, HANGING_SECONDS)
        end = np.where(hanging, np.minimum(events.track_end, allowed)[track], end)
        dropped += int(np.count_nonzero(hanging & (end <= tick)))
    hanging &= end > tick
    kept = np.flatnonzero(on & (end > tick))
    kept = kept[np.argsort(index[kept], kind="stable")]
    source = index[kept]
    fields = (tick[kept], end[kept], events.data1[source], events.data2[source], channel[source], hanging[kept])
    return _Notes(*fields), drums, dropped


_DROPPED = -2


def _ends_of_key(ticks: list[int], strikes: list[bool]) -> list[int]:
    """Ends of one key's notes event by event, for keys with a note-off on the very tick of a note-on: the tick, -1
    for never, `_DROPPED` for no length; -1 for the note-offs themselves."""
    ends = [-1] * len(ticks)
    open_notes: list[int] = []
    for number, (tick, strike) in enumerate(zip(ticks, strikes, strict=True)):
        if strike:
            open_notes.append(number)
            continue
        closing = [note for note in open_notes if ticks[note] != tick]
        staying = [note for note in open_notes if ticks[note] == tick]
        for note in closing:
            ends[note] = tick
        if not closing:
            for note in staying:
                ends[note] = _DROPPED
            staying = []
        open_notes = staying
    return ends


def _tick_after(events: smf.MidiEvents, ticks: np.ndarray, seconds: float) -> np.ndarray:
    """The tick about `seconds` after each tick, at the tempo that holds there."""
    rate = events.seconds(ticks + 1) - events.seconds(ticks)
    return ticks + np.rint(seconds / np.maximum(rate, 1e-9)).astype(np.int64)


def _programs(events: smf.MidiEvents, notes: _Notes) -> list[str]:
    """Remarks on programs other than pianos and on several channels."""
    channels = np.unique(notes.channel)
    changes = (events.status & 0xF0) == 0xC0
    changes &= np.isin(events.status & 0x0F, channels)
    foreign = np.unique(events.data1[changes & (events.data1 >= 8)])
    remarks = []
    if len(foreign):
        names = ", ".join(str(program + 1) for program in foreign.tolist())
        remarks.append(f"General MIDI {'program' if len(foreign) == 1 else 'programs'} {names} read as piano")
    if len(channels) > 1:
        remarks.append(f"{len(channels)} channels merged into one piano")
    return remarks


def _to_performance(events: smf.MidiEvents, notes: _Notes) -> tuple[Performance, list[str]]:
    onset, end = events.seconds(notes.onset), events.seconds(notes.end)
    channels = np.unique(notes.channel)
    is_pedal = ((events.status & 0xF0) == 0xB0) & (events.data1 == SUSTAIN)
    pedals = {}
    remarks = []
    for channel in channels.tolist():
        of_channel = np.flatnonzero(is_pedal & ((events.status & 0x0F) == channel))
        of_channel = of_channel[np.argsort(events.tick[of_channel], kind="stable")]
        if len(of_channel):
            values = events.data2[of_channel]
            pedals[channel] = np.stack([events.seconds(events.tick[of_channel]), values.astype(np.float64)], axis=1)
            if values[-1] >= PEDAL_DOWN:
                remarks.append("the pedal is never released")

    def of(channel: int | None, pedal: np.ndarray) -> Performance:
        chosen = slice(None) if channel is None else notes.channel == channel
        return Performance(onset[chosen], end[chosen], notes.pitch[chosen], notes.velocity[chosen], pedal)

    if not pedals or len(channels) == 1:
        return of(None, next(iter(pedals.values()), NO_PEDAL)), remarks
    remarks.append(f"pedal on {len(pedals)} of {len(channels)} channels, applied to each channel's own notes")
    return merge([apply_pedal(of(channel, pedals.get(channel, NO_PEDAL))) for channel in channels.tolist()]), remarks


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
    piano.append(mido.Message("program_change", channel=0, program=0, time=0))
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


def _messages(performance: Performance) -> list[mido.Message]:
    """Pedal, note-offs and note-ons with delta times; at one tick in that order, as note-seq takes them."""

    def ticks(seconds: np.ndarray) -> np.ndarray:
        return np.rint(seconds * TICKS_PER_SECOND).astype(np.int64)

    onset = ticks(performance.onset)
    on_grid = Performance(
        onset, np.maximum(ticks(performance.end), onset + 1), performance.pitch, performance.velocity, NO_PEDAL
    )
    notes = remove_overlaps(on_grid)  # in ticks, which are whole numbers that a double holds exactly
    pedal_tick, pedal_value = ticks(performance.pedal[:, 0]), np.rint(performance.pedal[:, 1]).astype(int)
    entries = [(tick, 0, value, 0) for tick, value in zip(pedal_tick.tolist(), pedal_value.tolist(), strict=True)]
    entries += [(tick, 1, pitch, 0) for tick, pitch in zip(notes.end.tolist(), notes.pitch.tolist(), strict=True)]
    entries += [
        (tick, 2, pitch, velocity)
        for tick, pitch, velocity in zip(
            notes.onset.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True
        )
    ]
    entries.sort(key=lambda entry: entry[:2])
    messages, now = [], 0
    for tick, kind, value, velocity in entries:
        delta, now = int(tick) - now, int(tick)
        if kind == 0:
            messages.append(mido.Message("control_change", control=SUSTAIN, value=value, time=delta))
        elif kind == 1:
            messages.append(mido.Message("note_off", note=value, velocity=0, time=delta))
        else:
            messages.append(mido.Message("note_on", note=value, velocity=velocity, time=delta))
    return messages
