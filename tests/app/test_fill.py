"""A fill comes into its song, and nothing else changes: whatever the song, the region and the model."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.app import fill as filling
from musicgen.app import generate, novelty
from musicgen.app.cli import main
from musicgen.app.errors import BadInput
from musicgen.app.fill import Fill, Filling, FillRequest, fill, request_accompaniment, request_fill
from musicgen.app.fill_pedal import TOGETHER as LIFT
from musicgen.app.fill_pedal import foot, let_go, presses
from musicgen.app.fill_request import canonical, mask_of, open_song, place_of
from musicgen.app.fill_score import Seam, seam, unusual
from musicgen.app.given import given_notes
from musicgen.app.library import Model
from musicgen.app.piece import Note
from musicgen.app.replay import read_generated, replay, song_of
from musicgen.app.settings import Settings
from musicgen.data_prep import STEPS_PER_SECOND, Performance, apply_pedal, read_midi, write_midi
from musicgen.data_prep.dataset.gaps import AFTER, AHEAD
from musicgen.data_prep.evaluation.memorisation_index import build_index
from musicgen.data_prep.midi import read_text
from musicgen.data_prep.performance import NO_PEDAL, PEDAL_DOWN
from musicgen.data_prep.smf_writer import write_file
from musicgen.data_prep.song import Song, performance_of

GRID = 1.1 / STEPS_PER_SECOND  # seconds
TOGETHER = 2.6 / STEPS_PER_SECOND  # what a new pedal may move an end by


@st.composite
def songs(draw: st.DrawFn) -> bytes:
    """A file with a track of tempo and one or two that play, on one channel or two, with pedal and more."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    division = draw(st.sampled_from([96, 480]))
    channels = draw(st.sampled_from([(0,), (0, 0), (0, 3)]))
    tempo = [
        (0, b"\xff\x51" + (500_000).to_bytes(3, "big")),
        (4 * division, b"\xff\x51" + (420_000).to_bytes(3, "big")),
    ]
    tracks: list[list[tuple[int, bytes]]] = [[*tempo, (5 * division, b"\xff\x06a marker")]]
    low = draw(st.sampled_from([21, 55]))
    for track, channel in enumerate(channels):
        events: list[tuple[int, bytes]] = [(0, b"\xff\x03" + b"right left"[6 * track :][:5].strip())]
        for _ in range(draw(st.integers(1, 30))):
            tick, key = int(rng.integers(0, 20 * division)), int(rng.integers(low, low + (12 if low == 55 else 80)))
            events.append((tick, bytes([0x90 | channel, key, int(rng.integers(1, 128))])))
            events.append((tick + int(rng.integers(1, 3 * division)), bytes([0x80 | channel, key, 64])))
        for _ in range(draw(st.integers(0, 12))):
            tick = int(rng.integers(0, 22 * division))
            control = draw(st.sampled_from([64, 64, 64, 1]))
            events.append((tick, bytes([0xB0 | channel, control, int(rng.choice([0, 30, 90, 127]))])))
        events.append((30 * division, bytes([0xB0 | channel, 64, 0])))  # or it would last to whatever comes last
        tracks.append(sorted(events, key=lambda event: event[0]))
    return write_file(division, tracks)


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.floats(0, 7))
    more: dict[str, Any] = draw(
        st.sampled_from(
            [{}, {"hand": "left"}, {"hand": "right"}, {"pitches": (50, 61)}, {"amount": 0.5}, {"keep_track": "right"}]
        )
    )
    pedal = draw(st.sampled_from([None, "keep", "new"]))
    return {"start": start, "stop": start + draw(st.floats(0.02, 5)), "pedal": pedal, "seed": 3, **more}


def checked(data: bytes, how: dict[str, Any]) -> FillRequest | None:
    """The request, or None for what is refused with a line."""
    try:
        return request_fill(data, settings=Settings(num_samples=2), **how)
    except BadInput as error:
        assert "\n" not in str(error)
        return None


