"""Channel messages of a MIDI file -> what hands and feet did, in the words of the MIDI 1.0 standard.

* The tracks are one stream, in order of time, then of track, then of place in the track. Within a tick that order is
  kept: a key released before the pedal goes down is not held by it, and a pedal that goes up and down again is down.
* A note-off (or a note-on of velocity 0) ends the youngest open note of its channel and key, in whatever track. A note
  that no note-off is left for ends with the first one after it; if there is none, it is held to the end of its track,
  `HANGING_SECONDS` beyond the track's last note event at most. So one key that two voices hold sounds until the later
  one lets go (`performance.remove_overlaps`).
* CC120 ends all that sounds, CC123 to 127 release all keys, CC121 lifts both pedals.
* A key that is down when the sostenuto pedal (CC66) goes down is held until that pedal comes up.
* If one channel plays, its sustain pedal (CC64) is kept. If several play and there is pedal, each channel's own pedal
  goes into its notes' ends, since a `Performance` has one pedal only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from musicgen.data_prep import smf
from musicgen.data_prep.drums import DRUM_CHANNEL
from musicgen.data_prep.performance import NO_PEDAL, PEDAL_DOWN, Performance, apply_pedal, merge, remove_overlaps
from musicgen.data_prep.source import META, ONSET_PLACE, Source, is_message, no_source

HANGING_SECONDS = 1.0
NOTE_OFF, NOTE_ON, CONTROL, PROGRAM = 0x80, 0x90, 0xB0, 0xC0
BANKS, SUSTAIN, SOSTENUTO = (0, 32), 64, 66
ALL_SOUND_OFF, RESET_CONTROLLERS = 120, 121
KEYS_UP = (ALL_SOUND_OFF, 123, 124, 125, 126, 127)  # with the changes of mode, which imply it

LATE = ONSET_PLACE // 2  # the place of an end that no event of the file makes
OUR_TEXT = b"musicgen"  # how the text events begin that say how a file was made (app/provenance.py)


class Stream(NamedTuple):
    """The channel messages of all tracks in their order: i64[e] event, the number of each in `smf.MidiEvents`, and
    tick; i32[e] the others."""

    event: np.ndarray
    tick: np.ndarray
    track: np.ndarray
    kind: np.ndarray
    channel: np.ndarray
    data1: np.ndarray
    data2: np.ndarray

    def controls(self, channel: int, *controllers: int) -> np.ndarray:
        """The indices of a channel's changes of these controllers."""
        chosen = (self.kind == CONTROL) & (self.channel == channel) & np.isin(self.data1, controllers)
        return np.flatnonzero(chosen)


class Keys(NamedTuple):
    """Notes as keys that go down and up: indices into a stream, i64[n] each, in order of ``down``. ``up`` is that of
    the event which ends the note, the length of the stream if there is none."""

    down: np.ndarray
    up: np.ndarray


def merge_tracks(events: smf.MidiEvents) -> Stream:
    """The channel messages of a file as one stream."""
    order = np.argsort(events.tick, kind="stable")  # track after track before, so their order is kept
    track, status, *data = (
        column[order].astype(np.int32) for column in (events.track, events.status, events.data1, events.data2)
    )
    return Stream(order, events.tick[order], track, status & 0xF0, status & 0x0F, *data)


def strikes(stream: Stream) -> np.ndarray:
    """bool[e]: the note-ons."""
    return (stream.kind == NOTE_ON) & (stream.data2 > 0)


def pair_notes(stream: Stream, played: np.ndarray) -> Keys:
    """The notes among the ``played`` messages, bool[e], and what ends them."""
    count = len(stream.tick)
    index = np.flatnonzero(played & ((stream.kind == NOTE_OFF) | (stream.kind == NOTE_ON)))
    if not len(index):
        return Keys(index, index)
    era, era_end = _eras(stream, index)
    key = (stream.channel[index].astype(np.int64) * 128 + stream.data1[index]) * (int(era.max(initial=0)) + 1) + era
    order = np.argsort(key, kind="stable")
    index, key, era_end = index[order], key[order], era_end[order]
    on = strikes(stream)[index]
    level = _levels(key, on)
    # At one level of one key, what follows a note-on is the note-off that ends it.
    by_level = np.lexsort((np.arange(len(key)), level, key))
    following = np.append(by_level[1:], -1)
    same = (key[by_level] == key[following]) & (level[by_level] == level[following])
    own = np.full(len(key), count)
    matched = on[by_level] & ~on[following] & same & (following >= 0)
    own[by_level[matched]] = index[following[matched]]
    first_off = _next_off(key, on, index, count)
    up = np.where(own < count, own, np.where(era_end < count, era_end, first_off))
    kept = np.flatnonzero(on)
    kept = kept[np.argsort(index[kept])]
    return Keys(index[kept], up[kept])


