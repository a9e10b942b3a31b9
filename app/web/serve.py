"""The page, its routes and its server in one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from musicgen.app.errors import BadInput, EnvironmentProblem, MusicgenError
from musicgen.app.web.hosts import Hosts
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.log import bounded_output

if TYPE_CHECKING:
    from fastapi import FastAPI

    from musicgen.app.audio.model import AudioModel
    from musicgen.app.web.dials import Dials
    from musicgen.app.web.maker import Maker
    from musicgen.app.web.notes.maker import NoteMaker
    from musicgen.app.web.scheduler import Scheduler
    from musicgen.app.web.service import Service
    from musicgen.app.web.sound.maker import SoundMaker

LOG = logging.getLogger("musicgen")
BACKLOG = 1024  # connections that the system keeps until they are taken
LAST_WORDS = 5.0  # seconds in which pieces that are stopped come to their ends
LOOKS = 0.05  # seconds between two looks whether somebody calls an endpoint of Gradio's
VISIT = 15.0  # seconds in which somebody who has just started the server opens its page
SPACE = "SPACE_HOST"  # by this variable Hugging Face tells a Space its own name
SPACES = "https://huggingface.co"  # whose pages show a Space in a frame


def application(
    service: Service, dials: Dials, hosts: Hosts, root_path: str | None = None, agents: bool = False
) -> FastAPI:
    """The whole site: /musicgen/... is ours, everything else Gradio's.

    hosts: by which names it is asked.  agents: whether they may call the endpoints by MCP.
    """
    import_gradio()
    import gradio as gr
    from fastapi import FastAPI

    from musicgen.app.web.calls import Calls
    from musicgen.app.web.guard import OwnBodies, OwnErrors, OwnHosts, OwnRoutes
    from musicgen.app.web.layout import build, head, theme
    from musicgen.app.web.policy import Policy
    from musicgen.app.web.routes import largest_body, site

    limits = service.limits
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/musicgen", site(service))
    page = build(service, dials)
    page.max_threads = limits.calls  # what a call asks for has limits of its own
    page.state_session_capacity = 1  # Gradio keeps the values of each session's last call, which nobody needs
    page.queue(default_concurrency_limit=None, max_size=limits.calls, api_open=False)
    page._queue.sleep_when_free = LOOKS  # Gradio's own, but on Windows, is a millisecond: 5 % of a core for nothing
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=root_path,
        theme=theme(),
        footer_links=["api"],
        ssr_mode=False,
        show_error=True,
        max_file_size=1,
        enable_monitoring=False,
        run_history=False,
        pwa=False,
        mcp_server=agents,
    )
    # The last one is the first that a request meets.
    largest = largest_body(service)
    app.add_middleware(Calls, page=page, limits=limits, too_large=largest(""))
    app.add_middleware(OwnBodies, limits=limits, most=largest)
    app.add_middleware(OwnRoutes, agents=agents)
    app.add_middleware(OwnHosts, hosts=hosts)
    app.add_middleware(OwnErrors)
    app.add_middleware(Policy, framed_by=SPACES if os.environ.get(SPACE) else None, head=head(service))
    return app


def import_gradio() -> None:
    """Import it, but for the stubs of its components: it would make again what it has, 0.7 s of a processor's time."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    getfile = inspect.getfile

    def find(object: Any) -> str:
        if getattr(object, "__module__", "").startswith("gradio."):
            raise OSError("for a class without a file Gradio writes no stub")
        return getfile(object)

    inspect.getfile = find
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = getfile


def serve(
    checkpoint: str | None,
    host: str,
    port: int,
    *,
    audio_checkpoint: str | None = None,
    codec: str | None = None,
    limits: Limits = LIMITS,
    root_path: str | None = None,
    allow_hosts: Sequence[str] = (),
    agents: bool = False,
    workers: int = 1,
    drain: float = 0.0,
    on_listening: Callable[[str, int], None] = lambda host, port: None,
) -> None:
    """Load the weights, listen, and serve until the process is told to stop.

    audio_checkpoint, codec: weights for the Audio tab; if neither is named, those that are installed, or no such tab.
    allow_hosts: names by which a proxy or other sites' pages ask this server; see `Hosts`.
    agents: whether they may call the endpoints by the Model Context Protocol.
    workers: processes that make music behind one queue; 1: this one does.
    drain: seconds that SIGTERM leaves the pieces that are being made; then what there is of them is kept.
    on_listening: called with the host and the port, once browsers can come.

    Raises:
        BadInput: unknown weights, or an address or a name that is none.
        EnvironmentProblem: damaged weights, or a port that is taken.
    """
    from musicgen.app import transcription
    from musicgen.app.generate import open_model, open_weights
    from musicgen.app.web.dials import Dials
    from musicgen.app.web.knowledge import knowledge, open_teacher
    from musicgen.app.web.metrics import Metrics
    from musicgen.app.web.notes.maker import NoteMaker
    from musicgen.app.web.remote import remote_lanes
    from musicgen.app.web.scheduler import Scheduler
    from musicgen.app.web.service import Service
    from musicgen.app.web.sound.maker import SoundMaker
    from musicgen.app.web.teach.weights import Weights
    from musicgen.app.web.transcriber import Transcriber

    hosts = Hosts.of(host, [*allow_hosts, os.environ.get(SPACE, "")])
    listening = listen(host, port)
    released = open_weights(checkpoint)
    dials = Dials(released.config.latents, released.config.context)
    sound = sound_weights(audio_checkpoint, codec)
    known = knowledge(released, checkpoint, sound)
    notes = NoteMaker(lambda: open_model(released), limits)
    sound_maker = SoundMaker(sound, limits) if sound is not None else None
    lanes = [lane_of(notes, sound_maker)]
    own = root_path is None and hosts.only_here and workers == 1
    if workers > 1:
        again = functools.partial(open_lane, checkpoint, audio_checkpoint, codec, limits)
        lanes = remote_lanes(lanes[0], again, known["open_index"], workers)
    elif own:
        lanes[0].append(Weights(notes))
    metrics = Metrics()
    scheduler = Scheduler(*lanes, limits=limits, watch=metrics.watch)
    transcriber = Transcriber(limits, transcription.open_transcriber) if transcription.is_installed() else None
    service = Service(scheduler, notes, sound_maker, **known, metrics=metrics, transcriber=transcriber)
    if own:
        service.teacher = open_teacher(service, released, sound)
    app = application(service, dials, hosts, root_path, agents)
    threading.Thread(target=_prepare, args=[service], name="samples", daemon=True).start()
    try:
        with bounded_output(limits.log_bytes):
            ready = functools.partial(on_listening, host, listening.getsockname()[1])
            answer(app, listening, limits, ready, functools.partial(drained, scheduler, drain))
    finally:
        if service.teacher is not None:
            service.teacher.close()
        service.renderer.close()
        if transcriber is not None:
            transcriber.close()
        scheduler.close()


