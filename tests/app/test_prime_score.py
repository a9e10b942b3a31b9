"""Tempo map, metre, keys and names of a prime: in the file that continues it, in a replay, and on the page."""

from __future__ import annotations

import base64
import dataclasses
import io
import zlib

import mido
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mido import Message, MetaMessage

from musicgen.app.errors import BadInput
from musicgen.app.join import close_at, join
from musicgen.app.prime import Prime, make_prime, pack, unpack
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.request import parse_request
from musicgen.data_prep import read_midi, steps, write_midi
from musicgen.data_prep.vocabulary import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY, VOCABULARY
from tests.app.test_join import drawn

Events = list[tuple[int, Message | MetaMessage]]
NEW = np.array([TIME_SHIFT + 49, VELOCITY + 15, NOTE_ON + 90, TIME_SHIFT + 99, NOTE_OFF + 90], np.int16)


def saved(*tracks: Events, division: int = 480) -> bytes:
    file = mido.MidiFile(type=1, ticks_per_beat=division, charset="utf-8")
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def tempo(tick: int, microseconds: int) -> tuple[int, MetaMessage]:
    return tick, MetaMessage("set_tempo", tempo=microseconds)


def waltz(division: int = 480, end: int = 700_000, quarters: int = 12) -> bytes:
    """Twelve quarter notes in three bars, each with a tempo of its own, and a change after the end."""
    conductor = [
        (0, MetaMessage("track_name", name="Waltz")),
        tempo(0, 400_000),
        (0, MetaMessage("time_signature", numerator=3, denominator=4)),
        (0, MetaMessage("key_signature", key="F#m")),
        tempo(4 * division, 433_333),
        (8 * division, MetaMessage("time_signature", numerator=2, denominator=4)),
        tempo(8 * division, end),
        tempo(40 * division, 200_000),
        (40 * division, MetaMessage("key_signature", key="C")),
    ]
    piano: Events = [(0, MetaMessage("track_name", name="Flügel"))]
    for quarter in range(quarters):
        pitch = 60 + quarter % 5
        piano.append((quarter * division, Message("note_on", note=pitch, velocity=70)))
        piano.append((quarter * division + division * 3 // 4, Message("note_off", note=pitch)))
    return saved(conductor, piano, division=division)


def prime_of(content: bytes, seconds: float | None = None) -> Prime:
    return make_prime(read_midi(content)[0], seconds, "0" * 64)


def marks_of(content: bytes) -> tuple[int, list[str], list[tuple[int, MetaMessage]]]:
    file = mido.MidiFile(file=io.BytesIO(content), charset="utf-8")
    found, now = [], 0
    for message in file.tracks[0]:
        now += message.time
        if message.type in ("set_tempo", "time_signature", "key_signature"):
            found.append((now, message.copy(time=0)))
    return file.ticks_per_beat, [track.name for track in file.tracks], found


def test_new_music_goes_on_in_the_tempo_of_the_join() -> None:
    """What the prime's file has for later is not for other music."""
    content = write_midi(join(prime_of(waltz()), NEW))
    division, names, marks = marks_of(content)
    parts = division // 480
    assert names == ["Waltz", "Flügel"]
    expected = [(tick * parts, mark) for tick, mark in marks_of(waltz())[2] if tick <= 8 * 480]
    assert marks == expected
    prime = prime_of(waltz())
    music, _ = read_midi(content)
    assert music.onset[-1] == pytest.approx(prime.seconds + 0.5, abs=1e-4)
    assert music.end[-1] == pytest.approx(prime.seconds + 1.5, abs=1e-4)
    quarters = music.onset[:12]
    assert quarters == pytest.approx(read_midi(waltz())[0].onset, abs=1e-9)


def test_a_shorter_prime_has_the_tempo_of_its_own_end() -> None:
    division, _, marks = marks_of(write_midi(join(prime_of(waltz(), 2.0), NEW)))
    assert [mark.tempo for _, mark in marks if mark.type == "set_tempo"] == [400_000, 433_333]
    assert [tick for tick, mark in marks if mark.type == "set_tempo"] == [0, 4 * division]


@pytest.mark.parametrize("division", [24, 96, 480, 960])
def test_new_music_lies_on_the_ticks_of_the_file(division: int) -> None:
    """Where they are fine enough: here a 24th of a quarter lasts 29 ms, a 96th 7."""
    prime = prime_of(waltz(division))
    found, _, _ = marks_of(write_midi(join(prime, NEW), loose_from=prime.seconds))
    assert found % division == 0
    assert (found == division) == (division > 24)


def test_old_files_replay_on_their_old_ticks() -> None:
    """They do not say that they are on the file's own, or on a beat that is heard."""
    from musicgen.app.provenance import Provenance
    from musicgen.app.settings import Settings

    about = ("toy", "0" * 64, "1" * 64, 12, 1.0, "cpu", "0.1.0")
    old = Provenance(Settings(), 1, 1, *about)
    again = Provenance.from_json(old.to_json())
    assert "own_ticks" not in old.to_json() and "beat" not in old.to_json() and not (again.own_ticks or again.beat)
    new = dataclasses.replace(old, own_ticks=True, beat=True)
    assert Provenance.from_json(new.to_json()) == new


@pytest.mark.slow
@given(
    st.sampled_from([24, 96, 120, 480, 1024, 15_360]),
    st.sampled_from([250_000, 700_000, 1_500_000, 4_000_000]),
    st.one_of(st.none(), st.floats(0.3, 7.0)),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_file_says_what_the_model_was_given_and_drew(
    division: int, end: int, seconds: float | None, seed: int, loose: bool
) -> None:
    """Also on the ticks of the prime's file, however long they last, and the prime's events at their very ticks."""
    content = waltz(division, end)
    prime = prime_of(content, seconds)
    assume(prime.performance.onset[-1] < prime.seconds + 0.003)
    tokens = drawn(prime.tokens, 40, seed)
    limit = float(steps(tokens)[-1] + 1) / 100
    loose_from = prime.seconds if loose else None
    written = write_midi(join(prime, close_at(tokens, prime.tokens, limit)), loose_from=loose_from)
    last = np.flatnonzero(VOCABULARY.mask("note_on", "note_off")[tokens])[-1]
    expected = np.concatenate([prime.tokens, tokens[: last + 1]])
    assert np.array_equal(prime_of(written).tokens[: len(expected)], expected)
    parts = marks_of(written)[0] // division
    ticks = np.round(read_midi(written)[0].onset[: len(prime.performance)], 9)
    assert np.array_equal(ticks, np.round(read_midi(content)[0].onset[: len(prime.performance)], 9))
    assert parts * division == marks_of(written)[0]


@given(st.sampled_from([24, 480, 960, 30_000]), st.one_of(st.none(), st.floats(0.3, 7.0)))
def test_a_packed_prime_has_its_score(division: int, seconds: float | None) -> None:
    prime = prime_of(waltz(division), seconds)
    text = pack(prime)
    assert text is not None
    again = unpack(text, seconds, prime.sha256)
    assert pack(again) == text
    assert write_midi(join(again, NEW)) == write_midi(join(prime, NEW))
    assert np.array_equal(again.tokens, prime.tokens)


def packed_score(text: str) -> str:
    whole = pack(prime_of(waltz()))
    assert whole is not None
    notes, _, *rest = whole.split(".")
    return ".".join([notes, base64.b64encode(zlib.compress(text.encode())).decode(), *rest])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[480]",
        '[0,"","",[]]',
        '[40000,"","",[]]',
        '[true,"","",[]]',
        '[1e3,"","",[]]',
        '[480,"zz","",[]]',
        '[480,1,"",[]]',
        f'[480,"{"00" * 300}","",[]]',
        '[480,"","",[[0,"ff5107a120"],[-1,"ff5107a120"]]]',
        '[480,"","",[[-5,"ff5107a120"]]]',
        '[480,"","",[[1e400,"ff5107a120"]]]',
        '[480,"","",[[9999999999999,"ff5107a120"]]]',
        '[480,"","",[[0,"ff51000000"]]]',
        '[480,"","",[[0,"ff0161"]]]',
        '[480,"","",[[0,"903c40"]]]',
        '[480,"","",[[0,""]]]',
        '[480,"","",[0]]',
        '[480,"","",{"a":1}]',
        "[" * 100_000,
    ],
)
def test_a_strange_score_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="the prime inside this file is damaged") as error:
        unpack(packed_score(text), None, "0" * 64)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_score_that_unpacks_to_much_is_bad_input() -> None:
    with pytest.raises(BadInput, match="damaged"):
        unpack(packed_score(" " * 2**24), None, "0" * 64)


def test_the_page_keeps_the_score() -> None:
    """Of the whole prime, and of a part with the tempo in force where it begins."""
    limits = Limits(upload_bytes=20_000, upload_notes=300, prime_seconds=60.0)

    def tempos(**wish: float) -> list[int]:
        body = {"prime": {"midi": base64.b64encode(waltz()).decode()}, **wish}
        prime = parse_request(body, Dials(64, 256), "f" * 64, limits).prime
        assert prime is not None
        marks = marks_of(write_midi(join(prime, NEW)))[2]
        return [mark.tempo for _, mark in marks if mark.type == "set_tempo"]

    assert tempos() == [400_000, 433_333, 700_000]
    assert tempos(**{"from": 2.0}) == [433_333, 700_000]
    assert tempos(**{"from": 2.0, "to": 3.0}) == [433_333]


def test_the_tokens_are_those_of_the_seconds() -> None:
    """The score decides nothing of what the model is given."""
    music, _ = read_midi(waltz())
    without = make_prime(dataclasses.replace(music, source=None), None, "")
    assert np.array_equal(prime_of(waltz()).tokens, without.tokens)
