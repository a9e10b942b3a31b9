"""Requests for sound, at toy size: what may be asked, the events, stopping, and whose turn it is."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen.app.audio import model as audio_model
from musicgen.app.audio.continuation import sounds
from musicgen.app.audio.model import AudioModel, open_audio_model
from musicgen.app.audio.prompt import FADE
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.renderer import read_recording, write_sound
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.sound.maker import SoundMaker
from musicgen.app.web.sound.request import SoundRequest, dials_of, heard_seconds, parse_sound_request
from musicgen.app.web.ticket import Ticket
from musicgen.data_prep.audio import SAMPLE_RATE

pytestmark = pytest.mark.slow

LIMITS = Limits(sound_bytes=400_000, sound_prime_seconds=10.0, sound_seconds=20.0)


@pytest.fixture(scope="module")
def model(loud: Path) -> AudioModel:
    """Both, opened."""
    return open_audio_model(str(loud / "model"), str(loud / "codec"))


@pytest.fixture(scope="module")
def scheduler(fake: ModuleType, model: AudioModel) -> Iterator[Scheduler]:
    made = Scheduler([NoteMaker(fake.fake_model, LIMITS), SoundMaker(model, LIMITS)], limits=LIMITS)
    assert made.ready.wait(10)
    yield made
    made.close()


def chord(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(8000 * np.sin(2 * np.pi * 220 * t), np.int16)


def wav(samples: np.ndarray) -> str:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    return base64.b64encode(file.getvalue()).decode()


def read(data: bytes) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    return np.asarray(samples)


def request(model: AudioModel, **body: Any) -> SoundRequest:
    return parse_sound_request(body, model, LIMITS, read)


def sound_of(events: list[dict[str, Any]], take: int = 1) -> np.ndarray:
    parts = [event["sound"] for event in events if event["event"] == "sound" and event["take"] == take]
    return np.concatenate([np.frombuffer(base64.b64decode(part), "<i2") for part in parts])


@pytest.mark.slow
def test_a_recording_goes_on(scheduler: Scheduler, model: AudioModel) -> None:
    """The recording up to where the told sound begins, then that sound: no jump anywhere; the same seed, the same."""
    prime = chord(2.0)
    body = {"prime": {"sound": wav(prime)}, "settings": {"seconds": 0.6}, "takes": 2, "seed": 3}
    events = list(scheduler.submit(request(model, **body), "me"))
    begin = next(event for event in events if event["event"] == "begin")
    fade = round(FADE * SAMPLE_RATE)
    assert begin["join"] == len(prime) // 320 * 320 and begin["at"] == begin["join"] - fade - model.late
    told = sound_of(events)
    assert len(told) == begin["join"] - begin["at"] + round(0.6 * SAMPLE_RATE)
    whole = np.concatenate([prime[: begin["at"]], told]).astype(np.int64)
    steps = np.abs(np.diff(whole))
    at, usual = begin["at"], np.abs(np.diff(told.astype(np.int64))).max()
    assert steps[at - 2 : at + 2 * fade].max() <= usual + np.abs(np.diff(prime.astype(np.int64))).max()
    assert np.abs(told[fade:]).max() > 300
    takes = [event for event in events if event["event"] == "take"]
    assert [take["take"] for take in takes] == [1, 2] and events[-1] == {"event": "end", "stopped": False}
    assert takes[0]["facts"]["seed"] == 3 and takes[0]["facts"]["join_seconds"] == pytest.approx(2.0, abs=0.02)
    again = list(scheduler.submit(request(model, **body), "me"))
    assert (sound_of(again, 2) == sound_of(events, 2)).all()


def test_only_the_end_of_a_long_recording_counts(scheduler: Scheduler, model: AudioModel) -> None:
    """What a page sends of it gives the same sound and the same facts as all of it."""
    prime = chord(6.0)
    settings = {"seconds": 0.3}
    made = []
    for samples in (prime, prime[-int(np.ceil(heard_seconds(model) * SAMPLE_RATE)) :]):
        asked = request(model, prime={"sound": wav(samples)}, settings=settings, seed=1)
        events = list(scheduler.submit(asked, "me"))
        made.append((sound_of(events), events[-2]["facts"]["prime_sha256"]))
    assert (made[0][0] == made[1][0]).all() and made[0][1] == made[1][1]


def test_stop_ends_softly_and_keeps_what_there_is(scheduler: Scheduler, model: AudioModel) -> None:
    """The seconds in the facts give exactly this sound once more."""
    ticket: Ticket[SoundRequest] = scheduler.submit(request(model, settings={"seconds": 20.0}, seed=5), "me")
    events = []
    for event in ticket:
        events.append(event)
        if event["event"] == "sound" and event["seconds"] > 0.3:
            scheduler.stop(ticket.name)
    take, end = events[-2:]
    assert end == {"event": "end", "stopped": True} and 0.3 < take["seconds"] < 10.0
    sound = sound_of(events)
    assert len(sound) == round(take["facts"]["settings"]["seconds"] * SAMPLE_RATE)
    assert np.abs(sound).max() > 300 and abs(int(sound[-1])) < 40
    settings = {name: take["facts"]["settings"][name] for name in ("seconds", "latents", "context")}
    again = list(scheduler.submit(request(model, settings=settings, seed=5), "me"))
    assert (sound_of(again) == sound).all()


def test_whoever_leaves_frees_the_place(scheduler: Scheduler, model: AudioModel) -> None:
    """And notes have their turn beside sound."""
    ticket = scheduler.submit(request(model, settings={"seconds": 20.0}), "me")
    while not ticket.there.wait(10):
        pass
    scheduler.leave(ticket)
    events = list(scheduler.submit(request(model, settings={"seconds": 0.2}), "you"))
    assert events[-1]["event"] == "end"
    assert scheduler.load().waiting == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"nonsense": 1}, "no field 'nonsense'"),
        ({"settings": {"seconds": 21}}, "21 seconds are too long, 20 are the most"),
        ({"settings": {"end": True}}, "end is for MIDI"),
        ({"settings": {"latents": 7}}, "latents 7 is not offered here"),
        ({"takes": 9}, "takes must be a whole number between 1 and 4"),
        ({"prime": {"midi": ""}}, 'the prime of a sound is {"sound"'),
        ({"prime": {"sound": 3}}, "sent as base64 text"),
        ({"prime": {"sound": "=x="}}, "did not arrive whole"),
        ({"prime": {"sound": "A" * 600_000}}, "too large (0.4 MB are the most)"),
        ({"prime": {"sound": wav(chord(1.0))}, "from": 0.8}, "0.20 seconds are too few"),
        ({"prime": {"sound": wav(chord(1.0))}, "to": -1.0}, "to must not be negative"),
        ({"prime": {"sound": wav(np.concatenate([chord(1.0), np.zeros(90_000, np.int16)]))}}, "is silent"),
    ],
)
def test_what_cannot_be_asked(model: AudioModel, body: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        request(model, **body)
    assert complaint in str(caught.value)


def test_the_dials_count_codes(model: AudioModel) -> None:
    asked = request(model)
    config = model.released.config
    assert asked.settings.context == config.context * model.codebooks
    assert max(dials_of(model).latent_choices) == config.latents * model.codebooks


def test_no_weights_for_sound(fake: ModuleType, model: AudioModel) -> None:
    """A request that should not have come is told why nothing comes of it."""
    scheduler = Scheduler([NoteMaker(fake.fake_model, LIMITS)], limits=LIMITS)
    with pytest.raises(EnvironmentProblem, match="no weights for sound"):
        scheduler.submit(request(model), "me")
    scheduler.close()


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
def test_files(tmp_path: Path, form: str) -> None:
    """Each is what it is called, and is read as what it is, whatever its name."""
    path = tmp_path / "this recording"
    path.write_bytes(write_sound(chord(1.0), form))
    assert len(read_recording(path, 10.0)[0]) / SAMPLE_RATE == pytest.approx(1.0, abs=0.1)
    if form == "flac":
        assert np.array_equal(read(path.read_bytes()), chord(1.0))
    with pytest.raises(BadInput, match="this recording"):
        read_recording(path, 0.5)


def test_sounds_in_a_python_program(
    released: Path, toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command writes, without the files."""
    toy.write_sound(tmp_path / "prime.wav", 1.0)
    names = {"checkpoint": str(released / "model"), "codec": str(released / "codec")}
    made = sounds(tmp_path / "prime.wav", seconds=0.3, num_samples=2, seed=4, **names)
    assert [sound.facts["sample"] for sound in made] == [1, 2] and made[0].facts["seed"] == 4
    assert len(made[0].samples) == 75 * 320 + round(0.3 * SAMPLE_RATE)
    assert (made[0].samples != made[1].samples).any()
    with pytest.raises(BadInput, match="there is no setting tempo"):
        sounds(tempo=3, **names)
    with pytest.raises(BadInput, match="end is for MIDI"):
        sounds(end=True, **names)
    monkeypatch.setattr(audio_model, "MODEL", "weights-that-do-not-ship")
    with pytest.raises(EnvironmentProblem, match="no weights for sound"):
        sounds()
