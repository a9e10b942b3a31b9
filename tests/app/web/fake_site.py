"""`musicgen app` with the made-up engine, as a program: prints its address, then serves until its input is closed.

python tests/app/web/fake_site.py PAUSE [FOLDER]: so many seconds pass before each block of tokens; with a folder that
holds a model of sound and a codec there is an Audio tab, too, and notes are heard in recordings.  As long as there is a
file HOLD in the folder for temporary files, music made of notes gets no further than its first seconds; a file SLOW
makes it slow.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from musicgen import checkpoints
from musicgen.app import backend, generate, start, transcription
from musicgen.app.audio import model as audio_model
from musicgen.app.commands import app
from musicgen.app.evaluation import memorisation_report
from musicgen.app.settings import Settings
from musicgen.app.web import kept, serve
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes import batch as note_batch
from musicgen.app.web.notes import quality
from musicgen.app.web.sound import batch as sound_batch
from musicgen.data_prep import VOCABULARY_2
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.evaluation.memorisation_index import build_index


def fake_engine() -> ModuleType:
    path = Path(__file__).parents[1] / "fake_engine.py"
    spec = importlib.util.spec_from_file_location("fake_engine", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOLD = Path(tempfile.gettempdir()) / "hold"
SLOW = Path(tempfile.gettempdir()) / "slow"
SMALL_MACHINE = 0.15  # seconds before each block
DRAIN = 6.0  # seconds: enough for a test to look in between
FREE = 20  # blocks that come in spite of it


class Paused:
    """An engine that is as slow as it is told to be."""

    def __init__(self, engine: Any, pause: float) -> None:
        self.engine, self.pause = engine, pause
        self.config = getattr(engine, "config", None)  # of an engine for sound
        self.compiles = engine.compiles
        self.nats = getattr(engine, "nats", None)  # of one for notes
        self.nats_of_last = getattr(engine, "nats_of_last", None)

    def start(self, primes: Sequence[np.ndarray], **settings: Any) -> Iterator[np.ndarray]:
        for block in self.engine.start(primes, **settings):
            time.sleep(SMALL_MACHINE if SLOW.exists() else self.pause)
            yield block


def until_let_go(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks, and empty ones as long as they are held."""
    for number, block in enumerate(blocks):
        while number >= FREE and HOLD.exists():
            time.sleep(0.1)
            yield block[:, :0]
        yield block


def hear_two_notes(samples: np.ndarray, listening: transcription.Listening) -> transcription.Heard:
    """The first is told before the second is heard, for which it waits as long as music is held."""
    notes = np.array([[0.1, 0.4, 60, 70], [0.5, 0.9, 64, 70]])
    listening(0.45, notes[:1])
    while HOLD.exists():
        time.sleep(0.1)
    listening(len(samples) / SAMPLE_RATE, notes[1:])
    return transcription.Heard(notes, np.array([[0.2, 0.8]]))


def open_fake_transcriber() -> transcription.Hear:
    return hear_two_notes


def main(pause: float, sound: str | None = None) -> None:
    model = fake_engine().fake_model()
    object.__setattr__(model, "engine", Paused(model.engine, pause))
    config, folder = SimpleNamespace(latents=64, context=256), checkpoints.FOLDER / checkpoints.DEFAULT
    about = {"sha256": model.sha256, "name": model.name, "tokenizer": VOCABULARY_2.to_json()}
    released = SimpleNamespace(config=config, folder=folder, about={}, **about)
    generate.open_weights = lambda checkpoint: released  # type: ignore[assignment,return-value]
    generate.open_model = lambda released: model
    # The model was trained on what its seed 77 gives: 20 seconds from nothing.
    request = generate.Request(Settings(seconds=20.0, latents=64, context=256), None, 77)
    origin = generate.generate(request, fake_engine().fake_model()).samples[0].music
    memorisation_report.open_index = lambda path, checkpoint: build_index([("77.mid", "The Original", origin)])
    nats = {(64, 256): 1.764, (32, 256): 1.8, (16, 128): 1.9, (8, 64): 2.0}
    quality.quality_of = lambda sha256, dials: quality.Quality("3 pieces", nats)
    kept.measured = lambda *of: None  # sites of all speeds share a cache folder
    begin = note_batch.begin
    note_batch.begin = lambda *given: until_let_go(begin(*given))
    sound_batch.open_engine = lambda model: (Paused(backend.open_engine(model)[0], pause), "toy")  # type: ignore[assignment,return-value]
    if sound is None:
        audio_model.MODEL = "weights-that-do-not-ship"
    transcription.is_installed = lambda: sound is not None
    transcription.open_transcriber = open_fake_transcriber
    # Whoever started this holds the other end of its input: when they go, it goes.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    limits = Limits(
        upload_bytes=100_000,
        seconds=120.0,
        sound_bytes=2_000_000,
        sound_prime_seconds=30.0,
        # Short, so that tests need not wait long.
        idle_seconds=3.0,
        connections=80,
        header_seconds=2.0,
        body_grace=2.0,
        bodies_bytes=8_000_000,
        calls=20,
        log_bytes=20_000,
    )

    def run(arguments: object) -> int:
        serve.serve(
            None,
            "127.0.0.1",
            0,
            audio_checkpoint=f"{sound}/model" if sound else None,
            codec=f"{sound}/codec" if sound else None,
            limits=limits,
            allow_hosts=["music.example.org"],
            agents=True,
            drain=DRAIN,
            on_listening=lambda host, port: print(f"http://{host}:{port}", flush=True),
        )
        return 0

    # As the command is run and ended.
    app.run = run  # type: ignore[assignment]
    sys.argv = ["musicgen", "app"]
    sys.exit(start.main())


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
