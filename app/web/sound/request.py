"""What the Audio tab asks for: JSON, checked field by field, to a request for the scheduler.

A request for sound is an object whose fields may all be left out:

    prime     {"sound": base64 of a WAV, FLAC, MP3, Ogg or AIFF file}; nothing: from nothing
    from, to  seconds: only this part of the recording is continued
    settings  by their names: seconds, latents, context (both in codes) and those of `Sampling`
    takes     how many at once
    seed      a whole number; nothing draws one
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from musicgen.app.audio.model import AudioModel
from musicgen.app.audio.prompt import AudioPrompt
from musicgen.app.errors import BadInput
from musicgen.app.settings import Settings
from musicgen.app.web.checks import Plain, decode_file, plain_object, seconds_of
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.settings import COMMON, parse_common
from musicgen.data_prep.audio import SAMPLE_RATE, SHORTEST, is_silent, to_float

Read = Callable[[bytes], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class SoundRequest:
    """A checked request.

    settings: resolved, latents and context in codes; ``seconds`` of each take.
    recording: int16 [n] at 24 kHz, what is continued; None: nothing.
    prompt: what of it the model is given.
    takes: how many.  seed: None draws one.
    """

    kind: ClassVar[str] = "sound"
    settings: Settings
    recording: np.ndarray | None
    prompt: AudioPrompt | None
    takes: int
    seed: int | None


def dials_of(model: AudioModel) -> Dials:
    """The settings a model of sound is run at, in codes as on the command line."""
    config = model.released.config
    return Dials(config.latents * model.codebooks, config.context * model.codebooks)


def heard_seconds(model: AudioModel) -> float:
    """Of a recording's end, so much decides what follows; a client need not send more.

    It is a frame more than the longest context and the codec's memory, so that it can be told from a whole recording.
    """
    return (model.frames + model.codec.config.memory + 1) * model.codec.config.hop / SAMPLE_RATE


def parse_sound_request(body: object, model: AudioModel, limits: Limits, read: Read) -> SoundRequest:
    """Check a request.

    Args:
        body: see above.
        model: whose settings are offered.
        limits: what may be asked.
        read: the bytes of a sound file to int16 [n] at 24 kHz; raises MusicgenError.

    Raises:
        BadInput: the first thing that is wrong.
    """
    body = plain_object("the request", body)
    of_sound = dataclasses.replace(limits, seconds=limits.sound_seconds, takes=limits.sound_takes)
    settings, takes, seed = parse_common(body, COMMON, dials_of(model), of_sound)
    for name in ("end", "style"):
        if name in (body.get("settings") or {}):
            raise BadInput(f"{name} is for MIDI: leave {name} out when a recording goes on")
    settings = dataclasses.replace(settings, num_samples=takes)
    recording, prompt = None, None
    if body.get("prime") is not None:
        recording = _part(_recording(body["prime"], limits, read), body)
        prompt = prompt_of(recording, model, settings)
    return SoundRequest(settings, recording, prompt, takes, seed)


def prompt_of(recording: np.ndarray, model: AudioModel, settings: Settings) -> AudioPrompt:
    """What the model is given of samples int16 [n].  Raises BadInput if their end is silent."""
    assert settings.context is not None  # resolved
    hop = model.codec.config.hop
    samples = len(recording) // hop * hop
    frames = settings.context // model.codebooks + model.codec.config.memory
    tail = to_float(recording[:samples][-frames * hop :])
    if is_silent(tail):
        raise BadInput("the end of this recording is silent, so there is nothing to continue: end it earlier")
    return AudioPrompt(None, tail, samples)


def decode_sound(text: object, limits: Limits) -> bytes:
    """The bytes of a sound file, or of samples, sent as base64.  Raises BadInput if it is none or too large."""
    return decode_file("recording", text, limits.sound_bytes, too_large(limits))


def too_large(limits: Limits) -> str:
    """What is said of a recording with too many bytes."""
    return (
        f"this recording is too large ({limits.sound_bytes / 1e6:g} MB are the most): cut it, or save it as FLAC or MP3"
    )


def _recording(source: object, limits: Limits, read: Read) -> np.ndarray:
    source = plain_object("the prime", source)
    if list(source) != ["sound"]:
        raise BadInput('the prime of a sound is {"sound": a WAV, FLAC, MP3, Ogg or AIFF file in base64}')
    return read(decode_sound(source["sound"], limits))


def _part(samples: np.ndarray, body: Plain) -> np.ndarray:
    """What lies between the two times of a request.  Raises BadInput if it is too little."""
    start, stop = seconds_of("from", body), seconds_of("to", body)
    first = 0 if start is None else min(round(start * SAMPLE_RATE), len(samples))
    last = None if stop is None else min(round(stop * SAMPLE_RATE), len(samples))
    part = samples[first:last]
    if len(part) < SHORTEST * SAMPLE_RATE:
        raise BadInput(
            f"{len(part) / SAMPLE_RATE:.2f} seconds are too few to continue, {SHORTEST:g} are the least: choose a"
            " longer part"
        )
    return part