def lane_of(notes: NoteMaker, sound: SoundMaker | None) -> list[Maker]:
    """All that can be made with these."""
    from musicgen.app.web.fills.maker import FillMaker

    return [notes, FillMaker(notes, notes.limits), *([sound] if sound is not None else [])]


def open_lane(checkpoint: str | None, audio_checkpoint: str | None, codec: str | None, limits: Limits) -> list[Maker]:
    """The same in a process of its own, which finds the weights by their names."""
    from musicgen.app.generate import open_model, open_weights
    from musicgen.app.web.notes.maker import NoteMaker
    from musicgen.app.web.sound.maker import SoundMaker

    sound = sound_weights(audio_checkpoint, codec)
    notes = NoteMaker(lambda: open_model(open_weights(checkpoint)), limits)
    return lane_of(notes, SoundMaker(sound, limits) if sound is not None else None)


async def drained(scheduler: Scheduler, seconds: float) -> None:
    """Take nothing more, and wait until everybody has what is being made for them, or, after so many seconds, what
    there is of it; whoever has not got even that by then is told."""
    for end_pieces, patience in ((scheduler.drain, seconds), (scheduler.stop_all, LAST_WORDS)):
        end_pieces()
        end = time.monotonic() + patience
        while scheduler.load().batches and time.monotonic() < end:
            await asyncio.sleep(0.1)
    scheduler.give_up()


def answer(
    app: FastAPI,
    listening: socket.socket,
    limits: Limits,
    on_listening: Callable[[], None],
    drained: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Answer what comes to a socket until the process is told to stop.

    drained: what SIGTERM waits for; a second signal, or Ctrl-C, ends it at once.
    """
    import uvicorn

    from musicgen.app.web.connections import ACCEPTED, protocol

    class Server(uvicorn.Server):
        draining: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            self.loop = asyncio.get_running_loop()
            listening.listen(BACKLOG)  # asyncio wants one number for this and for how many it takes at once
            on_listening()  # not before: from now on a signal ends it in order

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if sig == signal.SIGTERM and self.draining is None:
                self.loop.call_soon_threadsafe(self._drain, sig, frame)
            else:
                super().handle_exit(sig, frame)

        def _drain(self, sig: int, frame: FrameType | None) -> None:
            self.draining = self.loop.create_task(drained())
            self.draining.add_done_callback(lambda done: super(Server, self).handle_exit(sig, frame))

    logging.basicConfig(format="musicgen: %(message)s", level=logging.WARNING, force=True)  # to the bounded output
    config = uvicorn.Config(
        app,
        http=protocol(limits),
        ws="none",
        loop="asyncio",
        backlog=ACCEPTED,
        log_level="warning",
        use_colors=False,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    with contextlib.suppress(KeyboardInterrupt):  # the usual end, which uvicorn tells when all is done
        asyncio.run(Server(config).serve(sockets=[listening]))


def sound_weights(checkpoint: str | None, codec: str | None) -> AudioModel | None:
    """Weights for sound: those that are named, else those that are installed, if there are some and they are whole.

    Raises MusicgenError if what is named cannot be used.
    """
    from musicgen.app.audio.model import MODEL, open_audio_model
    from musicgen.checkpoints import UnknownCheckpointError, codec_release, find

    if checkpoint is None and codec is None:
        try:
            find(MODEL)
            find(codec_release.DEFAULT, codec_release.FOLDER, "codec")
        except UnknownCheckpointError:
            return None
        try:
            return open_audio_model(None, None)
        except MusicgenError as error:
            LOG.warning("there is no Audio tab: %s", error)
            return None
    return open_audio_model(checkpoint, codec)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, so that a taken port is known at once; port 0 takes a free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(
            f"--host {host} is not an address of this machine ({error}): leave it out, or give 0.0.0.0"
        ) from None
    listening = socket.socket(family)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise EnvironmentProblem(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another with --port"
        ) from None
    return listening


def _prepare(service: Service) -> None:
    """Make the browser's piano ready before anybody asks for it, then let the scheduler measure its speed: both at
    once, on a machine of two cores, would measure the piano.  Neither takes time from the first page that is opened."""
    service.visited.wait(VISIT)
    try:
        service.renderer.prepare()
    except MusicgenError as error:
        if not service.renderer.closed:
            LOG.warning("the browser will play plain tones: %s", error)
    service.scheduler.prepare()
