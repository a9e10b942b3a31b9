"""Which notes are drums: channel 10's, unless bank select, system exclusive messages or MPE zones say otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mido import Message

from musicgen.data_prep.midi import MidiError, read_midi

Build = Callable[..., bytes]
Events = list[tuple[int, Message]]

GM_ON, GM2_ON = (0x7E, 0x7F, 9, 1), (0x7E, 0x7F, 9, 3)
GS_RESET = (0x41, 0x10, 0x42, 0x12, 0x40, 0, 0x7F, 0, 0x41)
XG_ON = (0x43, 0x10, 0x4C, 0, 0, 0x7E, 0)


def note(tick: int, channel: int, pitch: int = 60) -> Events:
    """A quarter note; channels from 1."""
    on = Message("note_on", note=pitch, channel=channel - 1)
    return [(tick, on), (tick + 480, on.copy(velocity=0))]


def bank(tick: int, channel: int, high: int, program: int | None = 0) -> Events:
    chosen = [(tick, Message("control_change", channel=channel - 1, control=0, value=high))]
    if program is not None:
        chosen.append((tick, Message("program_change", channel=channel - 1, program=program)))
    return chosen


def exclusive(tick: int, *content: int) -> Events:
    return [(tick, Message("sysex", data=content))]


def rhythm_part(tick: int, block: int, value: int) -> Events:
    return exclusive(tick, 0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | block, 0x15, value, 0)


def part_mode(tick: int, part: int, value: int) -> Events:
    return exclusive(tick, 0x43, 0x10, 0x4C, 8, part, 7, value)


def rpn(tick: int, channel: int, high: int, low: int, value: int) -> Events:
    numbers = ((101, high), (100, low), (6, value))
    return [(tick, Message("control_change", channel=channel - 1, control=n, value=v)) for n, v in numbers]


def zone(tick: int, channel: int, members: int) -> Events:
    return rpn(tick, channel, 0, 6, members)


def heard(midi_file: Build, *events: Events) -> list[int]:
    """The channels, 1 to 16, whose notes (one each, from tick 480 on) are piano notes."""
    notes = [note(480 + 480 * channel, channel, 40 + channel) for channel in range(1, 17)]
    performance, _ = read_midi(midi_file([one for part in (*events, *notes) for one in part]))
    return (performance.pitch - 40).tolist()


@pytest.mark.parametrize(
    ("events", "drums"),
    [
        ([], {10}),
        # General MIDI 2.
        ([bank(0, 10, 121)], set()),
        ([bank(0, 11, 120)], {10, 11}),
        ([bank(0, 10, 121), bank(1, 10, 120)], {10}),
        ([bank(0, 11, 120), bank(1, 11, 121)], {10}),
        ([bank(0, 10, 121, None)], {10}),  # a bank without a program is not chosen yet
        ([bank(0, 10, 0)], {10}),
        ([bank(0, 10, 127)], {10}),
        ([bank(0, 10, 121), exclusive(1, *GM2_ON)], {10}),
        ([exclusive(0, *GM_ON), bank(1, 10, 121)], set()),
        # Roland GS, whose blocks are not the channels.
        ([rhythm_part(0, 0, 0)], set()),
        ([rhythm_part(0, 0xA, 1)], {10, 11}),
        ([rhythm_part(0, 0xA, 2), rhythm_part(0, 1, 1), rhythm_part(0, 9, 1)], {1, 9, 10, 11}),
        ([exclusive(0, *GS_RESET), rhythm_part(1, 0, 0)], set()),
        ([rhythm_part(0, 0, 0), exclusive(1, *GS_RESET)], {10}),
        # Yamaha XG.
        ([part_mode(0, 9, 0)], set()),
        ([part_mode(0, 10, 1)], {10, 11}),
        ([part_mode(0, 10, 3), exclusive(1, *XG_ON)], {10}),
        ([exclusive(0, *XG_ON), bank(1, 11, 127)], {10, 11}),
        ([exclusive(0, *XG_ON), bank(1, 11, 126), bank(1, 10, 0)], {11}),
        ([bank(0, 11, 127)], {10}),  # before XG is on, another maker's bank
        # MPE.
        ([zone(0, 1, 15)], set()),
        ([zone(0, 1, 9)], set()),
        ([zone(0, 1, 8)], {10}),
        ([zone(0, 16, 6)], set()),
        ([zone(0, 16, 5)], {10}),
        ([zone(0, 1, 15), zone(1, 1, 0)], {10}),
        ([zone(0, 1, 9), zone(1, 16, 6)], set()),
        ([zone(0, 16, 6), zone(1, 1, 7), zone(2, 16, 0)], {10}),
        ([zone(0, 16, 6), zone(1, 1, 9)], set()),
        ([zone(0, 1, 15), zone(1, 16, 14), zone(2, 16, 0)], {10}),  # the later zone takes channels from the other
        ([zone(0, 2, 15)], {10}),  # no channel of a zone's manager
        ([rpn(0, 1, 0, 0, 12)], {10}),  # the range of the pitch bend
        ([zone(0, 1, 15), exclusive(1, *GM_ON)], {10}),
    ],
)
def test_a_file_says_which_channels_are_drums(midi_file: Build, events: list[Events], drums: set[int]) -> None:
    assert heard(midi_file, *events) == [channel for channel in range(1, 17) if channel not in drums]


def test_it_counts_from_there_on_and_across_tracks(midi_file: Build) -> None:
    """And a note ends as what it began as."""
    switch, back = bank(960, 10, 121), bank(1920, 10, 120)
    notes = [*note(0, 10, 60), *note(720, 10, 61), *note(960, 10, 62), *note(1800, 10, 63), *note(1920, 10, 64)]
    performance, remarks = read_midi(midi_file(switch + back, notes))
    assert performance.pitch.tolist() == [62, 63]
    assert performance.end.tolist() == [1.5, 2.375]
    assert remarks == ("3 drum notes dropped",)


def test_a_message_in_packets_is_one(midi_file: Build) -> None:
    content = midi_file(note(0, 10))
    split = bytes([0, 0xF0, 5, 0x41, 0x10, 0x42, 0x12, 0x40, 0, 0xF7, 5, 0x10, 0x15, 0, 0x1B, 0xF7])
    start = content.index(b"MTrk") + 8
    track = split + content[start:]
    assert len(read_midi(content[: start - 4] + len(track).to_bytes(4, "big") + track)[0]) == 1
    escaped = bytes([0, 0xF7, 11, 0xF0, 0x41, 0x10, 0x42, 0x12, 0x40, 0x10, 0x15, 0, 0x1B, 0xF7])
    track = escaped + content[start:]
    assert len(read_midi(content[: start - 4] + len(track).to_bytes(4, "big") + track)[0]) == 1
    with pytest.raises(MidiError, match="1 drum note dropped"):
        read_midi(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x41",
        b"\x41\x10\x42\x12\x40",
        b"\x41\x10\x42\x12\x40\x1a\x15",
        b"\x43\x10\x4c\x08",
        b"\x43\x10\x4c\x08\x7f\x07\x01",
    ],
)
def test_short_messages_say_nothing(midi_file: Build, content: bytes) -> None:
    assert len(heard(midi_file, exclusive(0, *content))) == 15
