"""A scheduler with a made-up engine, a whole site around it, sound that can be heard, and a browser."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from musicgen.app.generate import Model
from musicgen.app.web.dials import Dials
from musicgen.app.web.fills.maker import FillMaker
from musicgen.app.web.fills.request import FillAsked, parse_fill
from musicgen.app.web.limits import LIMITS, Limits
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.notes.request import GenerateRequest, parse_request
from musicgen.app.web.scheduler import Scheduler

from .serving import Site, serving

# The one without windows first: it takes half the time.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


class Gated:
    """The fake engine, whose blocks come when the test lets them: by a gate, or one every ``pause`` seconds."""

    def __init__(self, engine: Any, pause: float = 0.0) -> None:
        self.engine, self.pause, self.nats, self.nats_of_last = engine, pause, engine.nats, engine.nats_of_last
        self.compiles = engine.compiles
        self.gate = threading.Event()
        self.gate.set()
        self.started: list[dict[str, Any]] = []
        self.fail: Exception | None = None

    def start(self, primes: Sequence[np.ndarray], **settings: Any) -> Iterator[np.ndarray]:
        self.started.append({"primes": list(primes), **settings})
        if self.fail is not None:
            raise self.fail
        return self._blocks(self.engine.start(primes, **settings))

    def _blocks(self, stream: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in stream:
            assert self.gate.wait(30), "the test has forgotten its gate"
            time.sleep(self.pause)
            yield block


class Fixture:
    """A scheduler, its engine, and requests for it."""

    def __init__(self, fake: ModuleType, limits: Limits, pause: float) -> None:
        model: Model = fake.fake_model()
        self.engine = Gated(model.engine, pause)
        object.__setattr__(model, "engine", self.engine)
        self.model = model
        self.dials = Dials(model.latents, model.context)
        self.limits = limits
        self.notes = NoteMaker(lambda: model, limits)
        self.scheduler = Scheduler([self.notes, FillMaker(self.notes, limits)], limits=limits)
        assert self.scheduler.ready.wait(10)

    def request(self, **body: Any) -> GenerateRequest:
        return parse_request(body, self.dials, self.model.sha256, self.limits)

    def passage(self, **body: Any) -> FillAsked:
        return parse_fill({"piece": {"shipped": "bach"}, **body}, self.dials, self.model.sha256, self.limits)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured and kept for the next start of a page is that of one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def make_scheduler(fake: ModuleType) -> Iterator[Callable[..., Fixture]]:
    """make_scheduler(pause=0.0, **limits)"""
    made: list[Fixture] = []

    def make(pause: float = 0.0, **limits: Any) -> Fixture:
        made.append(Fixture(fake, Limits(**limits) if limits else LIMITS, pause))
        return made[-1]

    yield make
    for fixture in made:
        fixture.engine.gate.set()
        fixture.scheduler.close()


@pytest.fixture(scope="session")
def loud(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `released`, whose untrained codec has been turned up until its sound can be heard."""
    from musicgen.checkpoints import codec_release
    from musicgen.model import parameters
    from musicgen.model.codec.soundstream import SoundStream
    from musicgen.model.codec.streaming import StreamingDecoder

    folder = tmp_path_factory.mktemp("loud")
    quiet = {name: np.asarray(x) for name, x in parameters.initial(toy.CODEC, 0, SoundStream).items()}
    codes = np.random.default_rng(0).integers(0, toy.CODEC.codebook_size, (64, toy.CODEC.codebooks))
    for gain in 1.3 ** np.arange(20):
        louder = lambda name: name.startswith("decoder") and name.endswith("kernel")  # noqa: E731
        params = {name: (x * gain if louder(name) else x).astype(np.float32) for name, x in quiet.items()}
        if np.abs(StreamingDecoder(toy.CODEC, params).push(codes)).max() > 0.1:
            break
    toy.release_model(folder / "model", codec_release.release(folder / "codec", toy.CODEC, params, {}, "# toy\n"))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium from the system; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra dev)")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


# For the whole session, as a start takes many seconds: a worker has one.
@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose engine is quick, but slow enough to be caught at work."""
    with serving(tmp_path_factory.mktemp("site"), 0.01) as served:
        yield served
