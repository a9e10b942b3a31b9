"""Everything a page or a program can ask for, as plain functions over JSON values and bytes; no web in here."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app import bars, provenance, roll, sheet
from musicgen.app.bundled import bundled_primes
from musicgen.app.errors import BadInput, EnvironmentProblem, MusicgenError
from musicgen.app.fill_request import open_song
from musicgen.app.generate import Model
from musicgen.app.given import given_notes
from musicgen.app.provenance import Provenance
from musicgen.app.sound_file import SUBTYPES
from musicgen.app.styles import told
from musicgen.app.web.dials import Dials
from musicgen.app.web.fills.request import FillAsked, parse_accompaniment, parse_fill, wants_fill
from musicgen.app.web.limits import Limits
from musicgen.app.web.metrics import Metrics
from musicgen.app.web.notes import take
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.notes.quality import Quality
from musicgen.app.web.notes.request import GenerateRequest, decode_midi, parse_midi, parse_prime, parse_request
from musicgen.app.web.notes.speeds import describe_preset
from musicgen.app.web.renderer import Renderer
from musicgen.app.web.room import Room
from musicgen.app.web.scheduler import Scheduler, complaint
from musicgen.app.web.sound.maker import SoundMaker
from musicgen.app.web.sound.request import too_large
from musicgen.app.web.sound.service import SoundService
from musicgen.app.web.teach.teacher import Teacher
from musicgen.app.web.teach.weights import Turn
from musicgen.app.web.ticket import Event
from musicgen.app.web.transcriber import Transcriber
from musicgen.data_prep import MidiError, Performance, encode
from musicgen.data_prep.extras import install_command
from musicgen.data_prep.midi import read_text, write_midi
from musicgen.data_prep.performance import cut, shift_time

if TYPE_CHECKING:
    from musicgen.data_prep.evaluation.memorisation_index import Index

Score = Callable[[Performance], list[list[float]]]
SOUNDS = tuple(suffix[1:] for suffix in SUBTYPES)  # wav, flac, ogg, mp3
PICTURES = ("png", "svg")
SCORES = ("musicxml", "svg", "mid")


class Service:
    """Takes requests for a scheduler and keeps the slow ones from being done all at once."""

    def __init__(
        self,
        scheduler: Scheduler,
        notes: NoteMaker,
        sound: SoundMaker | None = None,
        *,
        quality: Quality | None = None,
        scorer: Score | None = None,
        open_index: Callable[[], Index] | None = None,
        credits: Sequence[str] = (),
        styles: Sequence[str] = (),
        metrics: Metrics | None = None,
        transcriber: Transcriber | None = None,
    ) -> None:
        """Wait for requests.

        Args:
            scheduler: of these makers.
            notes, sound: what is made; without `sound` there is no Audio tab.
            quality: how well the model of notes does, if that has been measured.
            scorer: see `Scorer`.
            open_index: reads what the model was trained on, if that is known; called when it is first needed.
            credits: a line about each model's weights.
            styles: the kinds of music that the model of notes can be told to make.
            metrics: what the scheduler's tickets are counted by.
            transcriber: turns recordings into notes, if that is installed.
        """
        self.scheduler, self.notes, self.metrics = scheduler, notes, metrics
        self.teacher: Teacher | None = None  # on a machine of one's own, who teaches weights one's own pieces
        self.visited = threading.Event()  # a page is up, or a program asks
        self.know(quality, scorer, open_index, credits, styles)
        self._indexing = asyncio.Lock()
        self.renderer = Renderer()
        self.limits: Limits = scheduler.limits
        self._parsing = Room(self.limits.parsing, self.limits.waiting)
        self._rendering = Room(self.limits.rendering, self.limits.waiting_slow)
        self._scoring = Room(1, self.limits.waiting_slow)
        self._transcribing, self.transcriber = Room(1, self.limits.waiting_slow), transcriber
        self.sounds = SoundService(scheduler, sound, self.renderer) if sound is not None else None

    def know(
        self,
        quality: Quality | None,
        scorer: Score | None,
        open_index: Callable[[], Index] | None,
        credits: Sequence[str],
        styles: Sequence[str],
    ) -> None:
        """What goes with the weights of the model of notes; see `__init__`."""
        self.quality, self.scorer, self.open_index = quality, scorer, open_index
        self.credits, self.styles = credits, styles
        self._index: Index | None = None

    async def turn(self, turn: Turn) -> None:
        """Have the notes made with other weights from now on.  Raises MusicgenError if that cannot be."""
        await self.model()
        async for event in self.scheduler.events(turn, "the page"):
            if event["event"] == "error":
                raise BadInput(event["message"])

    async def model(self) -> Model:
        """The model of notes, as soon as it is there.  Raises EnvironmentProblem if it never will be."""
        while not self.scheduler.ready.is_set():
            await asyncio.sleep(0.1)  # a thread for each that waits would leave none for anything else
        if self.scheduler.problem is not None:
            raise EnvironmentProblem(self.scheduler.problem)
        return self.notes.opened

    async def make(self, body: object, client: str) -> AsyncIterator[Event]:
        """The events of a request (see `GenerateRequest` and `Ticket`), until its takes are finished.

        Whoever stops reading gives the place back.  Raises MusicgenError before the first event if it cannot be done.
        """
        model = await self.model()
        if wants_fill(body):
            async for event in self.fill(body, client):
                yield event
            return
        dials = Dials(model.latents, model.context)
        request = await self._parsing.run(parse_request, body, dials, model.sha256, self.limits)
        told(request.settings.style, model.styles, model.name)  # refused before anybody waits for it
        request = dataclasses.replace(request, index=await self._compared_with(request))
        async for event in self.scheduler.events(request, client):
            yield event

    async def fill(self, body: object, client: str) -> AsyncIterator[Event]:
        """The events of a passage that is written anew (see `fills.request` and `FillBatch`), as `make`."""
        async for event in self._fills(parse_fill, body, client):
            yield event

    async def accompany(self, body: object, client: str) -> AsyncIterator[Event]:
        """The events of an accompaniment, as `fill`."""
        async for event in self._fills(parse_accompaniment, body, client):
            yield event

    async def _fills(self, parse: Callable[..., FillAsked], body: object, client: str) -> AsyncIterator[Event]:
        model = await self.model()
        if not model.can_fill:
            raise EnvironmentProblem(f"the weights {model.name} have not learnt to fill gaps: piano has")
        asked = await self._parsing.run(parse, body, Dials(model.latents, model.context), model.sha256, self.limits)
        told(asked.fill.settings.style, model.styles, model.name)
        asked = dataclasses.replace(asked, index=await self._compared_with(asked))
        async for event in self.scheduler.events(asked, client):
            yield event

    async def _compared_with(self, request: GenerateRequest | FillAsked) -> Index | None:
        """What the takes of a request are compared with: the training set, or nothing."""
        if not request.avoid_copies or (self.open_index is None and request.again is not None):
            return None
        if self.open_index is None:
            raise BadInput("this server has no index of the training set: do not ask it to avoid copies")
        async with self._indexing:
            if self._index is None:
                self._index = await asyncio.to_thread(self.open_index)
        return self._index

    async def read(self, source: object) -> dict[str, Any]:
        """What a prime holds: music, remarks, notes, seconds; the recipe if the file is one of ours."""
        return await self._parsing.run(self._read, source)

    def _read(self, source: object) -> dict[str, Any]:
        performance, _ = parse_prime(source, self.limits)
        remarks: tuple[str, ...] = ()
        made, data = None, None
        if isinstance(source, dict) and "midi" in source:
            data = decode_midi(source["midi"], self.limits)
            remarks = parse_midi(data, self.limits)[1]
            made = _recipe(data)
        prime_seconds = made["facts"]["join_seconds"] if made else 0.0
        music = take.music(performance, prime_seconds)
        about = {"music": music, "remarks": list(remarks), "notes": len(performance), "seconds": music["seconds"]}
        about["tracks"] = _tracks(data) if data is not None else []
        return about | ({"recipe": made} if made else {})

    async def transcribe(self, data: bytes) -> AsyncIterator[Event]:
        """The events of hearing a recording's notes, data of its file: see `Transcriber`."""
        if self.transcriber is None:
            raise EnvironmentProblem(f"this server cannot transcribe recordings: {install_command('transcribe')}")
        if len(data) > self.limits.sound_bytes:
            raise BadInput(too_large(self.limits))
        loop, events, left = asyncio.get_running_loop(), asyncio.Queue[Event | None](), threading.Event()

        def tell(event: Event) -> None:
            if left.is_set() or loop.is_closed():
                raise BadInput("nobody waits for these notes any more")  # which ends the work
            loop.call_soon_threadsafe(events.put_nowait, event)

        def ended(done: asyncio.Future[Event]) -> None:
            events.put_nowait(None)
            if not done.cancelled():
                done.exception()  # somebody has to have asked, also if nobody reads any more

        work = asyncio.ensure_future(self._transcribing.run(self.transcriber.transcribe, data, tell))
        work.add_done_callback(ended)
        begun = False
        try:
            while (event := await events.get()) is not None:
                begun = True
                yield event
            yield work.result()
        except MusicgenError as error:
            if not begun:
                raise
            yield {"event": "error", "message": complaint(error), "yours": isinstance(error, BadInput)}
        finally:
            left.set()

    async def sound(self, midi: object, form: str) -> bytes:
        """A piece as a sound file.  midi: base64; form: wav, flac, ogg or mp3."""
        if form not in SOUNDS:
            raise BadInput(f"there is no sound format {str(form)[:20]!r}: choose one of {', '.join(SOUNDS)}")
        performance, events = await self._performance(midi)
        most = self.limits.prime_seconds + self.limits.seconds
        if performance.duration > most:
            raise BadInput(
                f"{performance.duration / 60:.0f} minutes are too long for sound here: at most {most / 60:g}"
            )
        return await self._rendering.run(self.renderer.render, performance, form, provenance.summary_in(events))

    async def picture(self, midi: object, form: str) -> bytes:
        """A piece as a piano roll.  midi: base64; form: png or svg."""
        if form not in PICTURES:
            raise BadInput(f"there is no picture format {str(form)[:20]!r}: choose one of {', '.join(PICTURES)}")
        performance, events = await self._performance(midi)
        return await self._parsing.run(_draw_roll, performance, events, form)

    async def score(self, midi: object, form: str) -> tuple[bytes, str]:
        """A piece as sheet music, and how far it is to be trusted.  midi: base64; form: musicxml, svg, or mid for the
        same music with an estimated beat."""
        if form not in SCORES:
            raise BadInput(f"there is no score format {str(form)[:20]!r}: choose one of {', '.join(SCORES)}")
        data = decode_midi(midi, self.limits)
        await self._parsing.run(parse_midi, data, self.limits)  # its bounds
        return await self._rendering.run(_write_score, data, form)

    async def new_part(self, midi: object) -> bytes:
        """What is new in a piece that continues another, as a MIDI file.  midi: base64."""
        return await self._parsing.run(_new_part, decode_midi(midi, self.limits), self.limits)

    async def surprise(self, source: object) -> list[list[float]]:
        """[onset, pitch, nats] of each note of a prime: how little the model expected it."""
        if self.scorer is None:
            raise EnvironmentProblem("this server cannot say what surprises its model")
        performance, _ = await self._parsing.run(parse_prime, source, self.limits)
        tokens, most = len(await self._parsing.run(encode, performance)), self.limits.surprise_tokens
        if tokens > most:
            raise BadInput(f"{tokens:,} tokens are too many to score for surprise, {most:,} are the most: cut it")
        return await self._scoring.run(self.scorer, performance)

    def about(self) -> dict[str, Any]:
        """What a page has to know before anything is asked: openings, limits, dials once there is a model, load."""
        model = self.notes.model
        about: dict[str, Any] = {
            "ready": model is not None,
            "problem": self.scheduler.problem,
            "openings": bundled_primes(),
            "limits": {
                "upload_bytes": self.limits.upload_bytes,
                "seconds": self.limits.seconds,
                "takes": self.limits.takes,
            },
            "scores": sheet.installed(),
            "hears": {"bytes": self.limits.sound_bytes, "seconds": self.limits.sound_prime_seconds}
            if self.transcriber is not None
            else None,
            "apart": self.open_index is not None,
            "styles": list(self.styles),
            "credits": list(self.credits),
            "waiting": self.scheduler.load().waiting,
        }
        if self.sounds is not None:
            about["sound"] = self.sounds.about()
        if model is not None:
            dials = Dials(model.latents, model.context)
            about["checkpoint"] = {"name": model.name, "sha256": model.sha256, "backend": model.backend}
            about["latents"], about["context"] = dials.latent_choices, dials.context_choices
            about["presets"] = dials.presets
            speeds = self.notes.speeds
            about["costs"] = {name: describe_preset(pair, speeds, self.quality) for name, pair in dials.presets.items()}
            paces = {name: speeds.pace(pair) for name, pair in dials.presets.items()} if speeds is not None else {}
            about["pace"] = {name: round(pace, 2) for name, pace in paces.items() if pace is not None}
            about["measured"] = speeds is not None
            about["fills"] = model.can_fill
        return about

    async def _performance(self, midi: object) -> tuple[Performance, Sequence[str]]:
        """The music of a MIDI file in base64, and its text events."""

        def read() -> tuple[Performance, Sequence[str]]:
            data = decode_midi(midi, self.limits)
            return parse_midi(data, self.limits)[0], read_text(data)

        return await self._parsing.run(read)


