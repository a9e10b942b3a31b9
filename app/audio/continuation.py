"""A recording goes on: sound to codes, codes through the model, new codes to sound, joined to the old without a click.

The output is the recording itself up to the join, at 24 kHz and one channel, and then the codec's sound.  The last
moments before the join fade from the one to the other: both are the same music at the same time, because the codec
gives back what it was given, and the codec's sound then goes on by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.audio import codes_file
from musicgen.app.audio.model import AudioModel, open_audio_model
from musicgen.app.audio.prompt import AudioPrompt, encode_prompt, load_prompt
from musicgen.app.audio.writer import SoundWriter
from musicgen.app.backend import open_engine
from musicgen.app.errors import BadInput
from musicgen.app.generate import new_seed
from musicgen.app.output import AUDIO_SUFFIXES, check_output
from musicgen.app.piece import player, show_player
from musicgen.app.provenance import summary_line
from musicgen.app.settings import ANY, Settings, check_seed
from musicgen.app.sound_file import Write, check_writable, digest, sound_file
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.dataset.code_rows import frames_of
from musicgen.data_prep.files import temporary_folder
from musicgen.data_prep.vocabulary import SPECIALS
from musicgen.model.stop import AT_ONCE, Stop

if TYPE_CHECKING:
    from musicgen.model.engine import Engine

QUIET = 3.0  # seconds of silence before a piece from nothing, as between two pieces in training
CALM = 0.85  # of the model's own temperature, at the dial's 1: what sounds most like recordings (benchmarks/codes)

Report = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of it.  first_sound_at: on the clock of time.perf_counter.  tokens_per_second: after that.  seconds: of
    new sound in each file."""

    seed: int
    tokens: int
    first_sound_at: float
    tokens_per_second: float
    backend: str
    seconds: float