def events_outside(song: Song, request: FillRequest, notes: np.ndarray) -> list[list[Any]]:
    """All messages of each track but those of some notes, in order, and the metas and all else that is long.

    Where the pedal is written anew, it is left out in the region, as are the releases there: a key that the old pedal
    held is released when that was lifted.
    """
    events, parts = song.events, song.clock.parts
    seconds = events.seconds(events.tick)
    inside = (seconds >= request.region.start - 1e-4) & (seconds <= request.region.stop + 1e-4)
    kind = events.status & 0xF0
    moves = (kind == 0x80) | ((kind == 0x90) & (events.data2 == 0)) | ((kind == 0xB0) & (events.data1 == 64))
    mine = events.status & 0x0F == place_of(request, open_song(request.data, "the song"))[1]
    keep = ~(inside & moves & mine & (request.pedal == "new"))
    keep[song.messages_of(notes)] = False
    found = []
    for track in range(len(events.track_end)):
        own = keep & (events.track == track)
        columns = (events.tick[own] * parts, events.status[own], events.data1[own], events.data2[own])
        found.append([*zip(*(column.tolist() for column in columns), strict=True)])
    return [*found, [[event.tick * parts, event.track, event.data] for event in events.long]]


def sounding_in(song: Song, channel: int, but: np.ndarray | None = None) -> Performance:
    """The notes of a channel but for some, bool[n], as its own pedal lets them sound."""
    others = np.flatnonzero(song.events.status & 0x0F != channel)
    left = [] if but is None else [song.messages_of(but)]
    return apply_pedal(performance_of(song.without(np.unique(np.concatenate([others, *left])))))


def end_of(notes: Performance, pitch: int, onset: float, velocity: int) -> float:
    """When the note of this key, onset and velocity falls silent."""
    found = (notes.pitch == pitch) & (np.abs(notes.onset - onset) < 1e-4) & (notes.velocity == velocity)
    assert found.sum() == 1
    return float(notes.end[found][0])


def assert_fits(request: FillRequest, made: Fill) -> None:
    """Outside all is the same; inside the notes are where they may be, and sound as they are said to, or as long as a
    pedal that stays holds them."""
    before, after = Song.read(request.data), Song.read(made.midi)
    region = request.region
    goes = mask_of(request, before)
    ours = np.zeros(len(after.keys.pitch), bool)
    for note in made.notes:
        ours |= (after.keys.pitch == note.pitch) & (np.abs(after.keys.onset - note.onset) < 1e-4)
    assert ours.sum() == len(made.notes)
    assert events_outside(before, request, goes) == events_outside(after, request, ours)
    for note in made.notes:
        assert region.start <= note.onset < region.stop and region.low <= note.pitch <= region.high
        assert note.onset < note.end < region.stop + 2 + 1e-6
    _, channel = place_of(request, before)
    slack = TOGETHER if request.pedal == "new" else GRID
    for other in np.unique(before.keys.channel).tolist():  # each of a pedal of its own
        stays, together = sounding_in(before, other, goes), sounding_in(after, other)
        for pitch, onset, velocity, end in zip(stays.pitch, stays.onset, stays.velocity, stays.end, strict=True):
            assert abs(end_of(together, pitch, onset, velocity) - end) <= slack, "what stays sounds as long as before"
    stays = apply_pedal(performance_of(before.without(before.messages_of(goes))))  # in all channels
    together = sounding_in(after, channel)
    seconds, values, _ = before.pedal(channel)
    anew_from = foot(seconds, values, region.start, region.stop, request.pedal == "new").anew_from
    for note in made.notes:
        longer = end_of(together, note.pitch, note.onset, note.velocity) - note.end
        # At the end of its time a note has to be released under a pedal that the song holds down, too.
        late = note.end >= region.stop + 2 - GRID or strikes_again(stays, note) or note.end - note.onset > 7.98
        songs_own = note.end <= anew_from + GRID or note.end >= region.stop - GRID
        held = songs_own and pedal_is_down(seconds, values, note.end)
        assert abs(longer) <= slack or (longer > 0 and (late or held))


