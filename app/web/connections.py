"""Connections that cost nothing to hold open: those that ask nothing, or take nothing, are closed, the oldest first."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from musicgen.app.web.limits import Limits

ACCEPTED = 16  # connections that are taken at once; some such handfuls are on their way before any can be closed
FILES_LEFT = 10 * ACCEPTED + 100  # that the server itself may have open
LOOK = 1.0  # seconds between looks at a connection

try:
    import resource
except ImportError:  # Windows, whose servers have no such bound
    resource = None  # type: ignore[assignment]


def most_connections(limits: Limits) -> int:
    """As many as the limits say, or as files can be open here: a server that can accept none is reached no more."""
    if resource is None:
        return limits.connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + FILES_LEFT
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return limits.connections if soft == resource.RLIM_INFINITY else max(min(limits.connections, soft - FILES_LEFT), 1)


def first_to_go(connections: Sequence[Any]) -> Any:
    """The one that has asked nothing for longest; if all are at work, the oldest of whoever has most of them."""
    shares = collections.Counter(one.client and one.client[0] for one in connections)

    def needed(one: Any) -> tuple[bool, int, float]:
        return one.at_work, -shares[one.client and one.client[0]] if one.at_work else 0, one.waiting_since

    return min(connections, key=needed)


def protocol(limits: Limits) -> type[H11Protocol]:
    """What uvicorn is to speak on each connection."""
    most = most_connections(limits)

    class Connection(H11Protocol):
        """HTTP on one connection: it waits for a request's headers, or is at work on a request."""

        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.waiting_since = self.moved = self.loop.time()
            self.unsent = 0
            self.next_look: asyncio.TimerHandle | None = None

        @property
        def at_work(self) -> bool:
            """Whether a request has come that is not answered yet."""
            return self.cycle is not None and not self.cycle.response_complete

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.next_look = self.loop.call_later(LOOK, self._look)
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            staying = [one for one in others if not one.transport.is_closing()]
            if len(staying) >= most:
                first_to_go(staying).transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.next_look is not None:
                self.next_look.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self.waiting_since = self.loop.time()
            super().on_response_complete()

        def resume_writing(self) -> None:
            self.moved = self.loop.time()
            super().resume_writing()

        def _look(self) -> None:
            """Close it if it takes nothing of an answer, or does not come to the end of a request's headers; bytes that
            trickle in do not make that time longer."""
            now, before = self.loop.time(), self.unsent
            self.unsent = self.transport.get_write_buffer_size()
            if not self.unsent or self.unsent < before:
                self.moved = now
            stuck = now - self.moved > limits.idle_seconds
            late = not self.at_work and not self.unsent and now - self.waiting_since > limits.header_seconds
            if stuck or late:
                self.transport.abort()
            else:
                self.next_look = self.loop.call_later(LOOK, self._look)

    return Connection
