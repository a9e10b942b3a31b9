"""The named endpoints of the page's API, for `gradio_client` and every other program.

    make      a piece, or several; reports how far it is, then gives the takes
    fill      a passage of a piece written anew, in several versions if asked for
    accompany what is played, with an accompaniment
    remake    a take exactly once more
    read      what is in a MIDI file, or in an opening
    sound     a MIDI file as WAV, FLAC, OGG or MP3
    picture   a MIDI file as a piano roll, PNG or SVG
    score     a MIDI file as sheet music, MusicXML or SVG
    surprise  how little the model expected each note
    about     openings, limits, dials
    continue_sound   a recording that goes on, or sound from nothing; only where there is a model of sound

MIDI files, sounds and pictures travel as base64 text: nothing anybody sends becomes a file that is kept on the server.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr
import numpy as np

from musicgen.app.controls import SAMPLING
from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.settings import ANY
from musicgen.app.web.describe import add_endpoint
from musicgen.app.web.scheduler import WENT_WRONG
from musicgen.app.web.service import Service
from musicgen.app.web.sound.request import SoundRequest
from musicgen.app.web.sound.service import SoundService, check_form
from musicgen.app.web.ticket import Event

LOG = logging.getLogger("musicgen")


@contextlib.contextmanager
def clear_messages() -> Any:
    """A problem a person can do something about reaches them as its one line; any other is logged, and told as such."""
    try:
        yield
    except MusicgenError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except gr.Error:
        raise
    except Exception:
        LOG.exception("a call failed")
        raise gr.Error(WENT_WRONG, print_exception=False) from None


def with_sampling(endpoint: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """The endpoint with a parameter for each slider of the sampling, in the place of its `*`.

    Gradio reads the parameters from the signature and hands their values over in order.
    """
    given = inspect.signature(endpoint)
    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY]
    before, after = (
        [one.replace(kind=kinds[0]) for one in given.parameters.values() if one.kind is kind] for kind in kinds
    )
    sampling = [
        inspect.Parameter(one.name, kinds[0], default=None, annotation=one.kind | None)
        for one in SAMPLING
        if one.slider is not None
    ]
    signature = given.replace(parameters=[*before, *sampling, *after])

    @functools.wraps(endpoint)
    async def called(*values: Any) -> AsyncIterator[Any]:
        async for state in endpoint(**signature.bind(*values).arguments):
            yield state

    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__annotations__ |= {one.name: one.annotation for one in sampling}
    return called


def add_endpoints(service: Service) -> None:
    """Add the endpoints to the page that is being built."""
    sound = [_continue_sound(service.sounds)] if service.sounds is not None else []
    for endpoint in (*_that_make(service), _fill(service), _accompany(service), *_that_answer(service), *sound):
        add_endpoint(endpoint)


def state_of(event: Event) -> dict[str, Any] | None:
    """How far the takes are, where an event says so.  Raises gr.Error with what went wrong."""
    if event["event"] == "error":
        raise gr.Error(event["message"], print_exception=False)
    if event["event"] == "waiting":
        return {"state": "waiting", "place": event["place"], "takes": []}
    if event["event"] in ("notes", "sound"):
        return {"state": "making", "take": event["take"], "seconds": event["seconds"], "takes": []}
    return None


MADE = ("take", "midi", "recipe", "notes", "tokens", "unusual", "rank", "nats_per_note")


async def takes_of(events: AsyncIterator[Event]) -> AsyncIterator[dict[str, Any]]:
    """How far the takes are, from their events, then the takes."""
    takes: list[dict[str, Any]] = []
    with clear_messages():
        try:
            async for event in events:
                if event["event"] == "take":
                    takes.append({name: event[name] for name in MADE if name in event})
                elif (state := state_of(event)) is not None:
                    yield state
        finally:
            await events.aclose()  # type: ignore[attr-defined]
    yield {"state": "finished", "takes": sorted(takes, key=lambda take: (take.get("rank", 0), take["take"]))}


def _that_make(service: Service) -> list[Callable[..., Any]]:
    @with_sampling
    async def make(
        request: gr.Request,
        prime: str = "",
        seconds: float = 30.0,
        prime_from: float | None = None,
        prime_to: float | None = None,
        takes: int = 1,
        seed: int | None = None,
        latents: int | None = None,
        context: int | None = None,
        *,
        end: bool = False,
        apart: bool = False,
        style: str = ANY,
        **sampling: float | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Make piano music, from nothing or going on with a piece. Gives takes with `midi` (base64) and `recipe`."""
        settings: dict[str, Any] = {"seconds": seconds, "latents": latents, "context": context, **sampling}
        settings |= {"end": end, "style": style}
        with clear_messages():
            part = {"prime": _source(prime), "from": prime_from, "to": prime_to}
        body = {**part, "takes": takes, "seed": seed, "apart": apart, "settings": settings}
        async for state in takes_of(service.make(body, _caller(request))):
            yield state

    async def remake(request: gr.Request, recipe: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Make a take exactly once more from the `recipe` that came with it."""
        async for state in takes_of(service.make({"recipe": recipe}, _caller(request))):
            yield state

    return [make, remake]


def _fill(service: Service) -> Callable[..., Any]:
    @with_sampling
    async def fill(
        request: gr.Request,
        piece: str,
        start: float,
        stop: float,
        pitches: list[int] | None = None,
        hand: str | None = None,
        keep_track: str | None = None,
        amount: float = 1.0,
        pedal: str | None = None,
        takes: int = 1,
        seed: int | None = None,
        latents: int | None = None,
        context: int | None = None,
        *,
        apart: bool = False,
        style: str = ANY,
        **sampling: float | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Write a passage anew. piece: the name of an opening, or a MIDI file in base64. start, stop: seconds.
        pitches: [lowest, highest], the others stay. hand: left or right. keep_track: the name of a track that stays.
        amount: the share that is new, 0 to 1. pedal: keep or new. apart: make a fill again that shares too much
        with a training piece. Gives takes, the likeliest first, with the whole piece as `midi` (base64)."""
        settings = {"latents": latents, "context": context, "style": style, **sampling}
        with clear_messages():
            body: dict[str, Any] = {
                "piece": _source(piece),
                "start": start,
                "stop": stop,
                "pitches": pitches,
                "hand": hand,
            }
        body |= {"keep_track": keep_track, "amount": amount, "pedal": pedal}
        body |= {"takes": takes, "seed": seed, "apart": apart, "settings": settings}
        async for state in takes_of(service.fill(body, _caller(request))):
            yield state

    return fill


def _accompany(service: Service) -> Callable[..., Any]:
    @with_sampling
    async def accompany(
        request: gr.Request,
        piece: str,
        hand: str | None = None,
        track: str | None = None,
        start: float | None = None,
        stop: float | None = None,
        takes: int = 1,
        seed: int | None = None,
        latents: int | None = None,
        context: int | None = None,
        *,
        apart: bool = False,
        style: str = ANY,
        **sampling: float | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Accompany what is played between two times; every note of it stays. Gives takes as `fill` does."""
        settings = {"latents": latents, "context": context, "style": style, **sampling}
        with clear_messages():
            body: dict[str, Any] = {"piece": _source(piece), "hand": hand, "track": track, "start": start, "stop": stop}
        body |= {"takes": takes, "seed": seed, "apart": apart, "settings": settings}
        async for state in takes_of(service.accompany(body, _caller(request))):
            yield state

    return accompany


def _that_answer(service: Service) -> list[Callable[..., Any]]:
    async def read(prime: str) -> dict[str, Any]:
        """Tell the notes, the pedal and the length of a piece."""
        with clear_messages():
            return await service.read(_source(prime))

    async def sound(midi: str, form: str = "wav") -> str:
        """Turn a MIDI file into sound; gives it as base64 text."""
        with clear_messages():
            return base64.b64encode(await service.sound(midi, form)).decode("ascii")

    async def picture(midi: str, form: str = "svg") -> str:
        """Draw a MIDI file as a piano roll; gives the picture as base64 text."""
        with clear_messages():
            return base64.b64encode(await service.picture(midi, form)).decode("ascii")

    async def score(midi: str, form: str = "musicxml") -> dict[str, str]:
        """Write a MIDI file down as sheet music. Gives it as `score` (base64), and as `remark` how far it is to be
        trusted: it is a reading aid."""
        with clear_messages():
            data, remark = await service.score(midi, form)
            return {"score": base64.b64encode(data).decode("ascii"), "remark": remark}

    async def surprise(midi: str) -> list[list[float]]:
        """Tell how little the model expected each note of a piece: [onset in seconds, pitch, nats]."""
        with clear_messages():
            return await service.surprise(_source(midi))

    async def about() -> dict[str, Any]:
        """Tell the names of openings and kinds of music, the limits, the dials' settings and the weights."""
        return service.about()

    return [read, sound, picture, score, surprise, about]


def _continue_sound(sounds: SoundService) -> Callable[..., Any]:
    async def run(asked: SoundRequest, form: str, client: str) -> AsyncIterator[dict[str, Any]]:
        parts: list[list[np.ndarray]] = [[] for _ in range(asked.takes)]
        takes: list[dict[str, Any]] = []
        events = sounds.make(asked, client)
        try:
            async for event in events:
                if event["event"] == "begin" and asked.recording is not None:
                    for part in parts:
                        part.append(asked.recording[: event["at"]])
                elif event["event"] == "sound":
                    parts[event["take"] - 1].append(np.frombuffer(base64.b64decode(event["sound"]), "<i2"))
                elif event["event"] == "take":
                    data = await sounds.write(np.concatenate(parts[event["take"] - 1]), form, event["label"])
                    packed = base64.b64encode(data).decode("ascii")
                    takes.append({name: event[name] for name in ("take", "seconds", "tokens", "facts")})
                    takes[-1]["sound"] = packed
                if (state := state_of(event)) is not None:
                    yield state
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        yield {"state": "finished", "takes": takes}

    @with_sampling
    async def continue_sound(
        request: gr.Request,
        recording: str = "",
        seconds: float = 20.0,
        recording_from: float | None = None,
        recording_to: float | None = None,
        takes: int = 1,
        seed: int | None = None,
        latents: int | None = None,
        context: int | None = None,
        *,
        form: str = "wav",
        **sampling: float | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Continue a recording, or make sound from nothing. Gives takes with `sound` (base64: the recording and what
        follows) and `facts`."""
        settings = {"seconds": seconds, "latents": latents, "context": context, **sampling}
        prime = {"sound": recording} if recording else None
        body = {"prime": prime, "from": recording_from, "to": recording_to, "takes": takes, "seed": seed}
        with clear_messages():
            check_form(form)
            asked = await sounds.parse({**body, "settings": settings})
            async for state in run(asked, form, _caller(request)):
                yield state

    return continue_sound


def _source(prime: str) -> dict[str, str] | None:
    """An opening's name is short; a MIDI file in base64 begins with that of "MThd"."""
    if not isinstance(prime, str):  # whatever its annotation says, a program may send anything
        raise BadInput("a prime is the name of an opening, or a MIDI file as base64 text")
    if not prime:
        return None
    return {"midi": prime} if len(prime) > 40 or prime.startswith("TVRo") else {"shipped": prime}


def _caller(request: gr.Request) -> str:
    client = getattr(request, "client", None)
    return f"{getattr(client, 'host', '?')} {str(getattr(request, 'session_hash', None) or '')[:40]}"