def pedal_is_down(seconds: np.ndarray, values: np.ndarray, moment: float) -> bool:
    """Whether it is at this moment, give or take the grid."""
    first, past = np.searchsorted(seconds, [moment - GRID, moment + GRID]).tolist()
    return bool((values[max(first - 1, 0) : past] >= PEDAL_DOWN).any())


def strikes_again(stays: Performance, note: Note) -> bool:
    again = (stays.pitch == note.pitch) & (stays.onset >= note.end) & (stays.onset <= note.end + GRID)
    return bool(again.any())


@given(songs(), asked())
@settings(max_examples=25)
def test_outside_is_untouched_and_inside_fits(fake: ModuleType, data: bytes, how: dict[str, Any]) -> None:
    request = checked(data, how)
    if request is None:
        return
    model = fake.fake_filler()
    result = fill(request, model)
    for made in result.fills:
        assert_fits(request, made)
    again = fill(request, fake.fake_filler())
    assert [one.midi for one in again.fills] == [one.midi for one in result.fills]


def test_a_new_pedal_holds_a_unison_as_long_as_the_old_one(fake: ModuleType) -> None:
    """The second of two strikes of a key ends first; the release of the first, which ends both, is under the pedal."""
    strokes = [(400, 65, 514), (430, 65, 490), (200, 50, 240), (500, 60, 1100), (1000, 72, 1200), (800, 41, 830)]
    messages = [message for on, key, off in strokes for message in ((on, 0x90, key, 70), (off, 0x80, key, 64))]
    messages += [(508, 0xB0, 64, 90), (1300, 0xB0, 64, 0)]
    track = [(tick, bytes(data)) for tick, *data in sorted(messages)]
    request = request_fill(write_file(50, [track]), start=1.5, stop=6, hand="left", pedal="new", seed=3)
    for made in fill(request, fake.fake_filler()).fills:
        assert_fits(request, made)


def test_a_fill_releases_no_key_that_is_struck_just_then(fake: ModuleType) -> None:
    """Which stands in an earlier track, and so comes first in its tick."""
    kept = [(tick, bytes([0x90, key, 70 * (tick % 10 == 0)])) for tick in range(200, 405, 5) for key in range(21, 109)]
    tracks = [[(0, b"\xff\x03right"), *kept], [(0, b"\xff\x03left"), (300, b"\x90\x46\x50"), (302, b"\x90\x46\x00")]]
    request = request_fill(write_file(50, tracks), start=2, stop=4, keep_track="right", seed=3)
    made = fill(request, fake.fake_filler()).fills[0]
    ends = {(note.pitch, round(note.end * 100)) for note in made.notes}
    assert ends & {(key, tick) for key in range(21, 109) for tick in range(200, 405, 10)}, "or this shows nothing"
    assert_fits(request, made)


def test_a_new_pedal_catches_no_key_released_in_the_tick_it_goes_down(fake: ModuleType) -> None:
    """The file's order is what counts: the release comes first."""
    strokes = [(0x90, 85, 70, 150), (0x80, 85, 64, 282), (0xB0, 64, 127, 282), (0x90, 60, 70, 240), (0x80, 60, 64, 260)]
    strokes += [(0x90, 72, 70, 500), (0x80, 72, 64, 540), (0xB0, 64, 0, 560)]
    track = [(tick, bytes(data)) for *data, tick in sorted(strokes, key=lambda stroke: stroke[3])]
    for made in fill(
        request_fill(write_file(50, [track]), start=2, stop=3, pedal="new", seed=3), fake.fake_filler()
    ).fills:
        assert made.notes and 2.8 < end_of(made.music, 85, 1.5, 70) < 2.85


