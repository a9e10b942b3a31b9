"""The service over HTTP: JSON in, JSON, bytes or a line of JSON per event out."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from musicgen.app.errors import BadInput, Busy, MusicgenError
from musicgen.app.web.files import Files
from musicgen.app.web.scheduler import WENT_WRONG
from musicgen.app.web.service import Service
from musicgen.app.web.sound.request import too_large
from musicgen.app.web.sound.service import SoundService
from musicgen.app.web.teach.teacher import Teacher

LOG = logging.getLogger("musicgen")
HERE = Path(__file__).parent
TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "png": "image/png",
    "svg": "image/svg+xml",
    "mid": "audio/midi",
    "musicxml": "application/vnd.recordare.musicxml+xml",
}
BYTES = "application/octet-stream"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
REMARKS = "X-Musicgen-Remarks"  # on a recording that was read, and on a score
FRESH = {"Cache-Control": "no-store"}
UNBUFFERED = {**FRESH, "X-Accel-Buffering": "no"}

Handler = Callable[[Any, Request], Coroutine[Any, Any, Response]]


def site(service: Service) -> Starlette:
    """Everything below /musicgen/: the page's own files, samples, and what the page asks for."""
    return Starlette(
        routes=[
            *Notes(service).routes(),
            *(Sounds(service.sounds).routes() if service.sounds is not None else []),
            *(Teaching(service.teacher).routes() if service.teacher is not None else []),
            *(Route(f"/{folder}/{{name}}", Files(HERE / folder).get) for folder in ("player", "page")),
        ]
    )


