"""Passages in the queue: batches with other people's, notes as they come, stopping, and making one exactly again."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import functools
import itertools
import re
from typing import Any

import numpy as np
import pytest

from musicgen.app import fill, novelty
from musicgen.app.bundled import FOLDER
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.fill_score import unusual
from musicgen.app.settings import Settings
from musicgen.app.web.fills import batch
from musicgen.app.web.fills.request import parse_accompaniment
from musicgen.app.web.service import Service
from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.evaluation.memorisation_index import Index, build_index
from musicgen.data_prep.performance import NO_PEDAL

from ..test_scheduler import as_javascript, events_of, hold, only, until

BACH = (FOLDER / "bach.mid").read_bytes()
PASSAGE = {"start": 5.0, "stop": 7.0}
LONG = {"start": 5.0, "stop": 13.0}


@pytest.fixture(autouse=True)
def same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server draws the same in every run: with some seeds a passage is over at once, or nothing comes of it."""
    monkeypatch.setattr(batch, "new_seed", itertools.count(1).__next__)


def test_a_passage_from_place_to_end(make_scheduler: Any) -> None:
    """What goes is not shown, the notes that are told are those of the take, and all else is as it was."""
    fixture = make_scheduler()
    asked = fixture.passage(**PASSAGE, pitches=[0, 66], takes=2)
    events = events_of(fixture.scheduler.submit(asked, "a"))
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["waiting", "begin"] and kinds[-3:] == ["take", "take", "end"] and not events[-1]["stopped"]
    shown = only(events, "begin")[0]["music"]
    assert shown["region"] == {"from": 5.0, "to": 7.0, "low": 0, "high": 66} and shown["known_seconds"] == 5.0
    whole, _ = read_midi(BACH)
    goes = (whole.onset >= 5) & (whole.onset < 7) & (whole.pitch <= 66)
    assert goes.any() and len(shown["notes"]) == len(whole) - goes.sum()
    for take in only(events, "take"):
        told = {
            (note[0], note[2])
            for event in only(events, "notes")
            for note in event["notes"]
            if event["take"] == take["take"]
        }
        music, _ = read_midi(base64.b64decode(take["midi"]))
        assert len(music) == len(whole) - goes.sum() + len(told) and take["notes"] == len(told) > 0
        new = [note for note in take["music"]["notes"] if note[5:] == [1]]
        assert {pitch for _, pitch in told} == {note[2] for note in new} and all(note[2] <= 66 for note in new)
    last = [event for event in only(events, "notes") if event["take"] == 1][-1]
    assert last["seconds"] == pytest.approx(whole.duration, abs=0.01), "behind it everything is known"


def test_the_likeliest_comes_first(make_scheduler: Any) -> None:
    """Takes come in order, with what they are ordered by; one alone is not judged.  Odd borders are told."""
    fixture = make_scheduler()
    takes = only(events_of(fixture.scheduler.submit(fixture.passage(**PASSAGE, takes=4, seed=5), "a")), "take")
    nats = [take["nats_per_note"] for take in takes]
    assert nats == sorted(nats) and len(set(nats)) > 1 and [take["rank"] for take in takes] == [1, 2, 3, 4]
    result = fill.fill(
        fill.request_fill(BACH, **PASSAGE, seed=5, settings=Settings(num_samples=4)), fixture.model, score=True
    )
    assert [take["take"] for take in takes] == [one.provenance.sample for one in result.fills]
    assert [take["unusual"] for take in takes] == [unusual(one.seams) for one in result.fills]
    (alone,) = only(events_of(fixture.scheduler.submit(fixture.passage(**PASSAGE), "a")), "take")
    assert "rank" not in alone and "unusual" in alone


