"""Room for slow work: a few pieces of it at once, a few more that wait, and a refusal for everybody else."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from musicgen.app.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


class Room:
    """Runs work in threads.  Its place is free when it has ended, not when whoever asked for it has gone."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """at_once: how many run.  waiting: how many more may wait."""
        self.waiting = waiting
        self._free = asyncio.Semaphore(at_once)
        self._here = 0

    async def run(self, work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """What the work gives, when its turn has come.  Raises Busy if too much waits already."""
        if self._free.locked() and self._here >= self.waiting:
            raise Busy("the server has too much to do at the moment: try again in a minute")
        self._here += 1
        try:
            await self._free.acquire()
        finally:
            self._here -= 1
        running = asyncio.get_running_loop().run_in_executor(None, functools.partial(work, *arguments, **more))
        running.add_done_callback(self._leave)
        return await asyncio.shield(running)

    def _leave(self, done: asyncio.Future[T]) -> None:
        self._free.release()
        if not done.cancelled():
            done.exception()  # somebody has to have asked, also if nobody waits any more
