"""Events that stand hours away from the music."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mido import Message, MetaMessage

from musicgen.data_prep import smf
from musicgen.data_prep.drums import find_drums
from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.pauses import cut_pauses

Build = Callable[..., bytes]
Events = list[tuple[int, Message | MetaMessage]]
HOUR = 3600 * 960  # ticks


def note(tick: int, pitch: int = 60, length: int = 480, channel: int = 0) -> Events:
    on = Message("note_on", note=pitch, channel=channel)
    return [(tick, on), (tick + length, on.copy(velocity=0))]


def pedal(tick: int, value: int) -> Events:
    return [(tick, Message("control_change", control=64, value=value))]


def tempo(tick: int, microseconds: int) -> Events:
    return [(tick, MetaMessage("set_tempo", tempo=microseconds))]


SCALE = [event for i in range(4) for event in note(480 * i, 60 + i)]  # two seconds


@pytest.mark.parametrize(
    ("events", "onsets", "ends", "remark"),
    [
        (note(1920 + 5 * HOUR), [5.0], [5.5], "a pause of 5.0 hours cut to 3 seconds"),
        (note(1920 + 70 * HOUR), [5.0], [5.5], "a pause of 70.0 hours cut to 3 seconds"),
        (note(1920 + HOUR // 4), [5.0], [5.5], "a pause of 15 minutes cut to 3 seconds"),
        (note(1920 + HOUR // 7), [2 + 3600 / 7], [2.5 + 3600 / 7], None),
        (pedal(77 * HOUR, 0), [], [], "a pause of 77.0 hours cut to 3 seconds"),
        ([(77 * HOUR, Message("note_off", note=5))], [], [], "a pause of 77.0 hours cut"),
        # What else stands there is no music, and no pause.
        ([(77 * HOUR, Message("control_change", control=7))], [], [], None),
        ([(77 * HOUR, MetaMessage("text", text="end"))], [], [], None),
        (note(77 * HOUR, channel=9), [], [], "1 drum note dropped"),
        (note(1920 + 2 * HOUR) + note(2400 + 4 * HOUR), [5.0, 8.5], [5.5, 9.0], "2 pauses of up to 2.0 hours cut to 3"),
        (note(1920, 70, 2 * HOUR), [2.0], [5.0], "a pause of 2.0 hours cut"),  # a key left down
        # 3 seconds at the tempo of the pause's beginning; what is in it, and behind it, counts from its end.
        (tempo(960, 1_000_000) + note(1920 + 5 * HOUR), [6.0], [7.0], "a pause of 10.0 hours cut"),
        (tempo(9 * HOUR, 250_000) + note(1920 + 10 * HOUR), [5.0], [5.25], "a pause of 9.5 hours cut"),
    ],
)
def test_a_pause_of_hours_is_cut(
    midi_file: Build, events: Events, onsets: list[float], ends: list[float], remark: str | None
) -> None:
    performance, remarks = read_midi(midi_file(SCALE + events))
    slow = any(message.type == "set_tempo" and tick < 1920 for tick, message in events)
    assert performance.onset.tolist() == pytest.approx([0.0, 0.5, 1.0, 2.0 if slow else 1.5, *onsets])
    assert performance.end[4:].tolist() == pytest.approx(ends)
    assert len(remarks) == (remark is not None)
    assert remark is None or remark in remarks[0]


def test_music_that_begins_hours_late_begins_soon(midi_file: Build) -> None:
    performance, remarks = read_midi(midi_file([(tick + 3 * HOUR, message) for tick, message in SCALE]))
    assert performance.onset.tolist() == [3.0, 3.5, 4.0, 4.5]
    assert remarks == ("a pause of 3.0 hours cut to 3 seconds",)


def test_a_pause_counts_in_all_tracks(midi_file: Build) -> None:
    """Where one hand rests for an hour, the other may play."""
    busy = [event for i in range(70) for event in note(i * HOUR // 60, 40)]
    performance, remarks = read_midi(midi_file(SCALE + note(HOUR), busy))
    assert performance.onset.max() == 69 * 60
    assert remarks == ()


@given(st.lists(st.tuples(st.integers(0, 2 * HOUR), st.sampled_from(["note", "text", "tempo"])), max_size=12))
def test_order_stays_and_no_pause_is_left(midi_file: Build, steps: list[tuple[int, str]]) -> None:
    now, events = 0, list(note(0))
    for delta, kind in steps:
        now += delta
        events += {
            "note": note(now),
            "text": [(now, MetaMessage("text", text=str(now)))],
            "tempo": tempo(now, 400_000),
        }[kind]
    before = smf.parse(midi_file(events))
    after, _ = cut_pauses(before, find_drums(before))
    assert np.all(np.diff(after.tick) >= 0) and np.all(np.diff(before.tick) >= np.diff(after.tick))
    assert np.all(np.diff(after.seconds(np.append(0, after.tick))) <= 600)
    assert [event.data for event in after.long] == [event.data for event in before.long]
    places = [np.searchsorted(old.tick, [event.tick for event in old.long]) for old in (before, after)]
    assert np.all(places[0] <= places[1] + 1)
