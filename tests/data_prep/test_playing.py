"""What is read sounds as an independent player plays it, event by event (`plain_reader`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message

from musicgen.data_prep import MidiError, apply_pedal, encode, read_midi, write_midi
from tests.data_prep.conftest import build_midi
from tests.data_prep.plain_reader import play

Event = tuple[int, Message]
Heard = list[tuple[float, float, int, int]]
CASES = json.loads((Path(__file__).parent / "playing_cases.json").read_text())
QUARTER = 480  # ticks of half a second
TICK = 2.5e-5  # seconds, of written files

KINDS: dict[str, Callable[[int, int], Message]] = {
    "on": lambda data, channel: Message("note_on", note=data, velocity=64, channel=channel),
    "off": lambda data, channel: Message("note_off", note=data, channel=channel),
    "pedal": lambda data, channel: Message("control_change", control=64, value=data, channel=channel),
    "sostenuto": lambda data, channel: Message("control_change", control=66, value=data, channel=channel),
    "control": lambda data, channel: Message("control_change", control=data, value=0, channel=channel),
}


def file_of(tracks: Sequence[Sequence[Sequence[object]]], **options: int) -> bytes:
    """Tracks of [seconds, kind, data, channel from 1 (1 if left out)]."""
    built = []
    for track in tracks:
        built.append(
            [(round(float(e[0]) * 2 * QUARTER), KINDS[e[1]](e[2], e[3] - 1 if len(e) > 3 else 0)) for e in track]  # type: ignore[arg-type,call-overload,index,operator]
        )
    return build_midi(*built, **options)


def sounds(content: bytes) -> Heard:
    music = apply_pedal(read_midi(content)[0])
    columns = (music.onset, music.end, music.pitch, music.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case: dict[str, list[list[list[object]]]]) -> None:
    content = file_of(case["tracks"])
    expected = [tuple(note) for note in case["sounds"]]
    assert [note[:3] for note in sounds(content)] == expected
    assert [note[:3] for note in play(content)] == expected
    # The tokens say the same, and so does the file that is written again.
    again = write_midi(read_midi(content)[0])
    assert np.array([note[:3] for note in play(again)]) == pytest.approx(np.array(expected), abs=2 * TICK)
    assert np.array_equal(encode(read_midi(again)[0]), encode(read_midi(content)[0]))


events = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 1, 2, QUARTER]),  # ticks since the event before
        st.one_of(
            st.builds(
                Message,
                st.sampled_from(["note_on", "note_off"]),
                note=st.integers(60, 61),
                velocity=st.integers(0, 2),
                channel=st.integers(0, 1),
            ),
            st.builds(
                Message,
                st.just("control_change"),
                control=st.sampled_from([64, 64, 64, 66, 66, 67, 120, 121, 123, 126]),
                value=st.sampled_from([0, 63, 64, 127]),
                channel=st.integers(0, 1),
            ),
        ),
    ),
    max_size=16,
)


def placed(track: Sequence[tuple[int, Message]]) -> list[Event]:
    ticks = np.cumsum([delta for delta, _ in track]).tolist()
    return list(zip(ticks, (message for _, message in track), strict=True))


@settings(max_examples=150)
@given(st.lists(events, min_size=1, max_size=3), st.sampled_from([0, 3 * QUARTER]), st.booleans())
def test_any_events_sound_as_a_player_plays_them(
    tracks: list[list[tuple[int, Message]]], end: int, one_channel: bool
) -> None:
    if one_channel:
        tracks = [[(delta, message.copy(channel=0)) for delta, message in track] for track in tracks]
    content = build_midi(*map(placed, tracks), end=end)
    expected = play(content)
    if not expected:
        with pytest.raises(MidiError, match="no piano notes"):
            read_midi(content)
        return
    assert np.array(sounds(content)) == pytest.approx(np.array(expected))
    again = write_midi(read_midi(content)[0])
    assert np.array(play(again)) == pytest.approx(np.array(expected), abs=2 * TICK)
    assert play(write_midi(read_midi(again)[0])) == play(again)
