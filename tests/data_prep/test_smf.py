from __future__ import annotations

import io
import struct

import mido
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from musicgen.data_prep import limits, smf
from musicgen.data_prep.smf import MidiError, parse


def header(tracks: int = 1, kind: int = 0, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, kind, tracks, division)


def chunk(content: bytes, name: bytes = b"MTrk") -> bytes:
    return name + struct.pack(">I", len(content)) + content


def track(*content: int) -> bytes:
    return header() + chunk(bytes(content))


END = (0x00, 0xFF, 0x2F, 0x00)


def rows(events: smf.MidiEvents) -> list[tuple[int, int, int, int]]:
    columns = (events.tick, events.status, events.data1, events.data2)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_running_status_survives_meta_events() -> None:
    content = track(0, 0x90, 60, 64, 10, 62, 65, 0, 0xFF, 0x01, 2, 0x68, 0x69, 0x81, 0x00, 60, 0, *END)
    events = parse(content)
    assert rows(events) == [(0, 0x90, 60, 64), (10, 0x90, 62, 65), (138, 0x90, 60, 0)]
    assert events.text == ("hi",)
    assert events.track_end.tolist() == [138]


def test_running_status_of_one_data_byte() -> None:
    content = track(0, 0xC3, 5, 1, 6, 1, 0xFF, 0x06, 0, 1, 7, 0, 0x93, 60, 9, 0, 61, 9, *END)
    assert rows(parse(content)) == [
        (0, 0xC3, 5, 0),
        (1, 0xC3, 6, 0),
        (3, 0xC3, 7, 0),
        (3, 0x93, 60, 9),
        (3, 0x93, 61, 9),
    ]


def test_system_messages_and_unknown_chunks_are_skipped() -> None:
    content = bytes([1, 0xF0, 3, 0x7E, 0x7F, 0xF7, 1, 0xF7, 1, 9, 1, 0xF8, 1, 0xF2, 1, 2, 1, 0x80, 60, 0, *END])
    data = header() + chunk(b"whatever", b"XFIH") + chunk(content) + b"trailing junk"
    assert rows(parse(data)) == [(5, 0x80, 60, 0)]


def test_longest_delta_time() -> None:
    assert rows(parse(track(0xFF, 0xFF, 0xFF, 0x7F, 0x90, 1, 2, *END))) == [(2**28 - 1, 0x90, 1, 2)]


def test_nothing_counts_after_the_end_of_a_track() -> None:
    assert rows(parse(track(0, 0x90, 1, 2, *END, 0, 0x90, 3, 4))) == [(0, 0x90, 1, 2)]


def test_tempo_changes_of_all_tracks_count() -> None:
    slow = bytes([0x83, 0x60, 0xFF, 0x51, 3, *(1_000_000).to_bytes(3, "big"), *END])  # after one quarter note
    stopped = bytes([0x87, 0x40, 0xFF, 0x51, 3, 0, 0, 0, *END])  # a tempo of zero is none
    events = parse(header(2, 1) + chunk(slow) + chunk(stopped))
    assert events.tempos == ((480, 1_000_000),)
    assert events.seconds(np.array([0, 240, 480, 960])).tolist() == [0, 0.25, 0.5, 1.5]


@pytest.mark.parametrize(("frames", "ticks", "rate"), [(25, 40, 1000), (24, 4, 96), (30, 80, 2400)])
def test_smpte_time_ignores_tempo(frames: int, ticks: int, rate: int) -> None:
    tempo = bytes([0, 0xFF, 0x51, 3, 9, 9, 9, *END])
    events = parse(header(division=(256 - frames) << 8 | ticks) + chunk(tempo))
    assert events.seconds(np.array([rate, 10 * rate])) == pytest.approx([1, 10])


