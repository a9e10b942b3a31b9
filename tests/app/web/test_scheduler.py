"""The queue: turns, batches, stopping, leaving, and making a take again."""

from __future__ import annotations

import base64
import dataclasses
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from musicgen.app.errors import STOPPING, Busy, EnvironmentProblem
from musicgen.app.evaluation.memorisation_report import THRESHOLD
from musicgen.app.generate import Request, generate, midi_file
from musicgen.app.novelty import generate_avoiding_copies
from musicgen.app.prime import pack
from musicgen.app.settings import Settings
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes import batch as note_batch
from musicgen.app.web.notes.batch import batch_size
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.notes.request import GenerateRequest
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep import read_midi
from musicgen.data_prep.evaluation.memorisation_index import Index, build_index

from .conftest import Gated
from .serving import until


def events_of(ticket: Ticket) -> list[dict[str, Any]]:
    return list(ticket)


def compared(request: GenerateRequest, index: Index) -> GenerateRequest:
    return dataclasses.replace(request, index=index)


def only(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def as_javascript(value: Any) -> Any:
    """What is left of a value that has been through a browser: 5.0 has become 5."""
    if isinstance(value, dict):
        return {name: as_javascript(inner) for name, inner in value.items()}
    return int(value) if isinstance(value, float) and value == int(value) else value


def hold(fixture: Any) -> None:
    """Keep the scheduler, of one stream, busy with somebody's piece until the gate is opened."""
    fixture.engine.gate.clear()
    fixture.scheduler.submit(fixture.request(seed=1, settings={"seconds": 1.0}), "x")
    until(lambda: fixture.scheduler.load().batches == 1)


def test_a_click_from_place_to_end(make_scheduler: Any) -> None:
    """Its events in order; the notes told are those of the take; the file is a valid piece of the asked length."""
    fixture = make_scheduler()
    events = events_of(fixture.scheduler.submit(fixture.request(settings={"seconds": 6.0}, takes=2), "a"))
    kinds = [event["event"] for event in events]
    assert kinds[0] == "waiting" and kinds[1] == "begin" and kinds[-1] == "end" and kinds.count("take") == 2
    for number in (1, 2):
        told = [note for event in only(events, "notes") if event["take"] == number for note in event["notes"]]
        (take,) = (event for event in only(events, "take") if event["take"] == number)
        music, _ = read_midi(base64.b64decode(take["midi"]))
        assert 5.0 < music.duration <= 6.01
        assert take["notes"] == len(music) == len({(note[0], note[2]) for note in told})
        onsets = sorted({(round(note[0], 2), note[2]) for note in told})
        assert np.allclose([onset for onset, _ in onsets], np.sort(music.onset), atol=0.011)
        assert take["recipe"]["facts"]["settings"]["num_samples"] == 2


def test_a_chosen_seed_is_the_command_lines_piece(make_scheduler: Any) -> None:
    """`--seed 5 --num-samples 2` and two takes of seed 5 are the same two files, byte for byte."""
    fixture = make_scheduler()
    request = fixture.request(prime={"shipped": "bach"}, to=6.0, settings={"seconds": 4.0}, takes=2, seed=5)
    takes = only(events_of(fixture.scheduler.submit(request, "a")), "take")
    settings = dataclasses.replace(request.settings, num_samples=2)
    result = generate(Request(settings, request.prime, 5), fixture.model)
    assert request.prime is not None
    expected = [midi_file(sample, pack(request.prime)) for sample in result.samples]
    assert [base64.b64decode(take["midi"]) for take in sorted(takes, key=lambda take: take["take"])] == expected


@pytest.mark.parametrize("takes", [1, 3, 4])
def test_a_recipe_makes_the_take_exactly_again(make_scheduler: Any, takes: int) -> None:
    """Also of a take that shared its batch with other people's, and of one that was stopped early."""
    fixture = make_scheduler(streams=1)
    hold(fixture)
    body = {"prime": {"shipped": "satie"}, "to": 8.0, "settings": {"seconds": 5.0}, "takes": takes}
    tickets = [fixture.scheduler.submit(fixture.request(**body), name) for name in "ab"]
    fixture.engine.gate.set()
    made = [only(events_of(ticket), "take") for ticket in tickets]
    assert all(len(mine) == takes for mine in made)
    for take in (made[0][0], made[1][-1]):
        recipe = as_javascript(take["recipe"])
        (again,) = only(events_of(fixture.scheduler.submit(fixture.request(recipe=recipe), "c")), "take")
        assert again["midi"] == take["midi"] and again["music"] == take["music"]


def test_stopping_keeps_a_valid_piece_that_can_be_made_again(make_scheduler: Any) -> None:
    fixture = make_scheduler(pause=0.01)
    ticket = fixture.scheduler.submit(fixture.request(settings={"seconds": 200.0}), "a")
    until(lambda: sum(event["event"] == "notes" for event in list(ticket.events)) > 5)
    assert fixture.scheduler.stop(ticket.name)
    events = events_of(ticket)
    (take,) = only(events, "take")
    assert events[-1] == {"event": "end", "stopped": True}
    music, _ = read_midi(base64.b64decode(take["midi"]))
    certain = only(events, "notes")[-1]["seconds"]
    assert 0 < music.duration <= certain + 0.011 < 200
    (again,) = only(events_of(fixture.scheduler.submit(fixture.request(recipe=take["recipe"]), "a")), "take")
    assert again["midi"] == take["midi"]
    assert not fixture.scheduler.stop("no such name")


def test_a_piece_that_ends_by_itself(make_scheduler: Any) -> None:
    """Its last notes die away; the recipe makes it again; nothing of it is told after its end."""
    fixture = make_scheduler()
    request = fixture.request(settings={"seconds": 6.0, "end": True}, seed=4)
    events = events_of(fixture.scheduler.submit(request, "a"))
    (take,) = only(events, "take")
    ended = take["recipe"]["facts"]["ended"]
    music, _ = read_midi(base64.b64decode(take["midi"]))
    assert 0 < ended < 6.0 + 10.0 and music.duration == pytest.approx(ended, abs=0.02)
    assert take["music"]["seconds"] == pytest.approx(ended, abs=0.02)
    told = {(round(note[0], 2), note[2]) for event in only(events, "notes") for note in event["notes"]}
    assert len(told) == take["notes"] == len(music)
    recipe = as_javascript(take["recipe"])
    (again,) = only(events_of(fixture.scheduler.submit(fixture.request(recipe=recipe), "a")), "take")
    assert again["midi"] == take["midi"]


def test_stopping_a_piece_that_was_to_end(make_scheduler: Any) -> None:
    """Long before its end it is cut like any other; what its facts say makes it again."""
    fixture = make_scheduler(pause=0.01)
    ticket = fixture.scheduler.submit(fixture.request(settings={"seconds": 200.0, "end": True}), "a")
    until(lambda: sum(event["event"] == "notes" for event in list(ticket.events)) > 3)
    fixture.scheduler.stop(ticket.name)
    events = events_of(ticket)
    (take,) = only(events, "take")
    settings = take["recipe"]["facts"]["settings"]
    assert settings["end"] is False and 0 < settings["seconds"] < 200 and events[-1]["stopped"]


def test_stopping_while_an_ending_is_chosen(make_scheduler: Any) -> None:
    """The piece is over in a moment: it ends, as its settings say it did."""
    fixture = make_scheduler(pause=0.01)
    ticket = fixture.scheduler.submit(fixture.request(settings={"seconds": 6.0, "end": True}, seed=4), "a")
    until(lambda: len(fixture.engine.started) == 2)  # the endings are being drawn
    fixture.scheduler.stop(ticket.name)
    (take,) = only(events_of(ticket), "take")
    assert take["recipe"]["facts"]["settings"]["end"] and take["recipe"]["facts"]["ended"]


@pytest.fixture
def seed_5(fake: Any) -> Index:
    """A training set whose only piece is what seed 5 gives in the first of two rows."""
    result = generate(Request(Settings(seconds=20.0, num_samples=2), None, 5), fake.fake_model())
    return build_index([("original.mid", "Somebody: Something", result.samples[0].music)])


def test_a_take_too_near_to_a_training_piece_is_made_again(make_scheduler: Any, seed_5: Index) -> None:
    """As the command line makes it again, with a new seed; the others stay; the recipe needs to know nothing of it."""
    fixture = make_scheduler()
    body = {"settings": {"seconds": 20.0}, "takes": 2, "seed": 5}
    events = events_of(fixture.scheduler.submit(compared(fixture.request(**body, apart=True), seed_5), "a"))
    (again,) = only(events, "again")
    assert again["take"] == 1 and again["shares"] >= THRESHOLD and again["title"] == "Somebody: Something"
    assert [event["take"] for event in only(events, "take")] == [2, 1] and events[-1]["event"] == "end"
    settings = Settings(seconds=20.0, num_samples=2, latents=64, context=256)
    expected = generate_avoiding_copies(Request(settings, None, 5), fixture.model, seed_5, THRESHOLD)
    made = {take["take"]: take for take in only(events, "take")}
    for number, sample in enumerate(expected.samples, start=1):
        assert base64.b64decode(made[number]["midi"]) == midi_file(sample, None)
        request = fixture.request(recipe=as_javascript(made[number]["recipe"]))
        (same,) = only(events_of(fixture.scheduler.submit(compared(request, seed_5), "b")), "take")
        assert same["midi"] == made[number]["midi"]
    anew = only(events[events.index(again) :], "notes")
    onsets = {round(note[0], 2) for event in anew if event["take"] == 1 for note in event["notes"]}
    assert onsets == set(np.round(expected.samples[0].music.onset, 2))
    plain = events_of(fixture.scheduler.submit(fixture.request(**body), "a"))
    assert not only(plain, "again") and only(plain, "take")[0]["recipe"]["facts"]["memorisation"] is None


def test_takes_that_stay_too_near_are_not_kept(
    make_scheduler: Any, seed_5: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many draws, or when somebody says stop, it is said; the copy itself is never given away."""
    monkeypatch.setattr(note_batch, "THRESHOLD", 0)
    monkeypatch.setattr(note_batch, "ATTEMPTS", 3)
    fixture = make_scheduler()
    request = fixture.request(settings={"seconds": 2.0}, takes=2, apart=True)
    events = events_of(fixture.scheduler.submit(compared(request, seed_5), "a"))
    assert len(only(events, "again")) == 4 and not only(events, "take")
    assert events[-1]["event"] == "error" and "take 1 shares" in events[-1]["message"]
    assert len(fixture.engine.started) == 3
    until(lambda: fixture.scheduler.load().batches == 0)
    fixture.engine.pause = 0.01
    ticket = fixture.scheduler.submit(compared(fixture.request(settings={"seconds": 200.0}, apart=True), seed_5), "a")
    until(lambda: sum(event["event"] == "notes" for event in list(ticket.events)) > 5)
    fixture.scheduler.stop(ticket.name)
    events = events_of(ticket)
    assert not only(events, "take") and "is not kept" in events[-1]["message"]


def test_stopped_before_its_turn(make_scheduler: Any) -> None:
    """There is no piece, and the place in the queue is free."""
    fixture = make_scheduler(streams=1)
    hold(fixture)
    third, fourth = (fixture.scheduler.submit(fixture.request(seed=1), client) for client in "cd")
    assert fixture.scheduler.stop(third.name)
    assert events_of(third)[-1] == {"event": "end", "stopped": True}
    assert [event["place"] for event in fourth.drain()] == [2, 1]
    fixture.engine.gate.set()
    assert len(only(events_of(fourth), "take")) == 1


def test_waiting_clicks_share_a_batch_only_where_that_changes_nothing(make_scheduler: Any) -> None:
    """Same dials, same sampling, primes of one length, no chosen seed; at most so many rows."""
    fixture = make_scheduler(rows=4, streams=1)
    hold(fixture)
    fixture.engine.started.clear()
    bodies: list[dict[str, Any]] = [{}, {}, {"settings": {"temperature": 0.5}}, {"seed": 9}, {"takes": 2}, {}]
    bodies.append({"prime": {"shipped": "bach"}})
    tickets = [
        fixture.scheduler.submit(
            fixture.request(**{**body, "settings": {"seconds": 2.0, **body.get("settings", {})}}), f"{n}"
        )
        for n, body in enumerate(bodies)
    ]
    fixture.engine.gate.set()
    for ticket in tickets:
        assert only(events_of(ticket), "take")
    rows = [len(start["primes"]) for start in fixture.engine.started]
    assert rows == [4, 1, 1, 1, 1]


def test_the_sizes_of_batches_are_few() -> None:
    assert [batch_size(rows) for rows in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]


def test_fair_turns(make_scheduler: Any) -> None:
    """Who comes later with a first click goes before the others' second and third."""
    fixture = make_scheduler(streams=1, waiting_each=5)
    hold(fixture)
    asked = ["a", "a", "a", "b", "b", "c"]
    begun: list[str] = []
    tickets = []
    for number, client in enumerate(asked):
        request = fixture.request(seed=100 + number, settings={"seconds": 1.0})
        tickets.append(fixture.scheduler.submit(request, client))
    places = [ticket.place for ticket in tickets]
    assert places == [1, 4, 6, 2, 5, 3]
    fixture.engine.gate.set()
    for ticket in tickets:
        events_of(ticket)
    begun = [asked[start["seed"] - 100] for start in fixture.engine.started if start["seed"] >= 100]
    assert begun == ["a", "b", "c", "a", "b", "a"]


def test_many_names_at_one_address_are_not_many_people(make_scheduler: Any) -> None:
    """They cannot fill the queue, and in a round they take turns with other addresses; among themselves they queue."""
    fixture = make_scheduler(streams=1, waiting_address=4)
    hold(fixture)

    def ask(client: str) -> Ticket[Any]:
        return fixture.scheduler.submit(fixture.request(seed=1, settings={"seconds": 1.0}), client)

    crowd = [ask(f"10.0.0.1 name{n}") for n in range(4)]
    with pytest.raises(Busy, match="4 requests from your address are waiting already: try again in a few minutes"):
        ask("10.0.0.1 another")
    late = [ask("10.0.0.2 somebody"), ask("10.0.0.3 "), ask("10.0.0.2 somebody else")]
    assert [ticket.place for ticket in crowd] == [1, 4, 6, 7] and [ticket.place for ticket in late] == [2, 3, 5]
    fixture.scheduler.leave(crowd[0])
    assert ask("10.0.0.1 another").place == 7
    fixture.engine.gate.set()
    for ticket in [*crowd[1:], *late]:
        assert only(events_of(ticket), "take")


def test_a_long_piece_does_not_keep_everybody_waiting(make_scheduler: Any) -> None:
    """Two batches take turns, block by block."""
    fixture = make_scheduler(pause=0.002)
    long = fixture.scheduler.submit(fixture.request(seed=1, settings={"seconds": 300.0}), "a")
    short = fixture.scheduler.submit(fixture.request(seed=2, settings={"seconds": 3.0}), "b")
    assert only(events_of(short), "take")
    assert not long.over
    fixture.scheduler.leave(long)


def test_whoever_leaves_frees_the_place(make_scheduler: Any) -> None:
    fixture = make_scheduler(pause=0.002)
    tickets = [fixture.scheduler.submit(fixture.request(settings={"seconds": 300.0}), f"{n}") for n in range(4)]
    until(lambda: fixture.scheduler.load().batches == 2 or fixture.scheduler.load().rows == 4)
    for ticket in tickets:
        fixture.scheduler.leave(ticket)
    until(lambda: fixture.scheduler.load().batches == 0)
    assert fixture.scheduler.load().waiting == 0
    assert only(events_of(fixture.scheduler.submit(fixture.request(settings={"seconds": 1.0}), "z")), "take")


def test_full(make_scheduler: Any) -> None:
    """Each person, and all together, may wait for so much."""
    fixture = make_scheduler(streams=1, waiting_each=2, waiting=3)
    hold(fixture)
    for _ in range(2):
        fixture.scheduler.submit(fixture.request(seed=1), "a")
    with pytest.raises(Busy, match="you have 2 requests waiting already"):
        fixture.scheduler.submit(fixture.request(seed=1), "a")
    fixture.scheduler.submit(fixture.request(seed=1), "b")
    with pytest.raises(Busy, match="3 people are waiting already"):
        fixture.scheduler.submit(fixture.request(seed=1), "c")


def test_a_batch_that_takes_too_long_keeps_what_it_has(make_scheduler: Any) -> None:
    fixture = make_scheduler(pause=0.01, wall_seconds=0.2)
    events = events_of(fixture.scheduler.submit(fixture.request(settings={"seconds": 300.0}), "a"))
    assert only(events, "take") and events[-1] == {"event": "end", "stopped": True}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("a bug"), "something went wrong"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "run out of memory"),
        (EnvironmentProblem("the weights have gone: install them"), "the weights have gone"),
    ],
)
def test_a_failure_is_told_and_the_studio_lives_on(
    make_scheduler: Any, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    fixture = make_scheduler()
    fixture.engine.fail = error
    (failure,) = only(events_of(fixture.scheduler.submit(fixture.request(), "a")), "error")
    assert told in failure["message"]
    fixture.engine.fail = None
    assert only(events_of(fixture.scheduler.submit(fixture.request(settings={"seconds": 1.0}), "a")), "take")


def test_no_model() -> None:
    """Everybody is told why."""

    def broken() -> Any:
        raise EnvironmentProblem("JAX does not start here: see musicgen doctor")

    scheduler = Scheduler([NoteMaker(broken)])
    assert scheduler.ready.wait(5) and scheduler.problem == "JAX does not start here: see musicgen doctor"


def test_closing_tells_whoever_waits(make_scheduler: Any) -> None:
    fixture = make_scheduler(pause=0.002)
    tickets = [fixture.scheduler.submit(fixture.request(seed=1, settings={"seconds": 300.0}), f"{n}") for n in range(3)]
    until(lambda: fixture.scheduler.load().batches == 2)
    fixture.scheduler.close()
    for ticket in tickets:
        assert "being stopped" in events_of(ticket)[-1]["message"]


def test_a_lane_that_ends_leaves_the_others_their_batches(fake: ModuleType, make_scheduler: Any) -> None:
    """One ends while another draws a block: each tells those whose piece it made."""
    other = make_scheduler()
    model = fake.fake_model()
    engine, slow = Gated(model.engine), Gated(model.engine, pause=0.01)  # or a piece might end before it is stopped
    gated, paced = (dataclasses.replace(model, engine=one) for one in (engine, slow))
    scheduler = Scheduler([NoteMaker(lambda: gated)], [NoteMaker(lambda: paced)], limits=Limits(streams=1))
    assert scheduler.ready.wait(5)
    engine.gate.clear()
    drawn = [scheduler.submit(other.request(seed=1, settings={"seconds": 300.0}), f"{n}") for n in range(2)]
    until(lambda: scheduler.load().batches == 2)
    threads = scheduler._threads
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    until(lambda: not threads[1].is_alive())
    engine.gate.set()
    closing.join()
    threads[0].join(30)
    assert [events_of(ticket)[-1]["message"] for ticket in drawn] == [STOPPING, STOPPING]
    assert scheduler.load().batches == 0
