"""The events of a prime come back in the file that continues it: all of them, as they were, in their order."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import numpy as np
import pytest
from mido import Message, MetaMessage

from musicgen.app.join import join
from musicgen.app.prime import Prime, make_prime, pack, read_prime, unpack
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY
from tests.data_prep.plain_reader import Clock, play, read_events

NEW = np.array([TIME_SHIFT + 49, VELOCITY + 15, NOTE_ON + 90, TIME_SHIFT + 49, NOTE_OFF + 90], np.int16)


def control(number: int, value: int) -> Message:
    return Message("control_change", control=number, value=value, channel=3)


def on(pitch: int, velocity: int = 64) -> Message:
    return Message("note_on", note=pitch, velocity=velocity, channel=3)


def off(pitch: int, velocity: int = 0) -> Message:
    return Message("note_off", note=pitch, velocity=velocity, channel=3)


EVENTS: list[tuple[int, Message | MetaMessage]] = [
    (0, Message("sysex", data=(0x7E, 0x7F, 9, 1))),
    (0, control(0, 8)),
    (0, Message("program_change", program=4, channel=3)),
    (0, control(7, 100)),
    (0, on(64)),
    (0, on(60)),
    (0, MetaMessage("lyrics", text="la")),
    (240, control(67, 127)),
    (480, off(60, 33)),
    (480, control(64, 127)),
    (480, off(64)),
    (480, Message("pitchwheel", pitch=-300, channel=3)),
    (600, on(62)),
    (600, control(11, 90)),
    (960, control(64, 0)),
    (960, control(64, 100)),
    (960, MetaMessage("marker", text="B")),
    (1200, off(62, 12)),
    (1440, control(64, 0)),
    (1440, control(67, 0)),
    (1440, on(65)),
    (1440, Message("aftertouch", value=20, channel=3)),
    (1500, control(121, 0)),
    (1500, Message("polytouch", note=65, value=9, channel=3)),
    (1920, off(65)),
    (2000, control(7, 1)),  # behind the join
    (2000, MetaMessage("text", text="the end")),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    track, now = mido.MidiTrack(), 0
    for tick, message in EVENTS:
        track.append(message.copy(time=tick - now))
        now = tick
    midi = mido.MidiFile(type=0, ticks_per_beat=480)
    midi.tracks.append(track)
    midi.save(tmp_path / "prime.mid")
    return tmp_path / "prime.mid"


def events_until(data: bytes, seconds: float) -> list[tuple[int, bytes]]:
    """(milliseconds, message) but for what belongs to every file, and the texts."""
    division, events, _ = read_events(data)
    clock = Clock(division, events)
    return [
        (round(1000 * clock(event.tick)), event.message)
        for event in events
        if clock(event.tick) < seconds and event.message[:2] not in (b"\xff\x51", b"\xff\x2f", b"\xff\x03")
    ]


def test_every_event_before_the_join_comes_back_in_order(file: Path) -> None:
    prime, remarks = read_prime(file, None)
    assert remarks == ()
    written = write_midi(join(prime, NEW))
    assert prime.seconds == 2
    # One program change stands before them in every file.
    assert events_until(written, 1.99)[1:] == events_until(file.read_bytes(), 1.99)
    own = [note for note in play(file.read_bytes()) if note[0] < 2]
    assert np.array(play(written)[:-1]) == pytest.approx(np.array(own), abs=5e-5)
    assert play(written)[-1][:3] == (2.5, 3.0, 90)


def test_what_bends_the_music_ends_at_the_join(file: Path) -> None:
    whole, _ = read_prime(file, None)
    prime = make_prime(whole.performance, 0.6, "")  # before the soft pedal and the bend end
    written = events_until(write_midi(join(prime, NEW)), 9)
    at_join = {message for time, message in written if time == round(1000 * prime.seconds)}
    assert {b"\xe3\x00\x40", b"\xb3\x43\x00", b"\xb3\x40\x00"} <= at_join
    assert not [note for note in play(write_midi(join(prime, NEW))) if note[1] > prime.seconds + 1 and note[2] != 90]
    assert not any(message[:2] == b"\xb3\x07" for _, message in written[10:])


def test_volume_comes_back_after_fading_out(tmp_path: Path) -> None:
    fading = control(7, 3).copy(time=400), off(60).copy(time=80)
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(mido.MidiTrack([control(7, 110), on(60), *fading]))
    midi.save(tmp_path / "fade.mid")
    written = events_until(write_midi(join(read_prime(tmp_path / "fade.mid", None)[0], NEW)), 9)
    assert [message for _, message in written if message[:2] == b"\xb3\x07"] == [
        b"\xb3\x07\x6e",
        b"\xb3\x07\x03",
        b"\xb3\x07\x6e",
    ]


def test_a_prime_travels_with_its_events(file: Path) -> None:
    prime, _ = read_prime(file, None)
    packed = pack(prime)
    assert packed is not None
    assert write_midi(join(unpack(packed, None, prime.sha256), NEW)) == write_midi(join(prime, NEW))


def test_what_several_channels_say_is_named(tmp_path: Path) -> None:
    midi = mido.MidiFile(ticks_per_beat=480)
    for channel in (0, 1):
        messages = [control(67, 127), on(60 + channel), Message("note_off", note=60 + channel, channel=3, time=480)]
        midi.tracks.append(mido.MidiTrack([message.copy(channel=channel) for message in messages]))
    buffer = io.BytesIO()
    midi.save(file=buffer)
    _, remarks = read_midi(buffer.getvalue())
    assert remarks == ("2 channels merged into one piano", "2 controllers and bends left out")


def test_music_without_a_file_is_packed_as_before() -> None:
    music = Performance(np.zeros(1), np.ones(1), np.array([60]), np.array([64]), np.zeros((0, 2)))
    prime = make_prime(music, None, "")
    packed = pack(prime)
    assert packed is not None
    assert unpack(packed, None, "").performance.source is None
    assert isinstance(prime, Prime)


def test_no_continuation_is_for_drums(tmp_path: Path) -> None:
    """Channel 10 is for drums where no file says otherwise, and a channel that becomes one of drums stays one."""
    melodic = [control(0, 121), Message("program_change", channel=3), on(60), off(60).copy(time=480)]
    drums = [control(0, 120), Message("program_change", channel=3), on(36), off(36).copy(time=480)]
    for name, messages, channel in (("ten", melodic, 9), ("eleven", melodic[2:] + drums, 10)):
        midi = mido.MidiFile(ticks_per_beat=480)
        midi.tracks.append(mido.MidiTrack([message.copy(channel=channel) for message in messages]))
        midi.save(tmp_path / f"{name}.mid")
        prime, _ = read_prime(tmp_path / f"{name}.mid", None)
        again, remarks = read_midi(write_midi(join(prime, NEW)))
        assert again.pitch.tolist() == [60, 90]
        assert remarks == ()