def test_a_key_is_let_go_so_that_it_falls_silent_nearest_to_its_end() -> None:
    """The pedal is down from 1 to 2 and from 2.1 to 4 s, and once more at the end."""
    seconds, values = np.array([1.0, 1.5, 2.0, 2.1, 4.0, 9.0]), np.array([127, 90, 0, 127, 0, 127])
    ends = {0.9: 0.9, 1.2: 1.0, 1.8: 1.8, 2.05: 2.05, 2.4: 2.1, 3.5: 3.5, 4.5: 4.5, 9.5: 9.0}
    found = let_go(np.zeros(len(ends)), np.array([*ends]), seconds, values)
    np.testing.assert_allclose(found, [*ends.values()], atol=0.005)
    assert (found[[1, 4, 7]] < [1.0, 2.1, 9.0]).all(), "before the foot comes down"
    assert let_go(np.array([2.2]), np.array([2.4]), seconds, values) == [2.4], "struck under the pedal"
    assert let_go(np.zeros(2), np.array([1.0, 5.0]), np.zeros(0), np.zeros(0)).tolist() == [1.0, 5.0]


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_press_of_a_new_pedal_holds_a_note_past_its_end(ends: list[float]) -> None:
    """But for those that end nearly together; a row of ends each soon after the one before are not all together."""
    for times in (np.array(ends), np.arange(0.3, 0.5, 0.02)):
        events = presses(times, 0, 3)
        assert [value for _, value in events] == [127, 0] * (len(events) // 2)
        for (down, _), (up, _) in zip(events[::2], events[1::2], strict=True):
            held = times[(times > down) & (times <= up)]
            assert len(held) > 1 and up - held.min() <= LIFT


def test_an_accompaniment_has_a_track_of_its_own(fake: ModuleType) -> None:
    """Behind those of the file; every note of the melody stays to the tick, those of the other track go."""
    notes = [(tick, bytes([0x90, 72, 80 if tick % 480 == 0 else 0])) for tick in range(0, 4800, 240)]
    tracks = [[(0, b"\xff\x03Flute"), *notes], [(0, b"\xff\x03Bass"), (0, b"\x90\x28\x50"), (480, b"\x90\x28\x00")]]
    request = request_accompaniment(write_file(480, tracks), hand="left", track="flute", seed=1)
    made = fill(request, fake.fake_filler()).fills[0]
    before, after = Song.read(request.data), Song.read(made.midi)
    assert after.track_names() == ["Flute", "Bass", "Accompaniment"] and made.notes
    mine = after.keys.track == 0
    assert after.events.tick[after.keys.down[mine]].tolist() == before.events.tick[before.keys.down[1:]].tolist()
    assert set(after.keys.track.tolist()) == {0, 2} and (after.keys.pitch[~mine] < 65).all()


BACH = (Path(__file__).parents[2] / "app/primes/bach.mid").read_bytes()


@pytest.fixture
def cli(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with a model that fills."""
    model = fake.fake_filler()
    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: None)
    monkeypatch.setattr(generate, "open_model", lambda released: model)
    monkeypatch.setattr(novelty, "find_index", lambda checkpoint: None)  # reading it takes a second
    return lambda *words: main([str(word) for word in words])


@pytest.mark.parametrize(
    "words",
    [
        ["fill", "bach", "--from", "0:03", "--to", "8", "--num-samples", "2"],
        ["fill", "bach", "--from", "3", "--to", "8", "--hand", "left", "--pedal", "new"],
        ["vary", "bach", "--from", "3", "--to", "8", "--amount", "0.3"],
        ["accompany", "bach", "--hand", "left"],
    ],
)
def test_what_the_commands_write_is_replayed(
    cli: Callable[..., int], tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(*words, "--out", tmp_path / "new.mid", "--seed", 5, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] == 5 and min(told["notes"]) > 0
    assert told["nats_per_note"] == sorted(told["nats_per_note"]) and told["nats_per_note_before"] > 0
    assert all(len(seams) == 2 for seams in told["seams"])
    for out, notes in zip(told["out"], told["notes"], strict=True):
        assert cli("replay", out) == 0
        data = Path(out).read_bytes()
        given = given_notes(read_midi(data)[0], read_text(data))
        assert len(given) - notes <= given.sum() < len(given), "a picture tells what is new"


def test_the_pictures_of_the_documents(cli: Callable[..., int], tmp_path: Path) -> None:
    """By their script, from what its commands make."""
    runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "fills.py"))["make_pictures"](tmp_path)
    pictures = {path.name: path.read_bytes()[:4] for path in tmp_path.iterdir()}
    assert pictures == {f"fill-{name}.png": b"\x89PNG" for name in ("before", "after", "accompaniment")}


def test_an_amount_of_nothing_gives_the_passage_back(cli: Callable[..., int], tmp_path: Path) -> None:
    assert cli("vary", "bach", "--from", 3, "--to", 8, "--amount", 0, "--out", tmp_path / "new.mid") == 0
    assert canonical((tmp_path / "new.mid").read_bytes(), "new") == canonical(BACH, "bach")


def test_the_likeliest_comes_first(cli: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fill", "bach", "--from", 3, "--to", 5, "--seed", 5, "--json", "--quiet", "--out"]
    told = []
    for number, more in enumerate((["--num-samples", 4], ["--best-of", 4])):
        assert cli(*words, tmp_path / f"{number}.mid", *more) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert (tmp_path / "0-1.mid").read_bytes() == (tmp_path / "1.mid").read_bytes()
    assert told[0]["nats_per_note"][0] == min(told[0]["nats_per_note"]) == told[1]["nats_per_note"][0]
    assert len(set(told[0]["nats_per_note"])) > 1


def test_copies_of_training_pieces_are_drawn_again(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two shares too much: it is drawn again with a seed of its own, which its file knows, as it does what
    was found; then both do, ten times."""
    lengths = iter([40, 3, 5, 40])
    monkeypatch.setattr(filling, "nearest", lambda notes, index: {"length": next(lengths)})
    request = request_fill(BACH, start=3, stop=5, seed=5, settings=Settings(num_samples=2))
    make = functools.partial(fill, model=fake.fake_filler(), index=build_index([]))
    made = novelty.fill_avoiding_copies(request, 32, make)
    told = {one.provenance.sample: (one.provenance.seed, one.provenance.memorisation) for one in made.fills}
    assert told == {1: (novelty.next_seed(5, 1), {"length": 5}), 2: (5, {"length": 3})}
    assert b'"memorisation":{"length":5}' in next(one.midi for one in made.fills if one.provenance.sample == 1)
    monkeypatch.setattr(filling, "nearest", lambda notes, index: {"length": 40})
    stopped = novelty.fill_avoiding_copies(request, 32, make, lambda: True)
    assert {one.provenance.seed for one in stopped.fills} == {5}
    with pytest.raises(BadInput, match="--avoid-copies 32: 2 of 2 fills"):
        novelty.fill_avoiding_copies(request, 32, make)


def test_a_fill_says_what_it_shares_with_training(
    cli: Callable[..., int], fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Found out and written down without being asked; it is told, and the file can be made again."""
    again = request_fill(BACH, start=3, stop=11, seed=5)
    copied = fill(again, fake.fake_filler()).fills[0]
    onset, end, pitch, velocity = np.array(copied.notes).T
    music = Performance(onset, end, pitch.astype(int), velocity.astype(int), NO_PEDAL)
    index = build_index([("piece.mid", "Somebody: Something", music)])
    monkeypatch.setattr(novelty, "find_index", lambda checkpoint: tmp_path)
    monkeypatch.setattr(novelty, "open_index", lambda path, checkpoint: index)
    assert cli("fill", "bach", "--from", 3, "--to", 11, "--seed", 5, "--json", "--out", tmp_path / "new.mid") == 0
    out, error = capsys.readouterr()
    (found,) = json.loads(out)["memorisation"]
    assert found["length"] >= 32 and found["title"] == "Somebody: Something"
    assert f"shares {found['length']} notes with Somebody: Something: --avoid-copies 32 avoids that" in error
    assert read_generated(tmp_path / "new.mid").provenance.memorisation == found
    assert cli("replay", tmp_path / "new.mid") == 0


def test_an_unusual_seam_is_told(cli: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, with where it is; nothing is said of a border that is as most are."""
    soft = [(tick, bytes([0x90, 60, 10 if tick % 480 == 0 else 0])) for tick in range(0, 9600, 240)]
    (tmp_path / "soft.mid").write_bytes(write_file(480, [soft]))
    words = ["fill", tmp_path / "soft.mid", "--from", 4, "--to", 6, "--seed", 5, "--out", tmp_path / "new.mid"]
    assert cli(*words) == 0
    assert re.search(
        r"new.mid has a jump in loudness from 10 to \d+ .* where the passage begins", capsys.readouterr().err
    )
    assert unusual((Seam(0.1, 0.0, 0.0), None)) == []
    onset = np.append(np.arange(40) / 40, 1.5)
    thinner = Performance(onset, onset + 0.01, np.full(41, 60), np.full(41, 64), NO_PEDAL)
    assert unusual((None, seam(thinner, 1.0))) == ["a jump from 40 to 1 notes a second where the passage ends"]


def test_a_fill_that_is_stopped_leaves_the_rest_and_is_replayed(fake: ModuleType, tmp_path: Path) -> None:
    request = request_fill(BACH, start=2, stop=9, seed=2)
    blocks = itertools.count()
    made = fill(request, fake.fake_filler(), should_stop=lambda: next(blocks) == 3).fills[0]
    assert made.provenance.asked == 7 and 0 < made.provenance.settings.seconds < 7
    upto = request.region.start + made.provenance.settings.seconds
    old, new = Song.read(request.data).keys, Song.read(made.midi).keys
    assert np.array_equal(old.onset[old.onset >= upto], new.onset[new.onset >= upto])
    (tmp_path / "new.mid").write_bytes(made.midi)
    generated = read_generated(tmp_path / "new.mid")
    assert replay(generated, song_of(generated, None), fake.fake_filler()) == made.midi


def test_an_accompaniment_goes_on_under_a_last_long_note(fake: ModuleType) -> None:
    """More than a second behind the last onset nothing of the melody is near."""
    melody = Performance(np.array([0.0, 1.0]), np.array([1.0, 5.0]), np.full(2, 72), np.full(2, 80), NO_PEDAL)
    made = fill(request_accompaniment(write_midi(melody), hand="left", seed=1), fake.fake_filler()).fills[0]
    assert max(note.onset for note in made.notes) > 3 and max(note.pitch for note in made.notes) < 64


def test_a_melody_of_ten_thousand_notes_is_done_window_by_window(fake: ModuleType) -> None:
    """However dense: nothing is ever read that has more than the context, and it stops where it is told to."""
    for apart, windows in ((0.1, 60), (0.001, 8)):
        onset = np.arange(10_000) * apart
        melody = Performance(onset, onset + 0.9 * apart, 60 + np.arange(10_000) * 7 % 24, np.full(10_000, 80), NO_PEDAL)
        filling = Filling([request_accompaniment(write_midi(melody), hand="left", seed=1)], fake.fake_filler())
        (row,) = filling.rows
        assert (row.passage.stop - row.begins) / row.window > windows
        prompt, script = row.passage.window(row.begins, row.stop, row.written, 1_200)
        assert len(prompt) <= 1_200 and len(script.tokens) < 3_000
        filling.step()
        filling.stop(0)
        made = filling.result().fills[0]
        assert made.provenance.asked is not None and len(Song.read(made.midi).keys.pitch) >= 10_000


def test_windows_go_on_from_each_other_and_know_what_stays(fake: ModuleType) -> None:
    melody = Performance(np.arange(90.0), np.arange(90.0) + 0.9, np.full(90, 72), np.full(90, 80), NO_PEDAL)
    request = request_accompaniment(write_midi(melody), hand="left", seed=1)
    model = fake.fake_filler()
    made = fill(request, model).fills[0]
    old, new = Song.read(request.data).keys, Song.read(made.midi).keys
    mine = new.track == new.track.max()
    assert np.array_equal(old.onset, new.onset[~mine]) and np.array_equal(old.end, new.end[~mine])
    assert len(model.engine.primes) > 2 and new.pitch[mine].max() < 72
    assert {*np.floor(new.onset[mine] / 10).astype(int).tolist()} == set(range(9))
    kinds = [[AHEAD in prime, AFTER in prime] for (prime,) in model.engine.primes]
    assert kinds == [[True, False]] * len(kinds)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fill", "bach", "--from", "900"], "is not in it"),
        (["fill", "bach", "--from", "5", "--to", "5"], "--to must come after --from"),
        (["fill", "bach", "--from", "soon"], "is no time"),
        (["fill", "bach", "--pitches", "60-50"], "holds no key"),
        (["fill", "bach", "--pitches", "low"], "is no range of keys: write 21-59"),
        (["fill", "bach", "--pitches", "60-"], "is no range of keys: write 21-59"),
        (["fill", "drums.mid"], "no piano notes (8 drum notes dropped)"),
        (["accompany", "drums.mid"], "no piano notes"),
        (["fill", "bach", "--from", "3", "--to", "5", "--keep", "drums.mid"], "no piano notes"),
        (["fill", "long.mid"], "149 minutes are too long, 60 are the most"),
        (["fill", "bach", "--keep-track", "violin"], "no track of that name"),
        (["fill", "bach", "--keep", "satie"], "no such MIDI file"),
        (["fill", "nothing.mid"], "nothing.mid"),
        (["fill", "bach", "--best-of", "2", "--num-samples", "3"], "--best-of must be"),
        (["vary", "bach", "--amount", "2"], "--amount must be from 0 to 1"),
        (["accompany", "bach", "--track", "alto"], "no track of that name"),
    ],
)
def test_bad_input_is_one_line(
    cli: Callable[..., int],
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "drums.mid").write_bytes(write_file(480, [[(480 * at, bytes([0x99, 36, 90])) for at in range(8)]]))
    far = [(960 * 60 * at + off, bytes([0x90, 60, 80 - off])) for at in range(150) for off in (0, 80)]
    (tmp_path / "long.mid").write_bytes(write_file(480, [far]))
    monkeypatch.chdir(tmp_path)
    assert cli(*words, "--out", tmp_path / "new.mid") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "new.mid").exists()


def test_weights_that_have_not_learnt_to_fill_are_refused(fake: ModuleType) -> None:
    with pytest.raises(BadInput, match="have not learnt to fill"):
        Filling([request_fill(BACH, start=1, stop=2)], dataclasses.replace(fake.fake_filler(), styles=()))


def test_a_piece_of_a_program_is_filled(fake: ModuleType, tmp_path: Path) -> None:
    model = Model(SimpleNamespace(folder=tmp_path))  # type: ignore[arg-type]
    model.__dict__["opened"] = fake.fake_filler()
    piece = model.fill("bach", 3, 5, seed=1).fill(5, 8, pitches=(21, 59), seed=2)
    assert piece.provenance.fill is not None and piece.provenance.fill["high"] == 59
    both = model.accompany(piece, hand="left", seed=3)
    assert len(both.notes) > len(piece.notes)
    with pytest.raises(BadInput, match="unexpected keyword"):
        model.fill("bach", 3, 5, feet="left")
    with pytest.raises(BadInput, match="no model came"):
        dataclasses.replace(piece, filler=None).fill(1, 2)