def _eras(stream: Stream, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each event its era, i64[k] the number of its channel's `KEYS_UP` before it, and the index of the one that
    ends the era (the stream's length if none does)."""
    era, end = np.zeros(len(index), np.int64), np.full(len(index), len(stream.tick))
    for channel in np.unique(stream.channel[(stream.kind == CONTROL) & np.isin(stream.data1, KEYS_UP)]).tolist():
        borders = np.append(stream.controls(channel, *KEYS_UP), len(stream.tick))
        own = stream.channel[index] == channel
        era[own] = np.searchsorted(borders, index[own])
        end[own] = borders[era[own]]
    return era, end


def _levels(key: np.ndarray, on: np.ndarray) -> np.ndarray:
    """i64[k]: how many notes of its key are open with each note-on, or before each note-off; events in order of key."""
    group = np.cumsum(np.diff(key, prepend=key[0]) != 0)
    total = np.cumsum(np.where(on, 1, -1))
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    balance = total - (total - np.where(on, 1, -1))[begins][group]
    # A note-off without a note is none: the balance is counted from the lowest point so far, of each key alone.
    apart = group * (2 * len(key) + 2)
    lowest = np.minimum.accumulate(np.minimum(balance, 0) - apart) + apart
    return balance - lowest + ~on


def _next_off(key: np.ndarray, on: np.ndarray, index: np.ndarray, none: int) -> np.ndarray:
    """i64[k]: the index of the next note-off of each event's key, or ``none``; events in order of key."""
    count = len(key)
    place = np.minimum.accumulate(np.where(on, count, np.arange(count))[::-1])[::-1]
    known = place < count
    known[known] = key[place[known]] == key[known]
    return np.where(known, index[np.minimum(place, count - 1)], none)


def to_performance(
    events: smf.MidiEvents, stream: Stream, keys: Keys, played: np.ndarray
) -> tuple[Performance, list[str]]:
    """The music of at least one note, and remarks on what its pedals did. played: bool[e], as for `pair_notes`."""
    hanging = keys.up == len(stream.tick)
    last_tick = np.append(stream.tick, 0)[keys.up]
    if hanging.any():
        last_tick[hanging] = _held_until(events, stream, keys)[hanging]
    channels = np.unique(stream.channel[keys.down]).tolist()
    parts, remarks = [], []
    pedals = 0
    place, long_place = _places(events, stream)
    for channel in channels:
        own = stream.channel[keys.down] == channel
        feet, value = sustain(stream, channel)
        pedals += len(feet) > 0
        if len(feet) and value[-1] >= PEDAL_DOWN:
            remarks.append("the pedal is never released")
        down, up, tick = keys.down[own], keys.up[own], last_tick[own]
        up, tick, caught = hold(stream, channel, down, up, tick, feet)
        if caught:
            remarks.append(f"{caught:,} {'notes' if caught > 1 else 'note'} held by the sostenuto pedal")
        release = np.append(np.where(stream.kind == NOTE_OFF, stream.data2, 0), 0)[up].astype(np.uint8)
        nothing = (np.zeros(0), np.zeros(0, np.int64), ())
        source = Source(place[down], place[up], place[feet], release, channel, *nothing)
        seconds = events.seconds(stream.tick[feet])
        pedal = np.stack([seconds, value.astype(np.float64)], axis=1) if len(feet) else NO_PEDAL
        onset, end = events.seconds(stream.tick[down]), events.seconds(tick)
        parts.append(Performance(onset, end, stream.data1[down], stream.data2[down], pedal, source))
    if pedals and len(channels) > 1:
        remarks.append(f"pedal on {pedals} of {len(channels)} channels, applied to each channel's own notes")
        parts = [apply_pedal(part) for part in parts]
    music = remove_overlaps(merge(parts))
    source = music.source or no_source(len(music), len(music.pedal))
    others = _others(stream, channels, played)
    if len(channels) > 1:
        left_out = int(np.count_nonzero(stream.kind[others] != PROGRAM))
        if left_out:
            remarks.append(f"{left_out:,} {'controllers and bends' if left_out > 1 else 'controller'} left out")
        others = others[:0]
    if len(channels) > 1 or channels[0] == DRUM_CHANNEL:  # which is for melody here, but elsewhere is not
        source = replace(source, channel=0)
    source = _with_others(source, events, stream, others, channels[0], (place, long_place))
    music = replace(music, source=source)
    return (replace(music, source=None) if says_nothing(music) else music), remarks


def _others(stream: Stream, channels: list[int], played: np.ndarray) -> np.ndarray:
    """The indices of the channel messages that are no notes and no sustain pedal of these channels, and not the piano
    chosen at the very beginning, as every file that we write has it. Of a channel that is for drums at times, what
    makes it so is left out, too."""
    note = (stream.kind == NOTE_OFF) | (stream.kind == NOTE_ON)
    pedal = (stream.kind == CONTROL) & (stream.data1 == SUSTAIN) & np.isin(stream.channel, channels)
    at_times = np.isin(stream.channel, np.intersect1d(channels, stream.channel[~played]))
    chooses = (stream.kind == PROGRAM) | ((stream.kind == CONTROL) & np.isin(stream.data1, BANKS))
    others = np.flatnonzero(~note & ~pedal & ~(at_times & chooses))
    if len(others):
        first = others[0]
        piano = stream.kind[first] == PROGRAM and stream.data1[first] == 0 and stream.channel[first] == channels[0]
        if piano and stream.tick[first] == 0 and len(channels) == 1:
            return others[1:]
    return others


def _with_others(
    source: Source,
    events: smf.MidiEvents,
    stream: Stream,
    others: np.ndarray,
    here: int,
    places: tuple[np.ndarray, np.ndarray],
) -> Source:
    """With channel messages, given by their indices, and all meta events and system exclusive messages but those that
    a score holds, and texts about the file.

    here: the channel whose messages go to that of the source.
    places: of the stream's events, and of the long ones.
    """
    tracks = frozenset(stream.track.tolist())
    long = [
        number
        for number, event in enumerate(events.long)
        if is_message(event.data) and not _is_about_the_file(event, tracks)
    ]
    tick = np.concatenate([stream.tick[others], np.array([events.long[number].tick for number in long], np.int64)])
    place = np.concatenate([places[0][others], places[1][long]])
    status = stream.kind | np.where(stream.channel == here, source.channel, stream.channel)
    columns = np.stack([status, stream.data1, stream.data2])[:, others].astype(np.uint8).T
    short = [bytes(row[: 2 if 0xC0 <= row[0] < 0xE0 else 3]) for row in columns]
    data = [*short, *(events.long[number].data for number in long)]
    order = np.lexsort((place, tick))
    ordered = tuple(data[index] for index in order.tolist())
    return replace(source, time=events.seconds(tick[order]), place=place[order], data=ordered)


def _is_about_the_file(event: smf.LongEvent, playing_tracks: frozenset[int]) -> bool:
    """Whether a text says what a file is, as ours do, and not what happens in it."""
    if event.data[:2] != bytes([META, smf.TEXT]):
        return False
    return event.data[2:].startswith(OUR_TEXT) or (event.tick == 0 and event.track not in playing_tracks)


def says_nothing(performance: Performance) -> bool:
    """Whether without its source a performance is written in the same way."""
    source = performance.source
    if source is None or len(source.time) or source.channel or source.release.any() or source.score is not None:
        return source is None
    # Pedal, releases and strikes of a moment, each in their own order.
    time = np.concatenate([performance.pedal[:, 0], performance.end, performance.onset])
    place = np.concatenate([source.pedal_place, source.end_place, source.onset_place])
    kind = np.repeat(np.arange(3), [len(performance.pedal), len(performance), len(performance)])
    at_once = np.array([1, 0, 2])[kind]  # what one message does to keys comes before what it does to the pedal
    return np.array_equal(np.lexsort((kind, time)), np.lexsort((at_once, place, time)))


def _places(events: smf.MidiEvents, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """The numbers among those of their tick: i64[e + 1] of the stream's events, with a late one behind them for what
    nothing ends, and i64[l] of meta events and system exclusive messages."""
    own = np.array([(event.tick, event.before) for event in events.long], np.int64).reshape(-1, 2)
    tick = np.concatenate([own[:, 0], events.tick])
    # A long event stands before the channel message of its number.
    number = np.concatenate([own[:, 1], np.arange(len(events.tick))])
    order = np.lexsort((number, tick))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.searchsorted(tick[order], tick[order])
    long, short = np.split(place, [len(events.long)])
    return np.append(short[stream.event], LATE), long


def sustain(stream: Stream, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """What a channel's sustain pedal does: (indices of events i64[p], values i64[p])."""
    feet = stream.controls(channel, SUSTAIN, ALL_SOUND_OFF, RESET_CONTROLLERS)
    if np.all(stream.data1[feet] == SUSTAIN):
        return feet, stream.data2[feet]
    index: list[int] = []
    values: list[int] = []
    for event in feet.tolist():
        controller = int(stream.data1[event])
        before = values[-1] if values else 0
        if controller == SUSTAIN:
            does = [int(stream.data2[event])]
        elif before < PEDAL_DOWN:
            does = []
        else:  # all sound off: what the pedal holds ends, and the pedal stays where it is
            does = [0] if controller == RESET_CONTROLLERS else [0, before]
        index += [event] * len(does)
        values += does
    return np.array(index, np.int64), np.array(values, np.int64)


def hold(
    stream: Stream, channel: int, down: np.ndarray, up: np.ndarray, tick: np.ndarray, feet: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """What the sostenuto pedal does to a channel's notes.

    Args:
        stream, channel: of which the notes are.
        down, up: as in `Keys`. tick: i64[n], of their ends. feet: i64[p], the events of the sustain pedal.

    Returns:
        ``up`` and ``tick`` with the pedal, and the number of notes that it makes longer.
    """
    count = len(stream.tick)
    pedal = stream.controls(channel, SOSTENUTO, RESET_CONTROLLERS)
    presses = (stream.data1[pedal] == SOSTENUTO) & (stream.data2[pedal] >= PEDAL_DOWN)
    if not presses.any():
        return up, tick, 0
    silences = stream.controls(channel, ALL_SOUND_OFF)
    lifts = np.append(np.sort(np.concatenate([pedal[~presses], silences])), count)
    last = max(int(tick.max()), int(stream.tick[feet[-1]]) if len(feet) else 0)
    # A note that nothing ends does so at its tick, behind all events there.
    end = np.where(up == count, np.searchsorted(stream.tick, tick, side="right") - 1, up)
    begins = pedal[presses & ~np.append(False, presses[:-1])]
    number = np.searchsorted(begins, end, side="right") - 1  # the last press before each end; before it all is lifted
    lift = lifts[np.searchsorted(lifts, begins)][number]
    caught = (number >= 0) & (begins[number] > down) & (lift > end)
    later_tick = np.where(caught, np.append(stream.tick, last)[lift], tick)
    return np.where(caught, lift, up), later_tick, int(np.count_nonzero(later_tick != tick))


def _held_until(events: smf.MidiEvents, stream: Stream, keys: Keys) -> np.ndarray:
    """i64[n] ticks: the end of each note that nothing ends, never before its onset."""
    latest = np.zeros(len(events.track_end), np.int64)
    is_note = (stream.kind == NOTE_OFF) | (stream.kind == NOTE_ON)
    np.maximum.at(latest, stream.track[is_note], stream.tick[is_note])
    rate = events.seconds(latest + 1) - events.seconds(latest)  # at the tempo that holds there
    allowed = latest + np.rint(HANGING_SECONDS / np.maximum(rate, 1e-9)).astype(np.int64)
    track = stream.track[keys.down]
    return np.maximum(np.minimum(events.track_end, allowed)[track], stream.tick[keys.down])