def guarded(handler: Handler) -> Handler:
    """The handler's answer, or in its place the one line that says why there is none.

    When whoever asked has gone it is cancelled: what waits for its turn gives its place to others.
    """

    @functools.wraps(handler)
    async def answer(self: object, request: Request) -> Response:
        try:
            await request.body()  # so that all that can still come is word that they have gone
            return await _while_there(request, handler(self, request))
        except MusicgenError as error:
            status = 429 if isinstance(error, Busy) else 400 if isinstance(error, BadInput) else 503
            return JSONResponse({"error": str(error)}, status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            LOG.exception("a request failed")
            return JSONResponse({"error": WENT_WRONG}, 500)

    return answer


async def _while_there(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer; raises ClientDisconnect if nobody waits for it any more."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        leaving.cancel()
        answering.cancel()


class Notes:
    """What the Notes tab asks for, and what the whole page does."""

    def __init__(self, service: Service) -> None:
        """service: what answers."""
        self.service = service

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/about", self.about),
            Route("/health", self.health),
            Route("/ready", self.ready),
            *([Route("/metrics", self.metrics)] if self.service.metrics is not None else []),
            Route("/samples/{pitch:int}.mp3", self.sample),
            Route("/make", self.make, methods=["POST"]),
            Route("/fill", self.fill, methods=["POST"]),
            Route("/accompany", self.accompany, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/read", self.read, methods=["POST"]),
            Route("/heard", self.heard, methods=["POST"]),
            Route("/surprise", self.surprise, methods=["POST"]),
            Route("/sound/{form:str}", self.sound, methods=["POST"]),
            Route("/picture/{form:str}", self.picture, methods=["POST"]),
            Route("/score/{form:str}", self.score, methods=["POST"]),
            Route("/new-part", self.new_part, methods=["POST"]),
        ]

    async def about(self, request: Request) -> Response:
        self.service.visited.set()
        return JSONResponse(self.service.about(), headers=FRESH)

    async def health(self, request: Request) -> Response:
        """Whether the process is worth keeping: 503 when the model will never be there."""
        state = self.state
        load = self.service.scheduler.load()
        about = {"state": state, "waiting": load.waiting, "batches": load.batches, "finished": load.finished}
        return JSONResponse(about, 503 if state == "broken" else 200, headers=FRESH)

    async def ready(self, request: Request) -> Response:
        """Whether people may be sent here: 503 as long as the model loads, and as soon as the server is to stop."""
        state = self.state
        return JSONResponse({"state": state}, 200 if state == "ready" else 503, headers=FRESH)

    @property
    def state(self) -> str:
        """Of the server, in a word."""
        scheduler = self.service.scheduler
        if scheduler.problem is not None:
            return "stopping" if scheduler.draining else "broken"
        return "ready" if scheduler.ready.is_set() else "loading"

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        assert self.service.metrics is not None
        text = self.service.metrics.text(self.service.scheduler.load)
        return Response(text, media_type=PROMETHEUS, headers=FRESH)

    @guarded
    async def sample(self, request: Request) -> Response:
        data = await anyio.to_thread.run_sync(self.service.renderer.key, request.path_params["pitch"])
        return Response(data, media_type="audio/mpeg", headers={"Cache-Control": "public, max-age=604800"})

    @guarded
    async def make(self, request: Request) -> Response:
        return await _stream(self.service.make(await _json(request), _client(request)))

    @guarded
    async def fill(self, request: Request) -> Response:
        return await _stream(self.service.fill(await _json(request), _client(request)))

    @guarded
    async def accompany(self, request: Request) -> Response:
        return await _stream(self.service.accompany(await _json(request), _client(request)))

    @guarded
    async def stop(self, request: Request) -> Response:
        body = await _json(request)
        return JSONResponse({"stopped": self.service.scheduler.stop(str(body.get("name")))})

    @guarded
    async def read(self, request: Request) -> Response:
        return JSONResponse(await self.service.read((await _json(request)).get("prime")))

    @guarded
    async def heard(self, request: Request) -> Response:
        """The notes of a recording's file, while they are heard."""
        return await _stream(self.service.transcribe(await _recording(request)))

    @guarded
    async def surprise(self, request: Request) -> Response:
        return JSONResponse(await self.service.surprise((await _json(request)).get("prime")))

    @guarded
    async def sound(self, request: Request) -> Response:
        form = request.path_params["form"]
        data = await self.service.sound((await _json(request)).get("midi"), form)
        return Response(data, media_type=TYPES[form])

    @guarded
    async def picture(self, request: Request) -> Response:
        form = request.path_params["form"]
        data = await self.service.picture((await _json(request)).get("midi"), form)
        return Response(data, media_type=TYPES[form])

    @guarded
    async def score(self, request: Request) -> Response:
        form = request.path_params["form"]
        data, remark = await self.service.score((await _json(request)).get("midi"), form)
        return Response(data, media_type=TYPES[form], headers={REMARKS: remark})

    @guarded
    async def new_part(self, request: Request) -> Response:
        return Response(await self.service.new_part((await _json(request)).get("midi")), media_type="audio/midi")


class Sounds:
    """What the Audio tab asks for, below /musicgen/recording/."""

    def __init__(self, service: SoundService) -> None:
        """service: what answers."""
        self.service, self.limits = service, service.limits

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/recording/heard", self.heard, methods=["POST"]),
            Route("/recording/make", self.make, methods=["POST"]),
            Route("/recording/written/{form:str}", self.written, methods=["POST"]),
        ]

    @guarded
    async def heard(self, request: Request) -> Response:
        """A recording's file as samples."""
        samples, remarks = await self.service.read(await _recording(request))
        return Response(samples.astype("<i2").tobytes(), headers={REMARKS: "; ".join(remarks)}, media_type=BYTES)

    @guarded
    async def make(self, request: Request) -> Response:
        asked = await self.service.parse(await _json(request))
        return await _stream(self.service.make(asked, _client(request)))

    @guarded
    async def written(self, request: Request) -> Response:
        """Samples as a sound file."""
        form = request.path_params["form"]
        body = await _json(request)
        data = await self.service.download(body.get("samples"), form, body.get("label"))
        return Response(data, media_type=TYPES[form])


class Teaching:
    """What the part for one's own pieces asks for, below /musicgen/teach/."""

    def __init__(self, teacher: Teacher) -> None:
        """teacher: who answers."""
        self.teacher = teacher

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/teach/about", self.about),
            Route("/teach/begin", self.begin, methods=["POST"]),
            Route("/teach/piece", self.piece, methods=["POST"]),
            Route("/teach/start", self.start, methods=["POST"]),
            Route("/teach/stop", self.stop, methods=["POST"]),
            Route("/teach/remove", self.remove, methods=["POST"]),
            Route("/teach/use", self.use, methods=["POST"]),
            Route("/teach/sample/{name:str}/{when:str}.{form:str}", self.sample),
        ]

    @guarded
    async def about(self, request: Request) -> Response:
        return self._now()

    @guarded
    async def begin(self, request: Request) -> Response:
        self.teacher.begin((await _json(request)).get("name"))
        return self._now()

    @guarded
    async def piece(self, request: Request) -> Response:
        body = await _json(request)
        return JSONResponse({"pieces": await self.teacher.add(body.get("name"), body.get("file"), body.get("midi"))})

    @guarded
    async def start(self, request: Request) -> Response:
        self.teacher.start((await _json(request)).get("name"))
        return self._now()

    @guarded
    async def stop(self, request: Request) -> Response:
        await _json(request)
        self.teacher.stop()
        return self._now()

    @guarded
    async def remove(self, request: Request) -> Response:
        self.teacher.remove((await _json(request)).get("name"))
        return self._now()

    @guarded
    async def use(self, request: Request) -> Response:
        await self.teacher.use((await _json(request)).get("name"))
        return self._now()

    @guarded
    async def sample(self, request: Request) -> Response:
        name, when, form = (request.path_params[part] for part in ("name", "when", "form"))
        return Response(self.teacher.shelf.sample(name, when, form), media_type=TYPES.get(form), headers=FRESH)

    def _now(self) -> Response:
        return JSONResponse(self.teacher.about(), headers=FRESH)