def test_smpte_29_is_29_97() -> None:
    events = parse(header(division=(256 - 29) << 8 | 100) + chunk(bytes(END)))
    assert events.seconds(np.array([300_000])) == pytest.approx([100.1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "not a Standard MIDI File"),
        (b"MThd\0\0\0\6\0", "truncated at byte 9"),
        (header(2, 2) + 2 * chunk(bytes([0, 0x90, 60, 64, *END])), "type 2"),
        (header(1, 7) + chunk(bytes(END)), "type 7"),
        (header(division=0) + chunk(bytes(END)), "division"),
        (header(division=0x8028), "division"),
        (b"MThd" + struct.pack(">IHHH", 4, 0, 1, 480), "header at byte 4"),
        (header(2, 1), "promises 2 tracks and holds none"),
        (header() + chunk(bytes([0, 0x90, 60, 64]))[:-1], "truncated at byte 25"),
        (track(0, 0x90, 60), "truncated: byte 25"),
        (track(0, 0x90, 60, 64, 0x81), "truncated: byte 27"),
        (track(0, 0x90, 60, 64, 0), "truncated: byte 27"),
        (track(0, 0x90, 60, 0x90), "byte 25 is a status byte"),
        (track(0, 0x90, 0x90, 60), "byte 24 is a status byte"),
        (track(0, 0x90, 60, 64, 0, 60, 0x80), "byte 28 is a status byte"),
        (track(0, 0xC0, 0x90), "byte 24 is a status byte"),
        (track(0, 60, 64), "byte 23 is data before any status"),
        (track(0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x90, 1, 2), "byte 22 begins a number of more than four"),
        (track(0, 0xFF, 1, 50, 65), "claims 50 bytes"),
        (track(0, 0xF0, 50, 65), "claims 50 bytes"),
        (track(0, 0xFF), "truncated"),
        (track(0, 0xF2, 1), "truncated"),
    ],
)
def test_damage_is_named_with_its_place(content: bytes, message: str) -> None:
    with pytest.raises(MidiError, match=message) as error:
        parse(content)
    assert "\n" not in str(error.value)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MidiError, match="larger than 8 MiB"):
        parse(bytes(limits.MIDI_BYTES + 1))
    monkeypatch.setattr(limits, "MIDI_EVENTS", 10)
    notes, programs = [0, 0x90, 1, 2] * 11, [0, 0xC0, 1] * 11
    for content in (notes, programs):
        with pytest.raises(MidiError, match="more than 10 events"):
            parse(header() + chunk(bytes(content)))
        assert len(parse(header() + chunk(bytes(content[: len(content) // 11 * 9]))).tick) == 9


def test_text_that_is_not_utf8_is_read_as_latin_1() -> None:
    assert parse(track(0, 0xFF, 1, 1, 0xE9, 0, 0xFF, 1, 2, 0xC3, 0xA9, *END)).text == ("é", "é")


delta = st.one_of(st.integers(0, 5), st.integers(0, 2**28 - 1))
seven = st.integers(0, 127)
channel = st.integers(0, 15)
messages = st.one_of(
    st.builds(
        lambda t, c, n, v: mido.Message("note_on", time=t, channel=c, note=n, velocity=v), delta, channel, seven, seven
    ),
    st.builds(
        lambda t, c, n, v: mido.Message("note_off", time=t, channel=c, note=n, velocity=v), delta, channel, seven, seven
    ),
    st.builds(
        lambda t, c, n, v: mido.Message("polytouch", time=t, channel=c, note=n, value=v), delta, channel, seven, seven
    ),
    st.builds(
        lambda t, c, n, v: mido.Message("control_change", time=t, channel=c, control=n, value=v),
        delta,
        channel,
        seven,
        seven,
    ),
    st.builds(lambda t, c, p: mido.Message("program_change", time=t, channel=c, program=p), delta, channel, seven),
    st.builds(lambda t, c, v: mido.Message("aftertouch", time=t, channel=c, value=v), delta, channel, seven),
    st.builds(
        lambda t, c, v: mido.Message("pitchwheel", time=t, channel=c, pitch=v), delta, channel, st.integers(-8192, 8191)
    ),
    st.builds(lambda t, d: mido.Message("sysex", time=t, data=d), delta, st.lists(seven, max_size=200)),
    st.builds(lambda t, s: mido.MetaMessage("text", time=t, text=s), delta, st.text(max_size=100)),
    st.builds(lambda t, v: mido.MetaMessage("set_tempo", time=t, tempo=v), delta, st.integers(1, 2**24 - 1)),
)


def saved(tracks: list[list[mido.Message]]) -> bytes:
    file = mido.MidiFile(type=1, charset="utf-8")
    file.tracks.extend(mido.MidiTrack(messages) for messages in tracks)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


@given(st.lists(st.lists(messages, max_size=40), min_size=1, max_size=3))
def test_reads_what_mido_writes(tracks: list[list[mido.Message]]) -> None:
    events = parse(saved(tracks))
    expected, tempos, text = [], [], []
    for number, content in enumerate(tracks):
        now = 0
        for message in content:
            now += message.time
            if message.type == "text":
                text.append(message.text)
            elif message.type == "set_tempo":
                tempos.append((now, message.tempo))
            elif message.type != "sysex":
                status, *rest = message.bytes()
                expected.append((number, now, status, *[*rest, 0][:2]))
    got = [(number, *row) for number, row in zip(events.track.tolist(), rows(events), strict=True)]
    assert got == expected
    assert list(events.tempos) == sorted(tempos, key=lambda tempo: tempo[0])
    assert list(events.text) == text


def parses_or_says_why(content: bytes) -> None:
    try:
        parse(content)
    except MidiError as error:
        assert str(error)
        assert "\n" not in str(error)


@given(st.binary(max_size=300))
@example(b"\x90" * 100)
def test_noise_does_no_harm(noise: bytes) -> None:
    for content in (noise, header() + noise, header() + chunk(noise), header(3, 1) + chunk(noise) + noise):
        parses_or_says_why(content)


@settings(max_examples=300)
@given(
    st.lists(st.lists(messages, max_size=20), min_size=1, max_size=2),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, 10**6),
)
def test_damaged_files_do_no_harm(
    tracks: list[list[mido.Message]], changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(saved(tracks))
    parses_or_says_why(bytes(content[: length % len(content)]))
    for place, byte in changes:
        content[place % len(content)] = byte
    parses_or_says_why(bytes(content))
