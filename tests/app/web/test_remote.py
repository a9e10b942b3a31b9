"""Lanes in processes of their own: one queue, the same pieces, and a death that costs only what was being made."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen.app.errors import STOPPING, Busy, EnvironmentProblem
from musicgen.app.web import remote
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.metrics import Metrics
from musicgen.app.web.notes.request import parse_request
from musicgen.app.web.remote import DIED, remote_lanes
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep import Performance
from musicgen.data_prep.evaluation.memorisation_index import build_index

from .serving import until

pytestmark = pytest.mark.slow

LIMITS = Limits(streams=1)


class Far:
    """A scheduler with two lanes elsewhere."""

    def __init__(self, makers: Any) -> None:
        self.notes, *_ = local = makers.lane()
        self.metrics = Metrics()
        self.lanes = remote_lanes(local, makers.lane, None, 2)
        self.scheduler = Scheduler(*self.lanes, limits=LIMITS, watch=self.metrics.watch)
        assert self.scheduler.ready.wait(120) and self.scheduler.problem is None

    def submit(self, client: str = "a", **body: Any) -> Ticket[Any]:
        model = self.notes.opened
        request = parse_request(body, Dials(model.latents, model.context), model.sha256, LIMITS)
        return self.scheduler.submit(request, client)

    def submit_apart(self, *asked: dict[str, Any]) -> list[Ticket[Any]]:
        """One piece for each lane, which has taken it before the next one comes."""
        tickets = []
        for number, body in enumerate(asked):
            tickets.append(self.submit(f"{number}", **body))
            until(lambda: self.scheduler.load().waiting == 0)
        return tickets

    def told(self, name: str) -> float:
        """A figure of the metrics."""
        lines = self.metrics.text(self.scheduler.load).decode().splitlines()
        return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


@pytest.fixture(scope="module")
def makers() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parent))
        import far_makers  # type: ignore[import-not-found]

        yield far_makers


@pytest.fixture(scope="module")
def far(makers: Any) -> Iterator[Far]:
    made = Far(makers)
    yield made
    made.scheduler.close()
    assert all(not maker.engine.process.is_alive() for lane in made.lanes for maker in lane)


def test_two_at_once_from_one_queue(far: Far) -> None:
    """Each lane takes one; both end with what they asked for, and all of it is counted."""
    assert far.notes.opened.latents == 64
    before = far.told('musicgen_takes_total{kind="notes"}') if far.scheduler.load().finished else 0.0
    tickets = far.submit_apart(*({"seed": n + 1, "takes": 2, "settings": {"seconds": 20.0}} for n in range(2)))
    until(lambda: far.scheduler.load().batches == 2)
    assert far.told("musicgen_batches ") == 2 and far.told("musicgen_rows ") == 4
    for n, ticket in enumerate(tickets):
        events = list(ticket)
        assert events[-1] == {"event": "end", "stopped": False}
        begin = next(event for event in events if event["event"] == "begin")
        assert begin["seed"] == n + 1 and begin["name"] == ticket.name
        assert sum(event["event"] == "take" for event in events) == 2
    until(lambda: far.scheduler.load().batches == 0)
    assert far.told('musicgen_takes_total{kind="notes"}') == before + 4
    assert far.told('musicgen_first_note_seconds_count{kind="notes"}') >= 2
    assert far.told('musicgen_tokens_total{kind="notes"}') > 100


def test_what_is_refused_is_counted(far: Far) -> None:
    """The fourth click of one person, as long as three of hers wait."""
    others = far.submit_apart(*[{"seed": 1, "settings": {"seconds": 120.0}}] * 2)
    until(lambda: far.scheduler.load().batches == 2)
    mine = [far.submit("me", seed=1) for _ in range(LIMITS.waiting_each)]
    with pytest.raises(Busy, match="you have 3 requests waiting already"):
        far.submit("me", seed=1)
    assert far.told("musicgen_refusals_total ") == 1 and far.told("musicgen_waiting ") == 3
    for ticket in (*mine, *others):
        far.scheduler.leave(ticket)
    until(lambda: far.scheduler.load().batches == 0)


def test_stopping_and_leaving(far: Far) -> None:
    """Reach a piece that is made elsewhere: one is kept as it is, one is given up."""
    kept, left = far.submit_apart(*[{"seed": 1, "settings": {"seconds": 120.0}}] * 2)
    until(lambda: far.scheduler.load().batches == 2)
    far.scheduler.leave(left)
    assert far.scheduler.stop(kept.name)
    *_, take, end = list(kept)
    assert (take["event"], end) == ("take", {"event": "end", "stopped": True})
    until(lambda: far.scheduler.load().batches == 0)


def test_a_process_that_dies(far: Far) -> None:
    """Whoever waits for it is told; the other lane's piece goes on, and the next ones have a process again."""
    other, doomed = far.submit_apart(*({"seed": seed, "settings": {"seconds": 20.0}} for seed in (1, 13)))
    assert list(doomed)[-1]["message"] == DIED
    assert list(other)[-1] == {"event": "end", "stopped": False}
    again = [far.submit(f"{n}", seed=1, settings={"seconds": 2.0}) for n in range(2)]
    assert [list(ticket)[-1]["event"] for ticket in again] == ["end", "end"]
    process = far.lanes[0][0].engine.process  # type: ignore[attr-defined]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    again = [far.submit(f"{n}", seed=1, settings={"seconds": 2.0}) for n in range(2)]
    assert [list(ticket)[-1]["event"] for ticket in again] == ["end", "end"]