def _write_score(data: bytes, form: str) -> tuple[bytes, str]:
    if form == "mid":
        return bars.add_bars(data)
    written = sheet.write_down(data)
    xml = sheet.musicxml(written)
    return (sheet.svg(xml) if form == "svg" else xml), written.remark


def _new_part(data: bytes, limits: Limits) -> bytes:
    music, _ = parse_midi(data, limits)
    facts = provenance.read(read_text(data))
    if facts is None or not facts.join_seconds:
        raise BadInput("this piece continues nothing: all of it is new")
    new = cut(music, facts.join_seconds, np.inf)
    if not len(new):
        raise BadInput("there is no note in the new part")
    return write_midi(shift_time(new, -facts.join_seconds))


def _draw_roll(performance: Performance, events: Sequence[str], form: str) -> bytes:
    width = int(min(max(1200, 40 * performance.duration), 6000))
    picture = roll.draw(performance, given=given_notes(performance, events), width=width, height=420)
    label = provenance.summary_in(events)
    return roll.svg(picture, label) if form == "svg" else roll.png(picture, description=label)


def _tracks(data: bytes) -> list[dict[str, Any]]:
    """The tracks of a file that have a name and notes: what could be accompanied."""
    song = open_song(data, "this file")
    names = song.track_names()
    tracks = [(names[number], int((song.keys.track == number).sum())) for number in np.unique(song.keys.track).tolist()]
    return [{"name": name, "notes": notes} for name, notes in tracks if name]


def _recipe(data: bytes) -> dict[str, Any] | None:
    """How one of our own files was made (see `take.take`); None for any other file."""
    try:
        text, packed = provenance.find_texts(read_text(data))
        return (
            {"facts": json.loads(Provenance.from_json(text).to_json()), "prime": packed} if text is not None else None
        )
    except (MidiError, BadInput):
        return None
