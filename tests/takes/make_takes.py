"""Makes the recorded takes: music, sound, pages and conversations whose bytes must not change.

    python tests/takes/make_takes.py                  every take, into recorded/ beside this file
    python tests/takes/make_takes.py --out DIR NAME   some of them, elsewhere

Everything is asked for as a person asks for it: by the command line, or over HTTP from a page that is served.  Only a
conversation with a clock of its own and the canary go deeper: what they import stands in one place, `inside`.
The commands are those of the version that recorded; if a flag has been renamed since, its old name must still work.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import io
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mido
import numpy as np
import soundfile

HERE = Path(__file__).parent
RECORDED, INPUTS = HERE / "recorded", HERE / "inputs"
BACKEND = "MUSICGEN_BACKEND"
ONNX, JAX = "onnxruntime", "jax"
T = "--checkpoint maestro-tiny"
P = "--checkpoint piano"
LITTLE = "--latents 64 --context 512"
SMALL = "--latents 32 --context 128"  # so little that it is read anew many times in a take

Files = dict[str, bytes]  # of one take, by name; what depends on the clock is left out


@functools.cache
def inside() -> types.SimpleNamespace:
    """All that is used of the code itself besides its command line; the second names are those of before the move."""

    def first(*names: str) -> Any:
        for name in names:
            with contextlib.suppress(ImportError, AttributeError):
                module, attribute = name.rsplit(":", 1)
                return getattr(importlib.import_module("musicgen." + module), attribute)
        raise ImportError(f"none of {', '.join(names)}")

    return types.SimpleNamespace(
        open_weights=first("app.generate:open_weights"),
        open_model=first("app.generate:open_model"),
        Settings=first("app.settings:Settings"),
        Conversation=first("app.live.conversation:Conversation", "app.live:Conversation"),
        Sampler=first("app.live.session:Sampler", "app." + "live_session:Sampler"),
        session_file=first("app.live.file:session_file", "app." + "live_file:session_file"),
    )


# The command line.


def musicgen(*arguments: str, engine: str = ONNX) -> str:
    """Run a command in this process; gives its stdout.  Raises RuntimeError if it fails."""
    from musicgen.app.cli import main

    before, out = os.environ.get(BACKEND), io.StringIO()
    os.environ[BACKEND] = engine
    try:
        with contextlib.redirect_stdout(out):
            code = main([*arguments, "--quiet"])
    finally:
        if before is None:
            del os.environ[BACKEND]
        else:
            os.environ[BACKEND] = before
    if code:
        raise RuntimeError(f"musicgen {' '.join(arguments)}: exit code {code}")
    return out.getvalue()


def packed(value: Any) -> bytes:
    """JSON that people can read and compare."""
    return json.dumps(value, indent=1, sort_keys=True).encode("ascii") + b"\n"


def without(told: dict[str, Any], *names: str) -> dict[str, Any]:
    """A JSON object without these fields, and without those that are of the clock or of this machine's folders."""
    clock = {"wall_seconds", "tokens_per_second", "first_note_seconds", "first_sound_seconds", "out", "audio"}
    return {name: value for name, value in told.items() if name not in clock | set(names)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sound_of(data: bytes) -> dict[str, Any]:
    """What there is to hear in a sound file, told in short: its samples are too many to keep."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        samples = file.read(dtype="int16")
        said = {"rate": file.samplerate, "channels": file.channels, "comment": file.comment}
    return {**said, "samples": len(samples), "sha256": sha256(np.ascontiguousarray(samples, "<i2").tobytes())}


@dataclasses.dataclass(frozen=True)
class Take:
    """One of the recordings.

    make: gives its files anew; it may write into the folder it is given.
    needs: the parts of the canary on whose bits it depends.
    """

    name: str
    make: Callable[[Path], Files]
    needs: tuple[str, ...]


def notes(name: str, command: str, engine: str = ONNX, *more: str) -> Take:
    """A take of `musicgen COMMAND --out NAME.mid`, and what --json tells of it."""

    def make(folder: Path) -> Files:
        arguments = command.replace("INPUTS", str(INPUTS)).replace("AUDIO", str(folder / f"{name}.wav")).split()
        told = json.loads(musicgen(*arguments, "--out", str(folder / f"{name}.mid"), "--json", engine=engine))
        files = {Path(out).name: Path(out).read_bytes() for out in told["out"]}
        said = without(told) | {"audio": [sound_of(Path(audio).read_bytes()) for audio in told["audio"]]}
        return files | {f"{name}.json": packed(said)}

    return Take(name, make, (engine, "zlib", *more))


def sound(name: str, command: str, engine: str = ONNX) -> Take:
    """A take of `musicgen COMMAND --out NAME.wav`; WAV in the command is a recording of four seconds."""

    def make(folder: Path) -> Files:
        arguments = [word.replace("WAV", str(recording(folder))) for word in command.split()]
        told = json.loads(musicgen(*arguments, "--out", str(folder / f"{name}.wav"), "--json", engine=engine))
        outs = [sound_of(Path(out).read_bytes()) for out in told["out"]]
        return {f"{name}.json": packed(without(told) | {"sounds": outs})}

    return Take(name, make, (ONNX, JAX, "sound"))


def recording(folder: Path) -> Path:
    """A short recording: the piano of the install plays inputs/short.mid."""
    path = folder / "short.wav"
    if not path.exists():
        musicgen("render", str(INPUTS / "short.mid"), "--out", str(path))
    return path


NOTES = [
    notes("tiny-bach", f"bach --seconds 6 --seed 1 {T}"),
    notes("tiny-beethoven", f"beethoven --seconds 6 --seed 2 {T}"),
    notes("tiny-satie", f"satie --seconds 6 --seed 3 {T}"),
    notes("tiny-nothing", f"--seconds 6 --seed 4 {T}"),
    notes("tiny-generate", f"generate bach --prime-seconds 5 --seconds 4.25 --seed 2147483647 {T}"),
    notes("tiny-no-prime", f"bach --no-prime --seconds 6 --seed 5 {T}"),
    notes("tiny-prime-seconds", f"satie --prime-seconds 7.5 --seconds 6 --seed 6 {T}"),
    notes("tiny-three", f"beethoven --num-samples 3 --seconds 6 --seed 7 {T}"),
    notes("tiny-nothing-five", f"--num-samples 5 --seconds 4 --seed 8 {T}"),
    notes("tiny-greedy", f"bach --temperature 0 --seconds 6 --seed 9 {T}"),
    notes("tiny-bold", f"bach --temperature 1.4 --seconds 6 --seed 10 {T}"),
    notes("tiny-top-p", f"bach --top-p 0.9 --seconds 6 --seed 11 {T}"),
    notes("tiny-top-k", f"bach --top-k 8 --seconds 6 --seed 12 {T}"),
    notes("tiny-min-p", f"bach --min-p 0.05 --seconds 6 --seed 13 {T}"),
    notes(
        "tiny-all-flags",
        "satie --temperature 1.2 --top-p 0.95 --top-k 40 --min-p 0.02 --num-samples 2 --prime-seconds 9 --no-prime"
        f" --latents 64 --context 256 --seconds 8 --seed 14 {T}",
    ),
    notes("tiny-refills", f"bach --seconds 25 --seed 15 {SMALL} {T}"),
    notes("tiny-refills-three", f"--num-samples 3 --seconds 25 --seed 16 {SMALL} {T}"),
    notes("tiny-refills-many", f"satie --seconds 45 --seed 17 --latents 16 --context 64 {T}"),
    notes("tiny-latents-are-context", f"bach --seconds 25 --seed 18 --latents 64 --context 64 {T}"),
    notes("tiny-two-latents", f"bach --seconds 4 --seed 19 --latents 2 --context 16 {T}"),
    notes("tiny-far", f"satie --seconds 6 --seed 20 --context 8192 {T}"),
    notes("tiny-long", f"INPUTS/long.mid --no-prime --seconds 6 --seed 21 {T}"),
    notes("tiny-minute", f"--seconds 60 --seed 22 --latents 64 {T}"),
    notes("tiny-pedal", f"INPUTS/pedal.mid --seconds 6 --seed 23 {T}"),
    notes("tiny-pedal-cut", f"INPUTS/pedal.mid --prime-seconds 3.2 --seconds 6 --seed 24 {T}"),
    notes("tiny-end", f"bach --end --seconds 8 --seed 25 {T}"),
    notes("tiny-end-two", f"satie --end --num-samples 2 --seconds 8 --seed 26 {T}"),
    notes("tiny-end-four", f"--end --num-samples 4 --seconds 8 --seed 27 {T}"),
    notes("tiny-end-eight", f"beethoven --end --num-samples 8 --seconds 5 --seed 28 {T}"),
    notes("tiny-end-nine", f"beethoven --no-prime --end --num-samples 9 --seconds 4 --seed 29 {T}"),
    notes("tiny-end-refills", f"bach --end --seconds 24 --seed 30 {SMALL} {T}"),
    notes("tiny-end-pedal", f"INPUTS/pedal.mid --end --top-p 0.9 --num-samples 3 --seconds 6 --seed 31 {T}"),
    notes("tiny-audio", f"INPUTS/pedal.mid --audio AUDIO --prime-seconds 2 --seconds 2 --seed 32 {T}"),
    notes("piano-bach", f"bach --seconds 5 --seed 33 {P}"),
    notes("piano-default", "satie --seconds 5 --seed 34"),
    notes("piano-nothing", f"--seconds 6 --seed 35 {P}"),
    notes("piano-four", f"beethoven --num-samples 4 --seconds 4 --seed 36 --latents 512 --context 1024 {P}"),
    notes("piano-refills", f"bach --seconds 20 --seed 37 --latents 32 --context 256 {P}"),
    notes("piano-end", f"satie --end --seconds 6 --seed 38 {P}"),
    notes("piano-end-two", f"--end --num-samples 2 --seconds 6 --seed 39 --latents 256 --context 1024 {P}"),
    notes("piano-flags", f"INPUTS/pedal.mid --temperature 0.9 --top-p 0.95 --min-p 0.01 --seconds 6 --seed 40 {P}"),
    notes("piano-not-a-copy", f"beethoven --no-memorised 12 --seconds 6 --seed 41 {P}"),
    notes("piano-not-a-copy-two", f"bach --no-memorised 12 --num-samples 2 --seconds 6 --seed 42 {LITTLE} {P}"),
    notes("piano-not-a-copy-end", f"--no-memorised 9 --end --seconds 6 --seed 43 {LITTLE} {P}"),
    notes("jax-bach", f"bach --seconds 6 --seed 44 {T}", JAX),
    notes("jax-three", f"satie --num-samples 3 --top-k 20 --min-p 0.02 --seconds 5 --seed 45 {T}", JAX),
    notes("jax-refills", f"--temperature 1.1 --top-p 0.95 --seconds 20 --seed 46 {SMALL} {T}", JAX),
    notes("jax-end", f"bach --end --seconds 6 --seed 47 {SMALL} {T}", JAX, ONNX),
    notes("jax-piano", f"satie --prime-seconds 10 --seconds 4 --seed 48 --latents 32 --context 256 {P}", JAX),
]

SOUND = [
    sound("sound-wav", "WAV --seconds 1.5 --seed 1"),
    sound("sound-nothing", "--audio-model --seconds 1.5 --seed 2"),
    sound("sound-two", "WAV --num-samples 2 --seconds 1 --seed 3 --prime-seconds 2.5"),
    sound("sound-no-prime", "WAV --no-prime --seconds 1 --seed 4 --temperature 0.9 --top-p 0.95 --top-k 200"),
    sound("sound-refills", "WAV --seconds 2 --seed 5 --latents 256 --context 1024 --min-p 0.01"),
    sound("sound-greedy-three", "--audio-model --num-samples 3 --temperature 0 --seconds 0.5 --seed 6"),
    sound("sound-jax", "WAV --seconds 1 --seed 7", JAX),
]


# Commands that make no music.


def rendered(folder: Path) -> Files:
    """`musicgen render` in two forms, `musicgen roll` in two sizes."""
    flac, small, large = folder / "short.flac", folder / "small.svg", folder / "large.svg"
    musicgen("render", str(INPUTS / "pedal.mid"), "--out", str(flac))
    musicgen("roll", str(INPUTS / "short.mid"), "--out", str(small), "--width", "600", "--height", "200")
    musicgen("roll", str(RECORDED / "tiny-pedal.mid"), "--out", str(large))
    sounds = {path.name: sound_of(path.read_bytes()) for path in (recording(folder), flac)}
    pictures = {"rendered-small.svg": small.read_bytes(), "rendered-large.svg": large.read_bytes()}
    return {"rendered.json": packed(sounds)} | pictures


def coded(folder: Path) -> Files:
    """`musicgen codec` there and back, at two bitrates."""
    told: dict[str, Any] = {}
    for name, more in {"whole": [], "low": ["--kbps", "3"]}.items():
        codes, wav = folder / f"{name}.codes.npz", folder / f"{name}.wav"
        said = json.loads(musicgen("codec", "encode", str(recording(folder)), "--out", str(codes), "--json", *more))
        musicgen("codec", "decode", str(codes), "--out", str(wav))
        with np.load(codes) as file:
            arrays = {key: sha256(file[key].tobytes()) for key in sorted(file.files)}
        file_bytes = sha256(codes.read_bytes())
        told[name] = {**without(said), "file": file_bytes, "arrays": arrays, "decoded": sound_of(wav.read_bytes())}
    return {"coded.json": packed(told)}


def evaluated(folder: Path) -> Files:
    """`musicgen evaluate`: the likelihood of two pieces, their longest matches, and two folders side by side."""
    pieces, others = folder / "pieces", folder / "others"
    for place, names in ((pieces, ("short", "pedal")), (others, ("pedal", "long"))):
        place.mkdir()
        for name in names:
            shutil.copy(INPUTS / f"{name}.mid", place)
    asked = {
        "likelihood": [f"--midi-dir {pieces} {T} --latents 64 --context 256 --stride 16"],
        "one": [f"--midi-dir {others} {T} --limit 1 --latents 128 --context 512"],
        "matches": [f"--memorisation {pieces} {P} --threshold 8"],
        "music": [f"--midi-dir {others} --samples {pieces} --seconds 8"],
    }
    told = {name: json.loads(musicgen("evaluate", *words[0].split(), "--json")) for name, words in asked.items()}
    for name in ("likelihood", "one"):  # a process that compiles has other last digits than those that follow
        told[name] = {key: round(value, 2) if isinstance(value, float) else value for key, value in told[name].items()}
    nameless = json.dumps(told, sort_keys=True).replace(str(folder), "FOLDER")
    return {"evaluated.json": nameless.encode("ascii") + b"\n"}


def prepared(folder: Path) -> Files:
    """`musicgen prep` of a folder with two equal files, equal music in another file, and what is none: by a hash of
    the names and by a csv, in one process and in several, by itself and by Beam."""
    source = folder / "midi"
    (source / "more").mkdir(parents=True)
    for name in ("short", "pedal", "long"):
        shutil.copy(INPUTS / f"{name}.mid", source)
    shutil.copy(INPUTS / "pedal.mid", source / "more" / "twin.mid")
    for name in ("tiny-bach", "tiny-nothing", "tiny-end"):
        shutil.copy(RECORDED / f"{name}.mid", source / "more")
    relabelled = mido.MidiFile(INPUTS / "pedal.mid")
    relabelled.tracks[0].insert(0, mido.MetaMessage("text", text="the same music in another file"))
    relabelled.save(source / "another.mid")
    (source / "junk.mid").write_bytes(b"this is no music")
    names = sorted(str(path.relative_to(source).as_posix()) for path in source.rglob("*.mid"))
    splits = ["train", "validation", "test"]
    table = "".join(f"{name},{splits[n % 3]}\n" for n, name in enumerate(names))
    (folder / "splits.csv").write_text("midi_filename,split\n" + table, encoding="utf-8")
    ways = {
        "hash": ["--workers", "0"],
        "workers": ["--workers", "2"],
        "csv": ["--csv", str(folder / "splits.csv"), "--workers", "1"],
        "beam": ["--runner", "direct"],
    }
    told: dict[str, Any] = {}
    for way, more in ways.items():
        out = folder / way
        said = json.loads(musicgen("prep", "--midi-dir", str(source), "--out", str(out), "--json", *more))
        files = {path.name: sha256(path.read_bytes()) for path in sorted(out.iterdir()) if path.is_file()}
        told[way] = {**without(said), "files": files}
    kept = {f"prepared-{name}": (folder / "csv" / name).read_bytes() for name in ("manifest.json", "rejects.json")}
    return {"prepared.json": packed(told)} | kept


# A conversation, with a clock that goes only when it is told to.

SCALE = (60, 62, 64, 65, 67)
PHRASE = [
    (0.3, (0x90, pitch, pitch + 10), (0x80, before, 0)) for before, pitch in zip((59, *SCALE), SCALE, strict=False)
]
UNDER_PEDAL = [(0.1, (0xB0, 64, 127)), *PHRASE, (0.2, (0x80, 67, 0)), (0.4, (0xB0, 64, 0))]
CHORD = [(0.2, *((0x90, pitch, 90) for pitch in (48, 55, 64))), (0.9, *((0x80, pitch, 0) for pitch in (48, 55, 64)))]
SCRIPT = [*UNDER_PEDAL, (9.0,), *CHORD, *CHORD, (2.2,), *PHRASE, (0.4, (0x80, 67, 0)), (12.0,), *CHORD, (1.5,)]


def conversation(name: str, checkpoint: str, seed: int, thru: bool, **settings: Any) -> Take:
    """Four turns: under the pedal, interrupted by the next phrase, a long answer, and one cut off at the end."""

    def make(folder: Path) -> Files:
        return _talk(name, checkpoint, seed, thru, settings)

    return Take(name, make, (ONNX,))


def _talk(name: str, checkpoint: str, seed: int, thru: bool, settings: dict[str, Any]) -> Files:
    code = inside()
    with _engine(ONNX):
        model = code.open_model(code.open_weights(checkpoint))
    asked = code.Settings(**settings)
    resolve = asked.resolve if hasattr(asked, "resolve") else asked.resolved  # the second is of before the move
    resolved = resolve(model.latents, model.context)
    sampler = code.Sampler(model, resolved, seed)
    now, sent, turns = 0.0, list[Any](), list[Any]()
    primes, answers = dict[int, list[int]](), dict[int, list[int]]()
    talk = code.Conversation(
        lambda message: sent.append([round(now, 4), *message]),
        pause=1.0,
        seconds=resolved.seconds,
        thru=thru,
        on_turn=lambda turn: turns.append({key: round(x, 4) for key, x in dataclasses.asdict(turn).items()}),
    )
    stream: Iterator[np.ndarray] = iter(())
    for seconds, *messages in SCRIPT:
        for _ in range(round(seconds / 0.05)):
            now = round(now + 0.05, 4)
            talk.advance(now)
            if talk.wanted is not None:  # the model draws a block every 50 ms
                number, prime = talk.wanted
                if number not in primes:
                    primes[number], answers[number] = np.asarray(prime).tolist(), []
                    stream = sampler.stream(prime, number)
                block = next(stream).tolist()
                answers[number] += block
                talk.draw(number, block, now)
        for message in messages:
            talk.hear(message, now)
    talk.close(now)
    session = code.session_file(talk.player.performance(), talk.model.performance(), ["a recorded conversation"])
    told = {"primes": primes, "answers": answers, "sent": sent, "turns": turns}
    return {f"{name}.json": json.dumps(told, sort_keys=True).encode("ascii"), f"{name}.mid": session}


@contextlib.contextmanager
def _engine(engine: str) -> Iterator[None]:
    before = os.environ.get(BACKEND)
    os.environ[BACKEND] = engine
    try:
        yield
    finally:
        os.environ.pop(BACKEND) if before is None else os.environ.__setitem__(BACKEND, before)


LIVE = [
    conversation("live-tiny", "maestro-tiny", 1, True, seconds=4.0, latents=128, context=512),
    conversation("live-piano", "piano", 2, False, seconds=6.0, latents=32, context=128),
]


# The page, in a process of its own.


class Page:
    """A page that is served."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: Any = None, client: str = "") -> bytes:
        """What the page's own scripts ask."""
        return self.open(path, body, client).read()

    def open(self, path: str, body: Any = None, client: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Musicgen-Client": client}
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=300)

    def make(self, wish: Any, client: str = "", path: str = "/musicgen/make") -> list[dict[str, Any]]:
        """All events of a wish."""
        events = [json.loads(line) for line in self.ask(path, wish, client).splitlines() if line]
        assert events[-1]["event"] == "end", events[-1]
        return events

    def named(self, endpoint: str, **values: Any) -> Any:
        """What programs ask, by the endpoint's name."""
        from gradio_client import Client

        if not hasattr(self, "client"):
            self.client = Client(self.url, verbose=False)
        return self.client.predict(**values, api_name=endpoint)


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[Page]:
    """`musicgen app` on a free port, ready."""
    command = [sys.executable, "-m", "musicgen.app", "app", "--port", "0", *arguments]
    environment = {**os.environ, BACKEND: ONNX}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        page = Page(next(word for word in line.split() if word.startswith("http://")))
        while json.loads(page.ask("/musicgen/health"))["state"] != "ready":
            time.sleep(0.1)
        yield page
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()


FAST = {"latents": 256, "context": 1024}
WISHES: dict[str, dict[str, Any]] = {
    "page-bach": {"prime": {"shipped": "bach"}, "to": 6.0, "settings": {"seconds": 5.0}, "seed": 1},
    "page-nothing": {"settings": {"seconds": 5.0, **FAST}, "takes": 2, "seed": 2},
    "page-padded": {
        "prime": {"shipped": "satie"},
        "from": 4.0,
        "to": 14.5,
        "settings": {"seconds": 5.0, "temperature": 1.2, "top_p": 0.97, "min_p": 0.01, "top_k": 60, **FAST},
        "takes": 3,
        "seed": 3,
    },
    "page-refills": {
        "prime": {"shipped": "bach"},
        "settings": {"seconds": 12.0, "latents": 64, "context": 512},
        "takes": 3,
        "seed": 4,
    },
    "page-end": {
        "prime": {"shipped": "beethoven"},
        "settings": {"seconds": 6.0, "end": True, **FAST},
        "takes": 3,
        "seed": 5,
    },
    "page-not-a-copy": {
        "prime": {"shipped": "beethoven"},
        "settings": {"seconds": 6.0, **FAST},
        "takes": 2,
        "seed": 6,
        "apart": True,
    },
    "page-not-a-copy-end": {"settings": {"seconds": 6.0, "end": True, **FAST}, "seed": 7, "apart": True},
    "page-branch": {"to": 8.25, "settings": {"seconds": 5.0, **FAST}, "takes": 2, "seed": 8},  # of page-bach
    "page-branch-of-branch": {"to": 10.5, "settings": {"seconds": 4.0, **FAST}, "seed": 9},  # of page-branch
    "page-played": {
        "prime": {
            "music": {
                "notes": [[0.1 * n, 0.1 * n + 0.35, 60 + 2 * n % 13, 60 + n, None] for n in range(24)],
                "pedal": [[0.3, 127], [1.2, 0], [1.25, 90], [2.4, 0]],
            }
        },
        "settings": {"seconds": 5.0, **FAST},
        "seed": 10,
    },
}
BRANCHES = {"page-branch": "page-bach-1.mid", "page-branch-of-branch": "page-branch-2.mid"}


def heard(name: str, events: list[dict[str, Any]]) -> Files:
    """What a wish came to: each take's file, its recipe, and all notes as they were told."""
    files: Files = {}
    told: list[dict[str, Any]] = []
    for take in sorted((event for event in events if event["event"] == "take"), key=lambda event: event["take"]):
        number = take["take"]
        files[f"{name}-{number}.mid"] = base64.b64decode(take["midi"])
        again = max((n for n, event in enumerate(events) if event["event"] == "again"), default=0)
        played = [e["notes"] for e in events[again:] if e["event"] == "notes" and e["take"] == number]
        told.append(
            {
                "take": number,
                "recipe": take["recipe"],
                "notes": take["notes"],
                "tokens": take["tokens"],
                "music": sha256(json.dumps(take["music"]).encode()),
                "told": sha256(json.dumps([note for block in played for note in block]).encode()),
            }
        )
    begun = [event["seed"] for event in events if event["event"] == "begin"]
    return files | {f"{name}.json": packed({"takes": told, "seeds": begun})}


def made(page: Page, before: Files) -> Files:
    """All wishes whose seed was chosen."""
    files: Files = {}
    for name, wish in WISHES.items():
        if name in BRANCHES:
            midi = base64.b64encode((before | files)[BRANCHES[name]]).decode("ascii")
            wish = {"prime": {"midi": midi}, **wish}
        files |= heard(name, page.make(wish))
    return files


def named(page: Page) -> Files:
    """The endpoints that programs call by name."""
    asked = {"seconds": 4, "seed": 11, "latents": 256, "context": 1024}
    whole = page.named("/make", prime="satie", prime_to=9.5, takes=2, temperature=0.9, top_p=0.95, min_p=0.01, **asked)
    ending = page.named("/make", prime="", end=True, apart=True, **asked)
    again = page.named("/remake", recipe=whole["takes"][1]["recipe"])
    files: Files = {}
    for name, state in (("named", whole), ("named-end", ending), ("named-again", again)):
        assert state["state"] == "finished"
        for take in state["takes"]:
            files[f"{name}-{take['take']}.mid"] = base64.b64decode(take.pop("midi"))
        files[f"{name}.json"] = packed(state)
    assert files["named-again-1.mid"] == files["named-2.mid"]
    return files


def looked_at(page: Page) -> Files:
    """What the page says of a file: its notes, how little each was expected, its picture, its sound, its places."""
    prime = {"midi": base64.b64encode((INPUTS / "pedal.mid").read_bytes()).decode("ascii")}
    short = {"midi": base64.b64encode((INPUTS / "short.mid").read_bytes()).decode("ascii")}
    about = json.loads(page.ask("/musicgen/about"))
    told = {
        "read": json.loads(page.ask("/musicgen/read", {"prime": prime})),
        "surprise": json.loads(page.ask("/musicgen/surprise", {"prime": prime})),
        "picture": sha256(page.ask("/musicgen/picture/svg", prime)),
        "sound": sound_of(page.ask("/musicgen/sound/wav", short)),
        "about": {key: about[key] for key in ("openings", "limits", "latents", "context", "presets")},
    }
    return {"page-looked-at.json": json.dumps(told, sort_keys=True).encode("ascii") + b"\n"}


def sounded(page: Page, folder: Path) -> Files:
    """The page's tab for sound, and the endpoint of it."""
    wav = base64.b64encode(recording(folder).read_bytes()).decode("ascii")
    wishes: dict[str, dict[str, Any]] = {
        "goes-on": {"prime": {"sound": wav}, "from": 0.5, "to": 3.5, "settings": {"seconds": 1.0}, "seed": 1},
        "nothing": {"settings": {"seconds": 0.7, "temperature": 0.9}, "takes": 2, "seed": 2},
    }
    told: dict[str, Any] = {}
    for name, wish in wishes.items():
        events = page.make(wish, path="/musicgen/recording/make")
        takes = [e for e in events if e["event"] == "take"]
        for take in takes:
            blocks = [e["sound"] for e in events if e["event"] == "sound" and e["take"] == take["take"]]
            take["sound"] = sha256(b"".join(map(base64.b64decode, blocks)))
        told[name] = takes
    state = page.named("/continue_sound", recording=wav, recording_to=3, seconds=1, seed=3, form="wav")
    for take in state["takes"]:
        take["sound"] = sound_of(base64.b64decode(take["sound"]))
    return {"page-sound.json": packed({**told, "named": state})}


def shared(page: Page) -> Files:
    """Takes that nobody can ask for twice but by their recipes: three people's, of seeds that the page drew, in one
    batch; and a take that was stopped early, which frees the place that they wait for."""
    slow = {"settings": {"seconds": 300.0, **FAST}}
    blockers = [page.open("/musicgen/make", {**slow, "seed": seed}, f"slow{seed}") for seed in (1, 2)]
    begun = [_some(answer) for answer in blockers]
    wish = {"prime": {"shipped": "bach"}, "to": 9.0, "settings": {"seconds": 5.0, **FAST}}
    waiting = [page.open("/musicgen/make", {**wish, "takes": n}, f"person{n}{m}") for m, n in enumerate((1, 2, 1))]
    for events in begun:
        page.ask("/musicgen/stop", {"name": next(e["name"] for e in events if e["event"] == "begin")})
    files: Files = {}
    answers = [*zip(blockers, begun, strict=True), *((answer, []) for answer in waiting)]
    for name, (answer, events) in zip(("stopped", "stopped-too", *"abc"), answers, strict=True):
        files |= heard(f"shared-{name}", [*events, *(json.loads(line) for line in answer if line.strip())])
    return files


def _some(answer: Any) -> list[dict[str, Any]]:
    """The first events of an answer, until some notes have been told."""
    events: list[dict[str, Any]] = []
    while sum(event["event"] == "notes" for event in events) < 4:
        events += [json.loads(line) for line in [answer.readline()] if line.strip()]
    return events


def again(page: Page, recipe: Any) -> bytes:
    """A take made once more by the page from its recipe."""
    (take,) = (event for event in page.make({"recipe": recipe}) if event["event"] == "take")
    return base64.b64decode(take["midi"])


FILES = [
    Take("rendered", rendered, (ONNX, "zlib")),
    Take("coded", coded, (ONNX, JAX, "sound", "zlib")),
    Take("evaluated", evaluated, (ONNX,)),
    Take("prepared", prepared, ("zlib",)),
]
TAKES = [*NOTES, *LIVE, *FILES, *SOUND]
PAGE_NEEDS = (ONNX, JAX, "zlib")


# The canary.


def machine() -> dict[str, str]:
    """What may decide how numbers are rounded here, and files packed."""
    from llvmlite import binding

    features = ",".join(sorted(name for name, there in binding.get_host_cpu_features().items() if there))
    packages = ("onnxruntime", "numba", "llvmlite", "jax", "jaxlib", "numpy", "midirenderer", "soundfile")
    return {
        **{name: importlib.metadata.version(name) for name in packages},
        "processor": binding.get_host_cpu_name(),
        "features": sha256(features.encode()),
        "system": f"{platform.system()} {platform.machine()}",
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "processors": str(processors()),
    }


def processors() -> int:
    """How many there are for this process.  Notes are the same with any number; the codec's sound is not, since JAX
    divides its sums among them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def canary() -> dict[str, Any]:
    """The last bits of what each part computes here.

    Engines round as the processor and the libraries have it, and which note is drawn may hang on the last bit.  Where
    these bits are not those of the machine that recorded, takes may differ and nothing is wrong.
    """
    code, stream = inside(), np.array([1, *(np.arange(300) * 7 % 128 + 3)], np.int16)
    bits: dict[str, Any] = {"zlib": sha256(zlib.compress(bytes(n * n % 251 for n in range(9999)), 9))}
    bits["sound"] = f"{processors()} processors"
    for engine in (ONNX, JAX):
        with _engine(engine):
            models = [code.open_model(code.open_weights(name)) for name in ("maestro-tiny", "piano")]
        asked = [(model, length, token) for model in models for length in (64, 301) for token in (2, 60, 300)]
        latents = "latents" if "latents" in inspect.signature(models[0].engine.nats).parameters else "read"  # once
        bits[engine] = [
            model.engine.nats(stream[:length], token, context=256, **{latents: 64}).hex()
            for model, length, token in asked
        ]
    return bits


def version() -> str:
    """The installed version, which every take's facts name."""
    return importlib.metadata.version("perceiver-musicgen")


# What is continued.


def inputs() -> None:
    """A second or two of music, a prime with pedal and with what is no piano, and one longer than every context."""
    INPUTS.mkdir(exist_ok=True)
    rng = random.Random(16)
    short = [(0.3 * n, 0.3 * n + 0.5, 60 + (0, 4, 7, 12, 7, 4)[n % 6], 60 + 5 * (n % 4)) for n in range(11)]
    pedal = [(0.25 * n, 0.25 * n + 0.2, 48 + (5 * n) % 36, 40 + (7 * n) % 60) for n in range(32)]
    at = 0.0
    long = []
    for _ in range(1200):
        at += rng.choice((0.0, 0.1, 0.13, 0.25, 0.5))
        long.append((at, at + rng.uniform(0.05, 1.5), rng.randrange(30, 100), rng.randrange(15, 120)))
    feet = [(0.2, 127), (0.9, 30), (0.95, 100), (2.1, 0), (2.15, 64), (4.0, 63), (5.0, 127), (7.9, 0)]
    _midi(short, []).save(INPUTS / "short.mid")
    _midi(pedal, feet, drums=True).save(INPUTS / "pedal.mid")
    _midi(long, [(4.0 * n + 2.0 * half, 127 - 127 * half) for n in range(40) for half in (0, 1)]).save(
        INPUTS / "long.mid"
    )


def _midi(notes: list[Any], feet: list[Any], drums: bool = False) -> mido.MidiFile:
    """A file of type 1 at 96 beats a minute."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    events = [(time, 1, "control_change", {"control": 64, "value": value}) for time, value in feet]
    for onset, end, pitch, velocity in notes:
        events.append((onset, 2, "note_on", {"note": pitch, "velocity": velocity}))
        events.append((end, 0, "note_off", {"note": pitch, "velocity": 0}))
    beats = [(0.5 * n, n % 2, ("note_off", "note_on")[n % 2], {"note": 38, "velocity": 80}) for n in range(1, 9)]
    for channel, part in [(0, events), *([(9, beats)] if drums else [])]:
        track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=625_000)] if channel == 0 else [])
        now = 0
        for seconds, _, kind, values in sorted(part, key=lambda event: event[:2]):
            tick = round(seconds * 768)
            track.append(mido.Message(kind, channel=channel, time=tick - now, **values))
            now = tick
        file.tracks.append(track)
    return file


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="takes, page or canary (all)")
    parser.add_argument("--out", type=Path, default=RECORDED)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not INPUTS.exists():
        inputs()

    def keep(name: str, make: Callable[[Path], Files]) -> None:
        if arguments.names and name not in arguments.names:
            return
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            files = make(Path(folder))
        for file, data in files.items():
            (arguments.out / file).write_bytes(data)
        print(f"{time.perf_counter() - began:6.1f} s  {name}: {len(files)} files", flush=True)

    keep(
        "canary", lambda folder: {"canary.json": packed({"machine": machine(), "bits": canary(), "version": version()})}
    )
    for take in TAKES:
        keep(take.name, take.make)
    if not arguments.names or "page" in arguments.names:
        with served(*P.split()) as page:
            keep("page", lambda folder: shared(page) | made(page, {}) | named(page) | looked_at(page))
            keep("page", lambda folder: sounded(page, folder))


if __name__ == "__main__":
    main()