def test_a_process_that_is_slow_to_die(makers: Any) -> None:
    """One question is lost with it, not all of those that come before its end."""
    engine = remote.Engine(makers.lane, None, 0, 1)
    engine.open()
    dying = engine.process
    os.kill(dying.pid, signal.SIGSTOP)  # or it would end soon after its pipe
    engine._pipe.close()  # type: ignore[union-attr]
    with pytest.raises(EnvironmentProblem, match=DIED):
        engine.ask("facts", "notes")
    engine.open()
    assert engine.process is not dying and engine.ask("facts", "notes")
    engine.close()


def test_what_cannot_be_opened_there(makers: Any) -> None:
    lanes = remote_lanes(makers.lane(), makers.broken, None, 1)
    scheduler = Scheduler(*lanes, limits=LIMITS)
    assert scheduler.ready.wait(120)
    assert scheduler.problem == "the weights have gone: install them"
    scheduler.close()


def test_no_index_travels(piece: Callable[..., Performance]) -> None:
    """Each process has its own."""
    index = build_index([("a.mid", "A", piece(60, 1))])
    sent = remote._pack({"apart": index, "seconds": np.float32(2.5)})
    assert len(sent) < 300
    mine = object()
    assert remote._Unpickler(sent, lambda: mine).load() == {"apart": mine, "seconds": 2.5}  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("in_time", "last"), [(True, ["take", "end"]), (False, ["notes", "error"])])
def test_draining_keeps_what_is_being_made(makers: Any, in_time: bool, last: list[str]) -> None:
    """Nothing more is taken, whoever waits is told, and what is stopped is kept, or else they are told, too."""
    scheduler = Scheduler(makers.lane(), limits=LIMITS)
    assert scheduler.ready.wait(30)
    request = parse_request({"seed": 1, "settings": {"seconds": 120.0}}, Dials(64, 256), "0" * 64, LIMITS)
    made = scheduler.submit(request, "a")
    until(lambda: scheduler.load().batches == 1)
    waits = scheduler.submit(request, "b")
    scheduler.drain()
    assert list(waits)[-1]["message"] == STOPPING and scheduler.draining
    with pytest.raises(Exception, match="being stopped"):
        scheduler.submit(request, "c")
    assert scheduler.load().batches == 1
    if in_time:
        scheduler.stop_all()
    else:
        until(lambda: [event["event"] for event in made.events][-1:] == ["notes"])
        scheduler.give_up()
    assert [event["event"] for event in list(made)[-2:]] == last
    scheduler.close()


def test_the_same_pieces_as_here(makers: Any) -> None:
    """Of released weights: with one seed, note for note."""
    far = remote_lanes(makers.tiny(), makers.tiny, None, 1)
    made = []
    for lane in (far[0], makers.tiny()):
        scheduler = Scheduler(lane, limits=LIMITS)
        assert scheduler.ready.wait(120) and scheduler.problem is None
        model = lane[0].facts()[0]
        body = {"seed": 5, "settings": {"seconds": 3.0, "end": False}}
        request = parse_request(body, Dials(model.latents, model.context), model.sha256, LIMITS)
        made.append([event for event in scheduler.submit(request, "a") if event["event"] == "take"])
        scheduler.close()
    assert made[0] == made[1] and made[0][0]["midi"]
