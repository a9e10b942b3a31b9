"""The tokens of `encode` are note-seq's own, save for the named differences in the docstring of `tokens`."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from mido import Message, MetaMessage, MidiFile

from musicgen.data_prep.midi import read_midi
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON

Build = Callable[..., bytes]
Oracle = Callable[[bytes], list[int]]
FILES = 110


def on(tick: int, pitch: int, velocity: int = 64, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(tick: int, pitch: int, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("note_off", note=pitch, channel=channel)


def pedal(tick: int, value: int, channel: int = 0) -> tuple[int, Message]:
    return tick, Message("control_change", control=64, value=value, channel=channel)


def ours(content: bytes) -> list[int]:
    return encode(read_midi(content)[0]).tolist()


def played(seed: int, keys: int, notes: int, pedals: int, division: int) -> tuple[list[tuple[int, Message]], int]:
    """Random music in which a key is released before it is struck again, and no key is struck twice in one step."""
    rng = random.Random(seed)
    events, free = [], dict.fromkeys(range(60, 60 + keys), 0)
    step = max(1, division // 50 + 1)  # more ticks than 10 ms at 120 quarter notes a minute
    now = 0
    for _ in range(notes):
        now += rng.choice([0, 0, 1, step, division // 4, 3 * division])
        pitches = [pitch for pitch, time in free.items() if time <= now]
        if pitches:
            pitch = rng.choice(pitches)
            end = now + rng.randint(1, 2 * division)
            events += [on(now, pitch, rng.randint(1, 127)), off(end, pitch)]
            free[pitch] = max(end, now + step)
    events += [pedal(rng.randint(0, now), rng.randint(0, 127)) for _ in range(pedals)]
    return events, now


CONSTRUCTED = {
    "a scale": [event for i in range(8) for event in (on(i * 240, 60 + i, 10 + 15 * i), off(i * 240 + 230, 60 + i))],
    "chords rolled downwards": [
        event
        for tick, pitches in ((0, (72, 60, 64, 55)), (960, (40, 72, 30, 41)))
        for i, pitch in enumerate(pitches)
        for event in (on(tick + i, pitch), off(tick + 480, pitch))
    ],
    "repeated notes under the pedal": [
        pedal(0, 127),
        *(event for i in range(6) for event in (on(i * 100, 60), off(i * 100 + 20, 60))),
        pedal(900, 0),
    ],
    "a pedal that is never released": [on(0, 60), pedal(10, 80), off(100, 60), on(400, 67), off(2000, 67)],
    "press and release on the ticks of note ends": [
        *(on(0, 60), on(0, 62), pedal(240, 127), off(240, 60), pedal(480, 0), off(480, 62)),
        *(on(600, 64), off(700, 64), pedal(700, 0), pedal(700, 127), pedal(800, 30)),
    ],
    "long rests and short notes": [
        on(5000, 60),
        off(5001, 60),
        on(20000, 61),
        off(20001, 61),
        on(29600, 60),
        off(48000, 60),
    ],
    "overlaps of a key under the pedal": [pedal(0, 100), on(10, 60), on(200, 60, 90), off(400, 60), pedal(500, 0)],
}


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_constructed_files(name: str, midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file(CONSTRUCTED[name])
    tokens = note_seq_tokens(content)
    assert len(tokens) > 4
    assert ours(content) == tokens


@pytest.mark.parametrize("seed", range(30))
def test_random_music(seed: int, midi_file: Build, note_seq_tokens: Oracle) -> None:
    division = [96, 384, 480, 20000][seed % 4]
    events, end = played(seed, keys=[3, 20, 60][seed % 3], notes=150, pedals=40 * (seed % 2), division=division)
    rng = random.Random(seed)
    tempi = [
        (rng.randint(0, end), MetaMessage("set_tempo", tempo=rng.randint(500_000, 900_000))) for _ in range(seed % 5)
    ]
    content = midi_file(sorted(tempi, key=lambda event: event[0]), events, division=division)
    assert ours(content) == note_seq_tokens(content)


def as_note_seq_reads(content: bytes) -> bytes:
    """The file in the order in which note-seq takes the events of a tick, and without the sostenuto pedal: what is left
    of the named differences in MAESTRO is none."""
    midi = MidiFile(file=io.BytesIO(content))
    for track in midi.tracks:
        now, events = 0, []
        for message in track:
            now += message.time
            if not message.is_cc(66):
                events.append((now, *order_of(message), message))
        events.sort(key=lambda event: event[:2])
        track[:] = [
            message.copy(time=tick - before)
            for (tick, _, message), before in zip(events, [0, *(tick for tick, *_ in events)], strict=False)
        ]
    buffer = io.BytesIO()
    midi.save(file=buffer)
    return buffer.getvalue()


def order_of(message: Message | MetaMessage) -> tuple[int]:
    """At one moment pedal down, pedal up, note-offs, note-ons."""
    if message.is_cc(64):
        return (1 if message.value >= 64 else 2,)
    if message.type in ("note_on", "note_off"):
        return (4 if message.type == "note_on" and message.velocity else 3,)
    return (9 if message.type == "end_of_track" else 0,)


def test_maestro(maestro: Path, note_seq_tokens: Oracle) -> None:
    years = sorted({file.parent for file in maestro.glob("*/*.mid*")})
    assert years, f"{maestro} holds no MIDI files"
    rng = random.Random(1)
    each = -(-FILES // len(years))
    files = [file for year in years for file in rng.sample(sorted(year.glob("*.mid*")), each)]
    contents = {file: file.read_bytes() for file in files}
    different = [
        str(file)
        for file, content in contents.items()
        if ours(content) != note_seq_tokens(content) and ours(as_note_seq_reads(content)) != note_seq_tokens(content)
    ]
    assert different == []
    assert len(files) >= 100


# Differences from note-seq, by their names in `tokens`.


def kinds(tokens: list[int], *pitches: int) -> str:
    names = {NOTE_ON + pitch: f"+{pitch}" for pitch in pitches} | {NOTE_OFF + pitch: f"-{pitch}" for pitch in pitches}
    return " ".join(names[token] for token in tokens if token in names)


def test_a_repeated_pitch_ends_the_earlier_note(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 60), on(480, 60), off(960, 60)])
    assert kinds(note_seq_tokens(content), 60) == "+60 +60 -60 -60"
    assert kinds(ours(content), 60) == "+60 -60 +60 -60"
    rule_applied = midi_file([on(0, 60), off(480, 60), on(480, 60), off(960, 60)])
    assert ours(content) == note_seq_tokens(rule_applied)


def test_one_onset_per_key_and_step(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 60, 30), off(2, 60), on(4, 60, 80), off(480, 60)])  # 4 ticks are 4.2 ms
    assert kinds(note_seq_tokens(content), 60) == "+60 +60 -60 -60"
    assert kinds(ours(content), 60) == "+60 -60"
    rule_applied = midi_file([on(4, 60, 80), off(480, 60)])
    assert ours(content) == note_seq_tokens(rule_applied)


def test_the_pedal_of_a_channel_holds_all_its_notes(midi_file: Build, note_seq_tokens: Oracle) -> None:
    notes, feet = [on(0, 60), off(240, 60), on(0, 64), off(240, 64)], [pedal(100, 127), pedal(960, 0)]
    content = midi_file(notes, feet)
    assert note_seq_tokens(content) == note_seq_tokens(midi_file(notes))
    assert ours(content) == note_seq_tokens(midi_file(notes + feet))


def test_a_note_never_ended_is_held(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 64), off(480, 64), on(480, 60)], end=960)
    assert note_seq_tokens(content) == note_seq_tokens(midi_file([on(0, 64), off(480, 64)]))
    assert ours(content) == note_seq_tokens(midi_file([on(0, 64), off(480, 64), on(480, 60), off(960, 60)]))


def test_drums_are_no_piano_notes(midi_file: Build, note_seq_tokens: Oracle) -> None:
    notes = [on(0, 60), off(480, 60)]
    content = midi_file([*notes, on(0, 36, channel=9), off(9, 36, channel=9)])
    assert kinds(note_seq_tokens(content), 36) == "+36 -36"
    assert ours(content) == note_seq_tokens(midi_file(notes))


def test_tempo_changes_of_all_tracks_count(midi_file: Build, note_seq_tokens: Oracle) -> None:
    notes, tempo = [on(0, 60), off(480, 60)], [(0, MetaMessage("set_tempo", tempo=250_000))]
    content = midi_file(notes, tempo)
    assert note_seq_tokens(content) == note_seq_tokens(midi_file(notes))
    assert ours(content) == note_seq_tokens(midi_file(tempo + notes))


def control(tick: int, number: int, value: int = 0) -> tuple[int, Message]:
    return tick, Message("control_change", control=number, value=value)


def test_the_order_of_a_tick_is_the_files(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 60), off(480, 60), pedal(480, 127), pedal(960, 0)])
    assert note_seq_tokens(content) == note_seq_tokens(midi_file([on(0, 60), off(960, 60)]))
    assert ours(content) == note_seq_tokens(midi_file([on(0, 60), off(480, 60)]))
    content = midi_file([pedal(0, 127), on(0, 60), pedal(480, 0), pedal(480, 127), off(720, 60), pedal(960, 0)])
    assert note_seq_tokens(content) == note_seq_tokens(midi_file([on(0, 60), off(720, 60)]))
    assert ours(content) == note_seq_tokens(midi_file([on(0, 60), off(960, 60)]))


def test_a_key_sounds_until_the_last_of_its_notes_is_released(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 60), on(240, 60), off(480, 60), off(960, 60)])
    assert ours(content) == note_seq_tokens(midi_file([on(0, 60), off(240, 60), on(240, 60), off(960, 60)]))


def test_the_sostenuto_pedal_and_the_mode_messages_count(midi_file: Build, note_seq_tokens: Oracle) -> None:
    held = midi_file([on(0, 60), control(240, 66, 127), off(480, 60), control(960, 66)])
    assert note_seq_tokens(held) == note_seq_tokens(midi_file([on(0, 60), off(480, 60)]))
    assert ours(held) == note_seq_tokens(midi_file([on(0, 60), off(960, 60)]))
    for number in (120, 123):
        ended = midi_file([on(0, 60), control(480, number), off(960, 60)])
        assert note_seq_tokens(ended) == note_seq_tokens(midi_file([on(0, 60), off(960, 60)]))
        assert ours(ended) == note_seq_tokens(midi_file([on(0, 60), off(480, 60)]))


def test_a_note_off_ends_a_note_of_any_track(midi_file: Build, note_seq_tokens: Oracle) -> None:
    assert ours(midi_file([on(0, 60), off(960, 60)], [off(480, 60)])) == note_seq_tokens(
        midi_file([on(0, 60), off(480, 60)])
    )


def test_a_note_of_no_length_is_kept(midi_file: Build, note_seq_tokens: Oracle) -> None:
    content = midi_file([on(0, 60), off(0, 60), on(0, 64), off(480, 64)])
    assert kinds(note_seq_tokens(content), 60) == ""
    assert kinds(ours(content), 60) == "+60 -60"
