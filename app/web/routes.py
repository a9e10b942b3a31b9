"""The desk over HTTP: JSON in, JSON, bytes or a line of JSON per event out."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.web.desk import Desk
from musicgen.app.web.studio import WENT_WRONG, Busy

LOG = logging.getLogger("musicgen")
HERE = Path(__file__).parent
TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "png": "image/png",
    "svg": "image/svg+xml",
}
BEAT = 10.0  # seconds of silence after which an empty line shows that the connection is alive


def site(desk: Desk) -> Starlette:
    """Everything below /musicgen/: the page's own files, samples, and what the page asks for."""
    return Starlette(
        routes=[
            Route("/about", _about(desk)),
            Route("/health", _health(desk)),
            Route("/samples/{pitch:int}.mp3", _sample(desk)),
            Route("/make", _make(desk), methods=["POST"]),
            Route("/stop", _stop(desk), methods=["POST"]),
            Route("/read", _answer(desk, lambda body: desk.read(body.get("prime"))), methods=["POST"]),
            Route("/surprise", _answer(desk, lambda body: desk.surprise(body.get("prime"))), methods=["POST"]),
            Route("/sound/{form:str}", _bytes(desk, desk.sound), methods=["POST"]),
            Route("/picture/{form:str}", _bytes(desk, desk.picture), methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            Mount("/bridge", StaticFiles(directory=HERE / "bridge")),
        ]
    )


def _about(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def about(request: Request) -> Response:
        return JSONResponse(desk.about(), headers={"Cache-Control": "no-store"})

    return about


def _health(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def health(request: Request) -> Response:
        """200 while the model loads and when it is there, 503 when it never will be."""
        load = desk.studio.load()
        state = "broken" if desk.studio.problem else "ready" if desk.studio.model is not None else "loading"
        told = {"state": state, "waiting": load.waiting, "batches": load.batches, "finished": load.finished}
        return JSONResponse(told, 503 if state == "broken" else 200, headers={"Cache-Control": "no-store"})

    return health


def _sample(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def sample(request: Request) -> Response:
        try:
            data = await anyio.to_thread.run_sync(desk.renderer.key, request.path_params["pitch"])
        except MusicgenError as error:
            return _refusal(error)
        return Response(data, media_type="audio/mpeg", headers={"Cache-Control": "public, max-age=604800"})

    return sample


def _make(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def make(request: Request) -> Response:
        try:
            events = desk.make(await _body(request, desk), _client(request))
            first = await anext(events)
        except MusicgenError as error:
            return _refusal(error)
        return StreamingResponse(_lines(first, events), media_type="application/x-ndjson", headers=UNBUFFERED)

    return make


UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _lines(first: dict[str, Any], events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """One line of JSON for each event; when the reader goes, the generator is closed and the place is free."""
    try:
        yield _line(first)
        async for event in events:
            yield _line(event)
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"


def _stop(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def stop(request: Request) -> Response:
        try:
            body = await _body(request, desk)
        except MusicgenError as error:
            return _refusal(error)
        return JSONResponse({"stopped": desk.studio.stop(str(body.get("name")))})

    return stop


def _answer(desk: Desk, ask: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await _guarded(request, desk, ask, JSONResponse)

    return answer


def _bytes(desk: Desk, ask: Callable[[object, str], Awaitable[bytes]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        form = request.path_params["form"]
        return await _guarded(
            request,
            desk,
            lambda body: ask(body.get("midi"), form),
            lambda data: Response(data, media_type=TYPES[form]),
        )

    return answer


async def _guarded(
    request: Request,
    desk: Desk,
    ask: Callable[[dict[str, Any]], Awaitable[Any]],
    answer: Callable[[Any], Response],
) -> Response:
    try:
        return answer(await ask(await _body(request, desk)))
    except MusicgenError as error:
        return _refusal(error)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception:
        LOG.exception("a request failed")
        return JSONResponse({"error": WENT_WRONG}, 500)


async def _body(request: Request, desk: Desk) -> dict[str, Any]:
    """The JSON object in a request's body, read no further than an upload may be long.

    Only application/json is taken: another site's page cannot send that here without being asked first.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise BadInput("a request is JSON: send it with Content-Type: application/json")
    most = desk.limits.upload_bytes * 2
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            largest = f"{desk.limits.upload_bytes / 1e6:g} MB"
            raise BadInput(f"this is too large ({largest} are the most): choose a MIDI file of one piano piece")
    try:
        body = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise BadInput("the request did not arrive whole: try again") from None
    if not isinstance(body, dict):
        raise BadInput("a request is a JSON object")
    return body


def _client(request: Request) -> str:
    """Whose turn it takes: one tab of a browser, as it calls itself, at one address."""
    address = request.client.host if request.client else "?"
    return f"{address} {request.headers.get('x-musicgen-client', '')[:40]}"


def _refusal(error: MusicgenError) -> Response:
    status = 429 if isinstance(error, Busy) else 400 if isinstance(error, BadInput) else 503
    return JSONResponse({"error": str(error)}, status)