def tokens_of(codes: np.ndarray | None, model: AudioModel) -> np.ndarray:
    """What the model continues, tokens int16 [F, Q]: those of a recording's codes, or of the silence before a piece."""
    if codes is not None:
        return codes + np.int16(SPECIALS)
    Q, hop = model.codebooks, model.codec.config.hop
    silence = codes_file.encoder(model.codec, Q).push(np.zeros(round(QUIET * SAMPLE_RATE) // hop * hop, np.float32))
    return np.concatenate([silence.astype(np.int16) + np.int16(SPECIALS), frames_of(np.zeros((0, Q), np.int16))])


def continue_recording(
    model: AudioModel,
    prompt: AudioPrompt | None,
    settings: Settings,
    seed: int,
    outs: list[Path],
    on_progress: Report = lambda seconds: None,
    stop: Stop | None = None,
) -> Made:
    """Write what follows a recording, or a piece from nothing, into each of `outs` while it is made.

    settings: resolved, latents and context in codes.  on_progress: 0 when the recording has been read, then the
    seconds of new sound in each file.  stop: looked at after each block; then they end at once, without a click.

    Raises Left if it is to stop before the first.
    """
    known = weights(model) | {"seed": seed, "prime_sha256": digest(prompt.tail) if prompt is not None else None}
    with contextlib.ExitStack() as stack:
        writes = [
            stack.enter_context(sound_file(out, summary_line({**known, "sample": n}))) for n, out in enumerate(outs, 1)
        ]
        return _go_on(model, prompt, settings, seed, writes, on_progress, Stop() if stop is None else stop)


def _go_on(
    model: AudioModel,
    prompt: AudioPrompt | None,
    settings: Settings,
    seed: int,
    writes: list[Write],
    on_progress: Report,
    stop: Stop,
) -> Made:
    total, blocks, stopped = round(settings.seconds * SAMPLE_RATE), [], False

    def begin() -> tuple[str, list[SoundWriter], Iterator[np.ndarray]]:
        """Until the first block, when all is compiled."""
        writers = [SoundWriter(model, write, total) for write in writes]
        engine, backend = open_engine(model.released)
        codes = encode_prompt(prompt, model) if prompt is not None else None
        stream = start(engine, model, [tokens_of(codes, model)] * len(writes), settings, seed)
        on_progress(0.0)
        for writer in writers:
            writer.begin(prompt, codes, settings.keep_prime)
        return backend, writers, itertools.chain([next(stream)], stream)

    backend, writers, stream = stop.wait_for(begin, patience=AT_ONCE)
    while writers[0].left:
        block = next(stream)
        for writer, row in zip(writers, block, strict=True):
            writer.add(row.astype(np.int32) - SPECIALS)
        blocks.append((block.size, time.perf_counter()))
        on_progress((total - writers[0].left) / SAMPLE_RATE)
        if stop and not stopped:
            stopped = True
            for writer in writers:
                writer.shorten()
    first = blocks[0][1]
    later = sum(size for size, _ in blocks[1:])
    speed = later / (blocks[-1][1] - first) if later else 0.0
    return Made(seed, sum(size for size, _ in blocks), first, speed, backend, writers[0].made)


@dataclasses.dataclass(frozen=True)
class Sound:
    """A finished sound for a Python program; a notebook shows a player.

    samples: f32 [n], -1..1, at `SAMPLE_RATE`.
    facts: how it was made: seed, weights, codec, backend.
    """

    samples: np.ndarray
    facts: dict[str, Any]

    def save(self, path: str | Path) -> Path:
        """Write it as .wav, .flac, .ogg or .mp3, by the suffix.

        Raises BadInput for another suffix or a missing folder, EnvironmentProblem if it cannot be written.
        """
        out = check_output(path, AUDIO_SUFFIXES, "the file")
        check_writable(out)
        with sound_file(out, summary_line(self.facts)) as write:
            write(self.samples)
        return out

    def play(self) -> None:
        """Show a player in a notebook.  Raises EnvironmentProblem anywhere else."""
        show_player(self._mp3, "audio/mpeg")

    def _repr_html_(self) -> str:
        """A player, for notebooks."""
        return player(self._mp3, "audio/mpeg")

    @functools.cached_property
    def _mp3(self) -> bytes:
        with temporary_folder() as folder:
            return self.save(folder / "sound.mp3").read_bytes()


def make_sounds(model: AudioModel, prime: str | Path | None, seed: int | None, settings: Settings) -> list[Sound]:
    """Continue a recording, or invent some.  Raises BadInput if a setting or the recording cannot be used."""
    if settings.end:
        raise BadInput("end is for MIDI only: audio fades out where it is cut; leave end out")
    if settings.style != ANY:
        raise BadInput("style is for MIDI only: leave style out")
    own = model.released.config
    settings = settings.resolve(own.latents * model.codebooks, own.context * model.codebooks)
    assert settings.context is not None
    frames = settings.context // model.codebooks
    prompt = load_prompt(Path(prime), model, settings.prime_seconds, frames) if prime else None
    parts: list[list[np.ndarray]] = [[] for _ in range(settings.num_samples)]
    chosen = new_seed() if seed is None else check_seed(seed)
    made = _go_on(model, prompt, settings, chosen, [part.append for part in parts], lambda seconds: None, Stop())
    return [
        Sound(np.clip(np.concatenate(part), -1.0, 1.0).astype(np.float32), facts(model, made) | {"sample": number})
        for number, part in enumerate(parts, start=1)
    ]


def sounds(
    prime: str | Path | None = None,
    *,
    seed: int | None = None,
    checkpoint: str | None = None,
    codec: str | None = None,
    **settings: Any,
) -> list[Sound]:
    """Continue a recording, or invent some: what `musicgen [prime.wav] --out new.wav` does, without the files.

    Args:
        prime: a WAV, FLAC, MP3, Ogg or AIFF file; None begins from nothing.
        seed: the same seed gives the same sound; None draws one, which is in the facts.
        checkpoint: released weights by name, or a folder of them; they are loaded once in a process.
        codec: the same of the codec.
        settings: fields of `Settings` but `end`, such as ``seconds`` or ``num_samples``; latents and context in codes.

    Raises:
        BadInput: a setting or the recording cannot be used.
        EnvironmentProblem: the weights are not installed, or not as they should be.
    """
    chosen = Settings.of(**settings)
    return make_sounds(_kept_model(checkpoint, codec), prime, seed, chosen)


@functools.lru_cache(maxsize=1)
def _kept_model(checkpoint: str | None, codec: str | None) -> AudioModel:
    return open_audio_model(checkpoint, codec)


def start(
    engine: Engine, model: AudioModel, primes: list[np.ndarray], settings: Settings, seed: int
) -> Iterator[np.ndarray]:
    """The stream of frames int16 [B, k, Q] that follow primes [F, Q] each; settings: resolved, in codes."""
    from musicgen.model.codec.loudness import LevelControl, Loudness

    Q = model.codebooks
    assert settings.latents is not None and settings.context is not None  # resolved
    sampling = dataclasses.replace(settings.sampling, temperature=CALM * settings.sampling.temperature)
    context = max(2, settings.context // Q)
    latents = min(context, max(2, settings.latents // Q))
    loudness = Loudness.of_codec(model.codec.config, model.codec.params)
    rules = LevelControl(loudness, model.codec.config.frame_rate) if loudness is not None else None
    return engine.start(primes, latents=latents, context=context, sampling=sampling, seed=seed, rules=rules)


def weights(model: AudioModel) -> dict[str, str]:
    """Which weights made a sound."""
    released = {"checkpoint": model.released.name, "checkpoint_sha256": model.released.sha256}
    return released | {"codec": model.codec.name, "codec_sha256": model.codec.sha256}


def facts(model: AudioModel, made: Made) -> dict[str, Any]:
    """What --json tells of it, apart from files and times."""
    return {
        "seed": made.seed,
        **weights(model),
        "backend": made.backend,
        "tokens": made.tokens,
        "tokens_per_second": round(made.tokens_per_second, 2),
    }