def copied(fixture: Any) -> Index:
    """A training set whose only piece is the first of two fills that seed 5 gives."""
    settings = dataclasses.replace(fixture.passage(**LONG).fill.settings, num_samples=2)
    made = fill.fill(fill.request_fill(BACH, **LONG, seed=5, settings=settings), fixture.model).fills[0]
    onset, end, pitch, velocity = np.array(made.notes).T
    music = Performance(onset, end, pitch.astype(int), velocity.astype(int), NO_PEDAL)
    return build_index([("a.mid", "Somebody: Something", music)])


def test_a_fill_too_near_to_a_training_piece_is_made_again(make_scheduler: Any) -> None:
    """As the command line does it; its recipe makes it once more, and nothing is compared that nobody asked for."""
    fixture = make_scheduler()
    index = copied(fixture)
    asked = dataclasses.replace(fixture.passage(**LONG, takes=2, seed=5, apart=True), index=index)
    events = events_of(fixture.scheduler.submit(asked, "a"))
    (again,) = only(events, "again")
    assert again["take"] == 1 and again["shares"] >= 32 and again["title"] == "Somebody: Something"
    takes = only(events, "take")
    request = fill.request_fill(BACH, **LONG, seed=5, settings=asked.fill.settings)
    make = functools.partial(fill.fill, model=fixture.model, score=True, index=index)
    expected = novelty.fill_avoiding_copies(request, 32, make)
    assert [base64.b64decode(take["midi"]) for take in takes] == [one.midi for one in expected.fills]
    for take in takes:
        recipe = fixture.passage(recipe=as_javascript(take["recipe"]))
        assert recipe.avoid_copies
        events = events_of(fixture.scheduler.submit(dataclasses.replace(recipe, index=index), "b"))
        assert [same["midi"] for same in only(events, "take")] == [take["midi"]]
    plain = events_of(fixture.scheduler.submit(fixture.passage(**LONG, takes=2, seed=5), "a"))
    assert not only(plain, "again") and not fixture.passage(recipe=only(plain, "take")[0]["recipe"]).avoid_copies


def test_fills_that_stay_too_near_are_not_kept(make_scheduler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "THRESHOLD", 0)
    monkeypatch.setattr(batch, "ATTEMPTS", 3)
    fixture = make_scheduler()
    asked = dataclasses.replace(fixture.passage(**PASSAGE, takes=2, apart=True), index=build_index([]))
    events = events_of(fixture.scheduler.submit(asked, "a"))
    assert len(only(events, "again")) == 4 and not only(events, "take") and len(fixture.engine.started) == 3
    assert events[-1]["event"] == "error" and "take 1 shares" in events[-1]["message"] and events[-1]["take"] == 1
    until(lambda: fixture.scheduler.load().batches == 0)


def test_people_share_a_batch_and_leave_it_alone(make_scheduler: Any) -> None:
    """Two passages of two pieces are drawn together; who leaves or stops takes nothing from the other."""
    fixture = make_scheduler(0.05, streams=1)
    hold(fixture)
    asked = [fixture.passage(**PASSAGE), fixture.passage(piece={"shipped": "satie"}, start=2.0, stop=5.0)]
    tickets = [fixture.scheduler.submit(one, name) for one, name in zip(asked, "ab", strict=True)]
    fixture.scheduler.leave(tickets[0])
    other = fixture.scheduler.submit(fixture.passage(**PASSAGE), "c")
    stopping = fixture.scheduler.submit(fixture.passage(**LONG), "d")
    begun = len(fixture.engine.started)
    fixture.engine.gate.set()
    until(lambda: len(fixture.engine.started) > begun)
    fixture.scheduler.stop(stopping.name)
    done = [events_of(ticket) for ticket in (tickets[1], other, stopping)]
    assert len(fixture.engine.started[begun]["primes"]) == 3, "one batch for all"
    assert [only(events, "take")[0]["notes"] > 0 for events in done[:2]] == [True, True]
    assert done[2][-1]["event"] == "end" and done[2][-1]["stopped"]


