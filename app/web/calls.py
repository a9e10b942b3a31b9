"""Calls of Gradio's API, with the limits that our own routes have.

Gradio keeps what a call asked, and what came of it, until somebody takes the answer, and it fetches or copies what a
file field names.  Here a call names no files, few wait at once, and one that nobody listens to is forgotten.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import json
import re
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen.app.web.guard import refuse
from musicgen.app.web.limits import Limits

ASKED = re.compile(r"/gradio_api/(queue/join|call/(v2/)?[^/]+)/?")
HEARD = re.compile(r"/gradio_api/(queue/data|call/(?:v2/)?[^/]+/([^/]+))/?")
FILES = "this server takes no files: send MIDI as base64 text"
BROKEN = "the request did not arrive whole: try again"
OBJECT = "a call is a JSON object"
UNKNOWN = "there is no such function: GET /gradio_api/info tells which there are"
SESSION = "a session_hash is text of 1 to 100 letters"
LONGEST_SESSION = 100
LARGE = "continue_sound"  # the only function that takes recordings
MANY = "many programs are calling at the moment: try again in a few seconds"
HEARD_BY_MANY = "others listen to this call already"
LISTENERS = 4  # to one session or call; clients have one, and another when a connection broke off
DEEPEST = 64  # objects in objects; facts have four
POLL = 0.5  # seconds


class Calls:
    """ASGI middleware around Gradio's queue.  What comes to it has its whole body: see `guard.OwnBodies`."""

    def __init__(self, app: ASGIApp, page: Any, limits: Limits, too_large: tuple[int, str]) -> None:
        """page: Gradio's.  too_large: the bytes a call may have unless it is of LARGE, and what is said of more."""
        self.app, self.page, self.limits, self.too_large = app, page, limits, too_large
        self.queue: Any = page._queue
        self.calls: dict[str, int] = {}  # id -> bytes of its body
        self.arriving = 0
        self.listening: collections.Counter[str] = collections.Counter()  # sessions, and ids of calls
        self._watching: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""
        path = scope["path"] if scope["type"] == "http" else ""
        if scope.get("method") == "POST" and ASKED.fullmatch(path):
            await self._ask(scope, receive, send)
        elif scope.get("method") == "GET" and (heard := HEARD.fullmatch(path)):
            whose = heard[2] or (parse_qs(scope["query_string"].decode("latin-1")).get("session_hash") or [""])[0]
            if self.listening[whose] >= LISTENERS:
                await refuse(HEARD_BY_MANY, 429, scope, receive, send)
                return
            self.listening[whose] += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.listening[whose] -= 1
                self.listening += collections.Counter()  # without those at zero
        else:
            await self.app(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        data = message.get("body", b"")
        if len(self.calls) + self.arriving >= self.limits.calls or self._too_many_bytes(len(data)):
            await refuse(MANY, 429, scope, receive, send)
            return
        self.arriving += 1
        try:
            problem = await asyncio.to_thread(self._problem, data, scope["path"])
            if problem is not None:
                await refuse(problem, 400, scope, receive, send)
                return
            answer = await self._passed_on(message, scope, receive, send)
        finally:
            self.arriving -= 1
        if answer is not None:
            self.calls[answer] = len(data)
            task = asyncio.create_task(self._watch(answer))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    def _problem(self, data: bytes, path: str) -> str | None:
        """Why a call is refused before Gradio reads it: of what does not fit its functions, Gradio logs a page each."""
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            return BROKEN
        if not isinstance(body, dict):
            return OBJECT
        if names_files(body):
            return FILES
        function = self._function(body, path)
        if function is None:
            return UNKNOWN
        if len(data) > self.too_large[0] and function.api_name != LARGE:
            return self.too_large[1]
        session = body.get("session_hash")
        named = isinstance(session, str) and 1 <= len(session) <= LONGEST_SESSION
        if not named and ("/queue/" in path or session is not None):
            return SESSION
        return self._misfit(function.api_name, body, named="/v2/" in path)

    def _function(self, body: dict[str, Any], path: str) -> Any:
        """What is called, or None if there is no such thing; the page's own buttons are nothing that can be called."""
        number, name = body.get("fn_index"), path.rstrip("/").rpartition("/")[2]
        for one in self.page.fns.values():
            if one.fn is not None and (one.api_name == name if "/queue/" not in path else one._id == number):
                return one
        return None

    def _misfit(self, name: str, body: dict[str, Any], named: bool) -> str | None:
        """Why the values are not those that a function takes.  named: they stand by their names, not in order."""
        parameters = self.parameters[f"/{name}"]["parameters"]
        if named:
            missing = [one["parameter_name"] for one in parameters if not one["parameter_has_default"]]
            fits = set(missing) <= body.keys() - {"session_hash"} <= {one["parameter_name"] for one in parameters}
        else:
            values = body.get("data")
            fits = isinstance(values, list) and len(values) == len(parameters)
        names = ", ".join(one["parameter_name"] for one in parameters) or "nothing"
        return None if fits else f"{name} takes {names}: give as many values, see GET /gradio_api/info"

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Of each function, by its path."""
        endpoints: dict[str, Any] = self.page.get_api_info()["named_endpoints"]
        return endpoints

    def _too_many_bytes(self, more: int) -> bool:
        """Small calls always fit: their number is bounded."""
        return more > self.limits.upload_bytes and sum(self.calls.values()) + more > self.limits.call_bytes

    async def _passed_on(self, message: Message, scope: Scope, receive: Receive, send: Send) -> str | None:
        """Let Gradio answer; gives the id of the call, None if it was refused."""
        told: Message | None = message
        answer = bytearray()

        async def again() -> Message:
            nonlocal told
            first, told = told, None
            return first if first is not None else await receive()

        async def noted(said: Message) -> None:
            answer.extend(said.get("body", b""))
            await send(said)

        await self.app(scope, again, noted)
        try:
            return str(json.loads(answer)["event_id"])
        except (ValueError, KeyError, TypeError):
            return None

    async def _watch(self, call: str) -> None:
        """Until somebody has taken the answer of a call, or nobody comes for it."""
        silent = 0.0
        try:
            while (session := self._session_of(call)) is not None and silent < self.limits.idle_seconds:
                heard = self.listening[session] or self.listening[call]
                silent = 0.0 if heard else silent + POLL
                await asyncio.sleep(POLL)
            if session is not None:
                await self._forget(session)
        finally:
            del self.calls[call]
            self._tidy()

    def _session_of(self, call: str) -> str | None:
        """Whose call it is; None if its answer has been taken."""
        pending = self.queue.pending_event_ids_session
        return next((session for session, calls in pending.items() if call in calls), None)

    async def _forget(self, session: str) -> None:
        """Stop all calls of a session and drop what came of them."""
        calls = self.queue.pending_event_ids_session.pop(session, set())
        await self.queue.clean_events(session_hash=session)
        for task in asyncio.all_tasks():
            if task.get_name().partition("<gradio-sep>")[2] in calls:
                task.cancel()
        for call in calls:
            self.queue.event_ids_to_events.pop(call, None)
        self.queue.pending_messages_per_session.pop(session, None)

    def _tidy(self) -> None:
        """Gradio never forgets a session's name by itself."""
        pending = self.queue.pending_event_ids_session
        for session in [name for name, calls in pending.items() if not calls and not self.listening[name]]:
            del pending[session]
            self.queue.pending_messages_per_session.pop(session, None)


def names_files(body: Any) -> bool:
    """Whether the JSON of a call holds what Gradio takes for a file, or is too deep to be looked through."""
    inside = [(body, 0)]
    while inside:
        value, depth = inside.pop()
        if depth > DEEPEST or (isinstance(value, dict) and ("path" in value or "url" in value)):
            return True
        more = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        inside += [(one, depth + 1) for one in more]
    return False
