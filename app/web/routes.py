"""The service over HTTP: JSON in, JSON, bytes or a line of JSON per event out."""

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

from musicgen.app.errors import BadInput, Busy, MusicgenError
from musicgen.app.web.scheduler import WENT_WRONG
from musicgen.app.web.service import Service
from musicgen.app.web.sound.request import too_large

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
BYTES = "application/octet-stream"
BEAT = 10.0  # seconds of silence after which an empty line shows that the connection is alive


def site(service: Service) -> Starlette:
    """Everything below /musicgen/: the page's own files, samples, and what the page asks for."""
    return Starlette(
        routes=[
            Route("/about", _about(service)),
            Route("/health", _health(service)),
            Route("/samples/{pitch:int}.mp3", _sample(service)),
            Route("/make", _make(service), methods=["POST"]),
            Route("/stop", _stop(service), methods=["POST"]),
            Route("/read", _answer(service, lambda body: service.read(body.get("prime"))), methods=["POST"]),
            Route("/surprise", _answer(service, lambda body: service.surprise(body.get("prime"))), methods=["POST"]),
            Route("/sound/{form:str}", _bytes(service, service.sound), methods=["POST"]),
            Route("/picture/{form:str}", _bytes(service, service.picture), methods=["POST"]),
            *sound_routes(service),
            Mount("/player", StaticFiles(directory=HERE / "player")),
            Mount("/page", StaticFiles(directory=HERE / "page")),
        ]
    )


def _about(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def about(request: Request) -> Response:
        return JSONResponse(service.about(), headers={"Cache-Control": "no-store"})

    return about


def _health(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def health(request: Request) -> Response:
        """200 while the model loads and when it is there, 503 when it never will be."""
        load = service.scheduler.load()
        state = "broken" if service.scheduler.problem else "ready" if service.notes.model is not None else "loading"
        about = {"state": state, "waiting": load.waiting, "batches": load.batches, "finished": load.finished}
        return JSONResponse(about, 503 if state == "broken" else 200, headers={"Cache-Control": "no-store"})

    return health


def _sample(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def sample(request: Request) -> Response:
        try:
            data = await anyio.to_thread.run_sync(service.renderer.key, request.path_params["pitch"])
        except MusicgenError as error:
            return _refusal(error)
        return Response(data, media_type="audio/mpeg", headers={"Cache-Control": "public, max-age=604800"})

    return sample


def sound_routes(service: Service) -> list[Route]:
    """Those of the Audio tab, below /musicgen/recording/; none if there is none."""
    sounds = service.sounds
    if sounds is None:
        return []
    most = sounds.limits.sound_bytes * 4 // 3 + 10_000

    async def heard(request: Request) -> Response:
        async def answer() -> Response:
            if request.headers.get("content-type", "") != BYTES:
                raise BadInput(f"a recording is sent as it is: with Content-Type: {BYTES}")
            async with sounds.room():
                data = await _read(request, sounds.limits.sound_bytes, too_large(sounds.limits))
                samples = await sounds.read(data)
            return Response(samples.astype("<i2").tobytes(), media_type=BYTES)

        return await _guarded(answer)

    async def written(request: Request) -> Response:
        async def answer() -> Response:
            form = request.path_params["form"]
            async with sounds.room():
                body = await _body(request, most, too_large(sounds.limits))
                data = await sounds.download(body.get("samples"), form, body.get("label"))
                return Response(data, media_type=TYPES[form])

        return await _guarded(answer)

    async def make(request: Request) -> Response:
        async def answer() -> Response:
            async with sounds.room():
                asked = await sounds.parse(await _body(request, most, too_large(sounds.limits)))
            return await _streamed(sounds.make(asked, _client(request)))

        return await _guarded(answer)

    return [
        Route("/recording/heard", heard, methods=["POST"]),
        Route("/recording/make", make, methods=["POST"]),
        Route("/recording/written/{form:str}", written, methods=["POST"]),
    ]


def _make(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def make(request: Request) -> Response:
        async def answer() -> Response:
            return await _streamed(service.make(await _json(request, service), _client(request)))

        return await _guarded(answer)

    return make


async def _streamed(events: AsyncIterator[dict[str, Any]]) -> Response:
    first = await anext(events)
    return StreamingResponse(_lines(first, events), media_type="application/x-ndjson", headers=UNBUFFERED)


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


def _stop(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def stop(request: Request) -> Response:
        async def answer() -> Response:
            body = await _json(request, service)
            return JSONResponse({"stopped": service.scheduler.stop(str(body.get("name")))})

        return await _guarded(answer)

    return stop


def _answer(
    service: Service, ask: Callable[[dict[str, Any]], Awaitable[Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def asked(request: Request) -> Response:
        async def answer() -> Response:
            return JSONResponse(await ask(await _json(request, service)))

        return await _guarded(answer)

    return asked


def _bytes(
    service: Service, ask: Callable[[object, str], Awaitable[bytes]]
) -> Callable[[Request], Awaitable[Response]]:
    async def asked(request: Request) -> Response:
        async def answer() -> Response:
            form = request.path_params["form"]
            body = await _json(request, service)
            return Response(await ask(body.get("midi"), form), media_type=TYPES[form])

        return await _guarded(answer)

    return asked


async def _guarded(answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or in its place the one line that says why there is none."""
    try:
        return await answer()
    except MusicgenError as error:
        return _refusal(error)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception:
        LOG.exception("a request failed")
        return JSONResponse({"error": WENT_WRONG}, 500)


async def _json(request: Request, service: Service) -> dict[str, Any]:
    """The body of a request about notes."""
    largest = f"{service.limits.upload_bytes / 1e6:g} MB"
    complaint = f"this is too large ({largest} are the most): choose a MIDI file of one piano piece"
    return await _body(request, service.limits.upload_bytes * 2, complaint)


async def _body(request: Request, most: int, complaint: str) -> dict[str, Any]:
    """The JSON object in a request's body.

    Only application/json is taken: another site's page cannot send that here without being asked first.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise BadInput("a request is JSON: send it with Content-Type: application/json")
    data = await _read(request, most, complaint)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise BadInput("the request did not arrive whole: try again") from None
    if not isinstance(body, dict):
        raise BadInput("a request is a JSON object")
    return body


async def _read(request: Request, most: int, complaint: str) -> bytes:
    """The bytes of a request's body, read no further than it may be long."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise BadInput(complaint)
    return bytes(data)


def _client(request: Request) -> str:
    """Whose turn it takes: one tab of a browser, as it calls itself, at one address."""
    address = request.client.host if request.client else "?"
    return f"{address} {request.headers.get('x-musicgen-client', '')[:40]}"


def _refusal(error: MusicgenError) -> Response:
    status = 429 if isinstance(error, Busy) else 400 if isinstance(error, BadInput) else 503
    return JSONResponse({"error": str(error)}, status)