@pytest.mark.parametrize("seed", [5, None])
def test_a_recipe_makes_the_same_file_again(make_scheduler: Any, seed: int | None) -> None:
    """Byte for byte, from what a browser has kept of it; a chosen seed is the command line's fill."""
    fixture = make_scheduler()
    takes = only(events_of(fixture.scheduler.submit(fixture.passage(**PASSAGE, takes=2, seed=seed), "a")), "take")
    again = fixture.passage(recipe=as_javascript(takes[1]["recipe"]))
    events = events_of(fixture.scheduler.submit(again, "a"))
    assert [take["midi"] for take in only(events, "take")] == [takes[1]["midi"]]
    assert "midi" in only(events, "begin")[0], "the piece it is of was not sent as a file"
    if seed is not None:
        result = fill.fill(
            fill.request_fill(BACH, **PASSAGE, settings=again.fill.settings, seed=seed), fixture.model, score=True
        )
        assert [base64.b64decode(take["midi"]) for take in takes] == [one.midi for one in result.fills]


def test_an_accompaniment_keeps_every_note(make_scheduler: Any) -> None:
    fixture = make_scheduler()
    body = {"piece": {"midi": base64.b64encode(BACH).decode()}, "hand": "left", "stop": 6.0}
    asked = parse_accompaniment(body, fixture.dials, fixture.model.sha256, fixture.limits)
    events = events_of(fixture.scheduler.submit(asked, "a"))
    whole, _ = read_midi(BACH)
    begin, take = only(events, "begin")[0], only(events, "take")[0]
    assert len(begin["music"]["notes"]) == len(whole) and "midi" not in begin
    assert len([note for note in take["music"]["notes"] if note[5:] != [1]]) == len(whole)


PIECE = {"piece": {"shipped": "bach"}}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"piece": None}, "there is no piece: choose a MIDI file, or an opening, first"),
        ({"piece": {"midi": "eHh4"}}, "this file cannot be used"),
        ({"stop": None}, "send both"),
        ({"start": 50, "stop": 60}, "start 50 is not in it"),
        ({"stop": 5}, "stop must come after start"),
        ({"pitches": [70, 60]}, "there is no key between 70 and 60"),
        ({"pitches": 60}, "pitches are two numbers"),
        ({"hand": "third"}, "hand must be left or right"),
        ({"pedal": 1}, "pedal must be keep or new"),
        ({"amount": 2}, "amount must be between 0 and 1"),
        ({"keep_track": "Flute"}, "keep_track Flute: no track of that name"),
        ({"keep_track": 5}, "keep_track must be the name of a track"),
        ({"settings": {"seconds": 5}}, "leave the setting seconds out"),
        ({"takes": 9}, "takes must be a whole number"),
        ({"track": "Piano"}, "no field 'track'"),
        ({"recipe": {"facts": {"fill": {}}}}, "facts inside this file are damaged"),
    ],
)
def test_what_cannot_be_meant(make_scheduler: Any, body: dict[str, Any], complaint: str) -> None:
    fixture = make_scheduler(seconds=20.0)
    with pytest.raises(BadInput, match=re.escape(complaint)):
        fixture.passage(**{**PASSAGE, **body})
    with pytest.raises(BadInput, match="22 seconds are too long, 20 are the most"):
        fixture.passage(start=2.0, stop=24.0)


def test_weights_that_cannot_fill_say_so(make_scheduler: Any) -> None:
    """In one line, before anything is queued; the page is told, and shows no button."""
    fixture = make_scheduler()
    service = Service(fixture.scheduler, fixture.notes)
    assert service.about()["fills"]
    object.__setattr__(fixture.model, "styles", ())
    assert not service.about()["fills"]

    async def ask() -> None:
        async for _ in service.fill({**PIECE, **PASSAGE}, "a"):
            raise AssertionError("something came")

    with pytest.raises(EnvironmentProblem, match="the weights fake have not learnt to fill"):
        asyncio.run(ask())
