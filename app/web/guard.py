"""What every request passes, in this order, before anything of it is understood.

    OwnErrors   whatever fails behind it is one line in the log, and one line of answer
    OwnHosts    is it asked by a name of this server, and by one of its pages?
    OwnRoutes   is it one of the few routes of Gradio's that this page and its API need?
    OwnBodies   is its body there, whole, small enough and soon?

Gradio's other routes take files from anybody, keep them, or fetch what they are told to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen.app.errors import plain
from musicgen.app.web.hosts import Hosts
from musicgen.app.web.limits import Limits
from musicgen.app.web.scheduler import WENT_WRONG

LOG = logging.getLogger("musicgen")
OURS = "/musicgen/"
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?|/(assets|static|svelte)/.+"
    r"|/gradio_api/(info|openapi\.json|app_id|theme\.css|startup-events|queue/data)/?"
    r"|/gradio_api/call/(v2/)?[^/]+/[^/]+"
)
WRITTEN = re.compile(r"/gradio_api/(queue/join|cancel|reset|call/(v2/)?[^/]+)/?")
AGENTS = re.compile(r"/gradio_api/mcp(/http)?/?")  # the Model Context Protocol
ROUTES = {"GET": READ, "HEAD": READ, "POST": WRITTEN, "OPTIONS": WRITTEN}
REFUSAL = "this server takes no files: send MIDI as base64 text to the API"
LATE = "the request did not arrive in time: try again over a quicker connection"
FULL = "too many large requests are arriving at the moment: try again in a few seconds"


async def refuse(line: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    """One line, as our page (error) and Gradio's clients (detail) look for it; the connection is not used again."""
    told = plain(line)
    answer = JSONResponse({"error": told, "detail": told}, status, {"Connection": "close"})
    await answer(scope, receive, send)


class OwnErrors:
    """Says in one line what failed: Gradio and Starlette would log a page each time, and anybody can make them."""

    def __init__(self, app: ASGIApp) -> None:
        """app: what comes behind."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An answer that has begun is ended where it is."""
        started = ended = False

        async def noted(message: Message) -> None:
            nonlocal started, ended
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if not isinstance(error.__cause__, HTTPException):  # said to whoever asked, though the answer had begun
                LOG.error("%s %s failed: %s", scope.get("method"), plain(scope["path"])[:200], describe(error))
            if not started:
                await refuse(WENT_WRONG, 500, scope, receive, noted)
            elif not ended:
                await send({"type": "http.response.body", "body": b""})


def describe(error: Exception) -> str:
    """What went wrong and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {plain(str(error))[:300]}{where}"


class OwnHosts:
    """Refuses requests that name another host than ours, or come from a page of another site."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        """app: what comes behind."""
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Requests and web sockets alike."""
        if scope["type"] in ("http", "websocket"):
            given = Headers(scope=scope)
            problem = self.hosts.refusal(given.get("host"), given.get("origin"))
            if problem is not None and scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            if problem is not None:
                await refuse(problem, 403, scope, receive, send)
                return
        await self.app(scope, receive, send)


class OwnRoutes:
    """Refuses all routes but ours and those of Gradio's that are needed, before a byte of the body is read."""

    def __init__(self, app: ASGIApp, agents: bool = False) -> None:
        """app: what comes behind.  agents: whether it is asked by MCP, too."""
        self.app, self.agents = app, agents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """There are no web sockets."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and not scope["path"].startswith(OURS):
            known = ROUTES.get(scope["method"])
            by_agent = self.agents and AGENTS.fullmatch(scope["path"]) is not None
            if not by_agent and (known is None or known.fullmatch(scope["path"]) is None):
                await refuse(REFUSAL, 403, scope, receive, send)
                return
        await self.app(scope, receive, send)


@dataclasses.dataclass(eq=False)
class Body:
    """A request's body that is in memory, and how long it is waited for if it still arrives."""

    data: bytearray
    size: int = 0  # also after the data have been handed on
    deadline: asyncio.Timeout | None = None
    giving_way: bool = False


class OwnBodies:
    """Waits for a request's whole body, so that nothing else has to: no place in a queue is held by one that is slow.

    What is behind gets the body at once.  It counts as memory in use until the request has been answered.
    """

    def __init__(self, app: ASGIApp, limits: Limits, most: Callable[[str], tuple[int, str]]) -> None:
        """most: the bytes a body may have at a path, and what is said of more."""
        self.app, self.limits, self.most = app, limits, most
        self.held: set[Body] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only what has a body is waited for."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        body = Body(bytearray())
        self.held.add(body)
        try:
            problem = await self._read(body, scope, receive)
            if problem is not None:
                await refuse(*problem, scope, receive, send)
            else:
                await self.app(scope, _replay(body, receive), send)
        except ConnectionError:
            pass
        finally:
            self.held.discard(body)

    async def _read(self, body: Body, scope: Scope, receive: Receive) -> tuple[str, int] | None:
        """Fill the body, or say what is wrong with it and the status of that.  Raises ConnectionError."""
        most, too_large = self.most(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > 2 * most:
            return too_large, 400
        arrived = 0
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(began + self.limits.body_grace) as body.deadline:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    chunk = message.get("body", b"")
                    arrived += len(chunk)
                    if arrived <= most:
                        body.data += chunk
                    else:
                        body.data = bytearray()
                    body.size = len(body.data)
                    if arrived > 2 * most:
                        return too_large, 400
                    if not message.get("more_body", False):
                        break
                    self._make_room()
                    if not body.giving_way:
                        body.deadline.reschedule(began + self._patience(arrived))
        except TimeoutError:
            return (FULL, 429) if body.giving_way else (LATE, 408)
        finally:
            body.deadline = None
        # What is a little too large is read to its end: whoever still sends would not hear the answer.
        return (too_large, 400) if arrived > most else None

    def _patience(self, size: int) -> float:
        """Seconds within which more than this must have arrived."""
        return min(self.limits.body_grace + size / self.limits.body_rate, self.limits.body_seconds)

    def _make_room(self) -> None:
        """Let the largest body that still arrives go if all together are too large."""
        staying = [body for body in self.held if not body.giving_way]
        arriving = [body for body in staying if body.deadline is not None]
        if sum(body.size for body in staying) > self.limits.bodies_bytes and arriving:
            largest = max(arriving, key=lambda body: body.size)
            largest.giving_way = True
            assert largest.deadline is not None
            largest.deadline.reschedule(asyncio.get_running_loop().time())


def _replay(body: Body, receive: Receive) -> Receive:
    """What a request says: its body, then what comes after it."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        data, body.data = bytes(body.data), bytearray()
        return {"type": "http.request", "body": data, "more_body": False}

    return again
