"""A song with a fill in it, as a MIDI file: everything outside the region is what it was, event by event."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from musicgen.app.fill_pedal import foot, let_go, presses, staying
from musicgen.app.fill_request import FillRequest, mask_of, place_of
from musicgen.data_prep import Performance
from musicgen.data_prep.performance import PEDAL_DOWN
from musicgen.data_prep.playing import CONTROL, NOTE_OFF, NOTE_ON, SUSTAIN
from musicgen.data_prep.score import NAME
from musicgen.data_prep.smf import META
from musicgen.data_prep.song import AFTER, BEFORE, Added, Song, write
from musicgen.data_prep.vocabulary import PITCHES

ACCOMPANIMENT = "Accompaniment"  # the name of its track


class Additions:
    """Channel messages that are put into one channel of one track."""

    def __init__(self, song: Song, track: int, channel: int) -> None:
        """Nothing yet."""
        self.clock, self.track, self.channel = song.clock, track, channel
        self.messages: list[Added] = []

    def add(self, kind: int, place: int, seconds: np.ndarray, first: np.ndarray, second: np.ndarray | int) -> None:
        """Messages of a kind, f64[k] seconds and their two data bytes i64[k]; place: of `Added`."""
        self.add_at(kind, place, self.clock.ticks(np.asarray(seconds, np.float64)), first, second)

    def add_at(self, kind: int, place: int, ticks: np.ndarray, first: np.ndarray, second: np.ndarray | int) -> None:
        """As `add`, at i64[k] ticks of the clock."""
        columns = (np.broadcast_to(column, ticks.shape).astype(int).tolist() for column in (ticks, first, second))
        for tick, one, two in zip(*columns, strict=True):
            self.messages.append(Added(self.track, tick, place, bytes([kind | self.channel, one, two])))


def song_with(request: FillRequest, song: Song, notes: Performance, upto: float, texts: Sequence[str] = ()) -> bytes:
    """The file.

    Args:
        song: of the request's data.
        notes: of the fill, each as long as its key is held, in seconds of the song.
        upto: where it ends, which is before the region's stop if it was stopped: what goes later stays after all.
    """
    track, channel = place_of(request, song)
    additions = Additions(song, track, channel)
    if request.accompanies:
        additions.messages.append(Added(track, 0, BEFORE, bytes([META, NAME]) + ACCOMPANIMENT.encode()))
    goes = mask_of(request, song) & (song.keys.onset < upto)
    messages = [song.messages_of(goes)]
    if request.pedal == "new":
        messages += _write_pedal(request, song, goes, notes, upto, additions)
    additions.add_at(NOTE_OFF, BEFORE, _releases(song, goes, channel, notes), notes.pitch, 0)
    additions.add(NOTE_ON, AFTER, notes.onset, notes.pitch, notes.velocity)
    return write(song.without(np.concatenate(messages)), song.clock, additions.messages, texts)


def let_go_in(request: FillRequest, song: Song, notes: Performance, upto: float) -> Performance:
    """The notes of a fill, as `song_with` takes them, each as long as its key is held (see `let_go`)."""
    seconds, values, _ = song.pedal(place_of(request, song)[1])
    left = foot(seconds, values, request.region.start, upto, request.pedal == "new")
    return dataclasses.replace(notes, end=let_go(notes.onset, notes.end, *staying(seconds, values, left)))


def _releases(song: Song, goes: np.ndarray, channel: int, notes: Performance) -> np.ndarray:
    """i64[k] ticks: where the keys of a fill are released; a tick earlier where one that stays is struck just then, for
    in another track that may come first, and would be released."""
    keys, clock = song.keys, song.clock
    stays = ~goes & (keys.channel == channel)
    struck = song.events.tick[keys.down[stays]] * clock.parts * PITCHES + keys.pitch[stays]
    ticks = clock.ticks(notes.end)
    return ticks - np.isin(ticks * PITCHES + notes.pitch, struck)


def _write_pedal(
    request: FillRequest, song: Song, goes: np.ndarray, notes: Performance, upto: float, additions: Additions
) -> list[np.ndarray]:
    """Add a new pedal, and the releases of keys that the old one held; returns which messages go for it."""
    seconds, values, numbers = song.pedal(additions.channel)
    left = foot(seconds, values, request.region.start, upto, True)
    sustains = (song.events.status[numbers] & 0xF0 == CONTROL) & (song.events.data1[numbers] == SUSTAIN)
    ends = _ends_under(song, goes, additions.channel, left.anew_from, upto)
    held = np.flatnonzero(ends > song.keys.end)
    additions.add(NOTE_OFF, BEFORE, ends[held], song.keys.pitch[held], 0)
    mine = ~goes & (song.keys.channel == additions.channel)
    pedal = [*left.borders, *presses(np.append(ends[mine], notes.end), left.anew_from, upto)]
    pedal.sort(key=lambda event: event[0])
    times, feet = np.array(pedal).reshape(-1, 2).T
    additions.add(CONTROL, AFTER, times, np.full(len(times), SUSTAIN), feet)
    return [numbers[~left.kept & sustains], song.keys.up[held]]


def _ends_under(song: Song, goes: np.ndarray, channel: int, anew_from: float, upto: float) -> np.ndarray:
    """f64[n] seconds: when the keys of the notes that stay have to be released, once their pedal is gone."""
    seconds, values, numbers = song.pedal(channel)
    keys, place = song.keys, song.places()
    ends, feet = keys.end.copy(), place[numbers]
    lifts = np.append(np.where(values < PEDAL_DOWN, seconds, np.inf), np.inf)
    mine = ~goes & (keys.channel == channel)
    for note in np.flatnonzero(mine & (ends > anew_from) & (ends < upto)).tolist():
        released = place[keys.up[note]]
        seen = int(np.searchsorted(feet, released))
        if seen and values[seen - 1] >= PEDAL_DOWN:
            struck_again = mine & (keys.pitch == keys.pitch[note]) & (place[keys.down] > released)
            ends[note] = min(lifts[seen:].min(), keys.onset[struck_again].min(initial=np.inf), upto)
    return ends
