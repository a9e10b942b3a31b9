"""Slow work: so much at once, so much that waits, and a place is free only when its work has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from musicgen.app.errors import BadInput, Busy
from musicgen.app.web.limits import LIMITS
from musicgen.app.web.room import Room
from musicgen.app.web.service import Service


def test_a_few_at_once_and_a_few_that_wait() -> None:
    async def crowd() -> None:
        room, go, most, at_work = Room(2, 3), threading.Event(), [0], [0]
        lock = threading.Lock()

        def work(number: int) -> int:
            with lock:
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            assert go.wait(20)
            with lock:
                at_work[0] -= 1
            return number

        asked = [asyncio.create_task(room.run(work, number)) for number in range(5)]
        await asyncio.sleep(0.1)
        with pytest.raises(Busy, match="try again"):
            await room.run(work, 5)
        asked[0].cancel()  # at work: its place is not free before it has ended
        asked[4].cancel()  # waits: it gives its place to another
        await asyncio.sleep(0.1)
        asked[4] = asyncio.create_task(room.run(work, 4))
        await asyncio.sleep(0.1)
        assert at_work[0] == 2
        go.set()
        assert await asyncio.gather(*asked[1:]) == [1, 2, 3, 4]
        assert most[0] == 2 and await room.run(work, 6) == 6

    asyncio.run(crowd())


def test_an_error_reaches_who_asked() -> None:
    def broken() -> None:
        raise ValueError("no")

    async def ask() -> None:
        room = Room(1, 0)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await room.run(broken)

    asyncio.run(ask())


def test_surprises_of_a_long_piece_are_refused_before_they_are_looked_for(make_scheduler: Any) -> None:
    """They take minutes, which nobody else need wait for."""
    fixture = make_scheduler(surprise_tokens=1000)
    scored: list[Any] = []
    service = Service(fixture.scheduler, fixture.notes, scorer=lambda music: scored.append(music) or [])
    short, long = ([[0.1 * n, 0.1 * n + 0.05, 40 + n % 40, 60] for n in range(count)] for count in (20, 5000))
    assert asyncio.run(service.surprise({"music": {"notes": short}})) == [] and len(scored) == 1
    with pytest.raises(BadInput, match="tokens are too many"):
        asyncio.run(service.surprise({"music": {"notes": long}}))
    thin = [[300.0 * n, 300.0 * n + 1, 60, 60] for n in range(200)]  # in a day
    with pytest.raises(BadInput, match="tokens are too many"):
        asyncio.run(service.surprise({"music": {"notes": thin}}))
    assert len(scored) == 1


def test_who_waits_for_the_model_holds_no_thread() -> None:
    """While the weights load many may come, and others have work for threads."""

    async def come() -> None:
        scheduler = SimpleNamespace(ready=threading.Event(), problem=None, limits=LIMITS)
        service = Service(scheduler, SimpleNamespace(opened="model"))  # type: ignore[arg-type]
        waiting = [asyncio.create_task(service.model()) for _ in range(100)]
        await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(10):
                assert await asyncio.to_thread(lambda: 5) == 5
        finally:
            scheduler.ready.set()
        assert set(await asyncio.gather(*waiting)) == {"model"}

    asyncio.run(come())


class Ear:
    """A transcriber that tells that it begins, and fails as soon as it may."""

    def __init__(self) -> None:
        self.may, self.told = threading.Event(), list[str]()

    def transcribe(self, data: bytes, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        tell({"event": "begin", "seconds": 2.0})
        self.may.wait(60)
        try:
            tell({"event": "notes", "seconds": 1.0, "notes": []})
        except BadInput as error:
            self.told.append(str(error))
            raise
        raise BadInput("no piano is heard in this recording: give a recording of one")


@pytest.mark.parametrize("stays", [True, False])
def test_what_fails_later_is_an_event_and_nobody_works_for_who_has_left(stays: bool) -> None:
    async def listen() -> tuple[list[dict[str, Any]], Ear]:
        ear = Ear()
        service = SimpleNamespace(transcriber=ear, limits=LIMITS, _transcribing=Room(1, 1))
        events = Service.transcribe(service, b"sound")  # type: ignore[arg-type]
        seen = [await anext(events)]
        if stays:
            ear.may.set()
            seen += [event async for event in events]
        else:
            await events.aclose()  # type: ignore[attr-defined]
            ear.may.set()
        await service._transcribing.run(lambda: None)  # when its turn has come, the one before has ended
        return seen, ear

    seen, ear = asyncio.run(listen())
    assert seen[0] == {"event": "begin", "seconds": 2.0}
    if stays:
        message = "no piano is heard in this recording: give a recording of one"
        assert seen[-1] == {"event": "error", "message": message, "yours": True} and not ear.told
    else:
        assert ear.told == ["nobody waits for these notes any more"]