async def _stream(events: AsyncIterator[dict[str, Any]]) -> Response:
    first = await anext(events)  # what cannot be done is refused before anything is answered
    return StreamingResponse(_lines(first, events), media_type="application/x-ndjson", headers=UNBUFFERED)


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


def largest_body(service: Service) -> Callable[[str], tuple[int, str]]:
    """The bytes that a request's body may have at a path, and what is said of more: see `OwnBodies`."""
    limits = service.limits
    most = limits.upload_bytes
    notes = most * 2, f"this is too large ({most / 1e6:g} MB are the most): choose a MIDI file of one piano piece"
    heard = limits.sound_bytes, too_large(limits)
    sound = limits.sound_bytes * 4 // 3 + 10_000, too_large(limits)

    def largest(path: str) -> tuple[int, str]:
        if path == "/musicgen/recording/heard" or (path == "/musicgen/heard" and service.transcriber is not None):
            return heard
        recordings = ("/musicgen/recording/", "/gradio_api/") if service.sounds is not None else ()
        return sound if path.startswith(recordings) else notes

    return largest


async def _json(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body, which `OwnBodies` has bounded.

    Only application/json is taken: another site's page cannot send that here without being asked first.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise BadInput("a request is JSON: send it with Content-Type: application/json")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise BadInput("the request did not arrive whole: try again") from None
    if not isinstance(body, dict):
        raise BadInput("a request is a JSON object")
    return body


async def _recording(request: Request) -> bytes:
    """A recording's file as a request's body, which `OwnBodies` has bounded."""
    if request.headers.get("content-type", "") != BYTES:
        raise BadInput(f"a recording is sent as it is: with Content-Type: {BYTES}")
    return await request.body()


def _client(request: Request) -> str:
    """Whose turn it takes: one tab of a browser, as it calls itself, at one address."""
    address = request.client.host if request.client else "?"
    return f"{address} {request.headers.get('x-musicgen-client', '')[:40]}"
