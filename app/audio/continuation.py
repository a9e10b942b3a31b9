"""A recording goes on: sound to codes, codes through the model, new codes to sound, joined to the old without a click.

The output is the recording itself up to the join, at 24 kHz and one channel, and then the codec's sound.  The last
moments before the join fade from the one to the other: both are the same music at the same time, because the codec
gives back what it was given, and the codec's sound then goes on by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.audio import codes_file
from musicgen.app.audio.files import Write, digest, sound_file
from musicgen.app.audio.output import WARM, Voice
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.provenance import label
from musicgen.app.settings import Settings, checked_seed
from musicgen.data_prep.audio import SAMPLE_RATE, SHORTEST, AudioError, Level, is_silent, read_blocks
from musicgen.data_prep.dataset.code_rows import frames_of
from musicgen.data_prep.vocabulary import SPECIALS

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.checkpoints.codec_release import ReleasedCodec
    from musicgen.model.engine import Engine

MODEL = "piano-codes"
CODES = "musicgen-codes/1"
FADE = 0.03  # seconds from the recording to the codec's sound
QUIET = 3.0  # seconds of silence before a piece from nothing, as between two pieces in training
CALM = 0.85  # of the model's own temperature, at the dial's 1: what sounds most like recordings (benchmarks/codes)

Report = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class AudioModel:
    """Weights over codes, and the codec whose codes they are."""

    released: Released
    codec: ReleasedCodec

    @property
    def codebooks(self) -> int:
        """Q."""
        return self.released.config.channels

    @property
    def frames(self) -> int:
        """N: the frames that the model looks back on."""
        return self.released.config.context

    @property
    def late(self) -> int:
        """Samples by which the codec gives sound back later than it was given it."""
        return self.codec.config.delay


@dataclasses.dataclass(frozen=True)
class Heard:
    """What the model is given of a recording: its last seconds f32 [n], whole frames; samples: of all that counts.

    path: the file; None if whoever listens has it already, so that nothing of it is written before the join.
    """

    path: Path | None
    tail: np.ndarray
    samples: int

    @property
    def seconds(self) -> float:
        """Of the recording, as far as it is continued."""
        return self.samples / SAMPLE_RATE

    @property
    def fade(self) -> int:
        """The samples at the end that fade from the recording to the codec's sound."""
        return min(round(FADE * SAMPLE_RATE), self.samples)


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of it.  first_sound_at: on the clock of time.perf_counter.  tokens_per_second: after that."""

    seed: int
    tokens: int
    first_sound_at: float
    tokens_per_second: float
    backend: str


def open_audio_model(checkpoint: str | None, codec: str | None) -> AudioModel:
    """Load both and see that they belong together.

    Raises BadInput for weights or a codec that are none or not each other's, EnvironmentProblem for damaged ones.
    """
    from musicgen import checkpoints

    try:
        released = checkpoints.load(checkpoint if checkpoint is not None else MODEL)
    except checkpoints.UnknownCheckpointError as error:
        if checkpoint is not None:
            raise BadInput(str(error)) from None
        raise EnvironmentProblem(
            "no weights for sound are installed: name some with --checkpoint and their codec with --codec; for MIDI,"
            " give a MIDI file"
        ) from None
    except checkpoints.CheckpointError as error:
        raise EnvironmentProblem(str(error)) from None
    if released.tokenizer.get("format") != CODES:
        raise BadInput(f"the weights {released.name} write MIDI, not sound: leave --checkpoint out for {MODEL}")
    opened = codes_file.open_codec(codec)
    if released.tokenizer["codec_sha256"] != opened.sha256:
        raise BadInput(
            f"the weights {released.name} know the codes of another codec than {opened.name}: name its folder with"
            " --codec"
        )
    return AudioModel(released, opened)


def hear(path: Path, model: AudioModel, seconds: float | None, frames: int | None = None) -> Heard:
    """Read a recording, or its first `seconds`, in bounded memory, for a context of so many frames (the model's own).

    Raises BadInput if it cannot be used, wherever in it the reason lies.
    """
    hop, level = model.codec.config.hop, Level()
    longest = ((model.frames if frames is None else frames) + WARM) * hop
    limit = None if seconds is None else round(seconds * SAMPLE_RATE)
    tail, samples = np.zeros(0, np.float32), 0
    try:
        for block in read_blocks(path, level):
            block = block[: None if limit is None else limit - samples]
            samples += len(block)
            tail = np.concatenate([tail, block])[-longest - hop :]
            if samples == limit:
                break
    except AudioError as error:
        raise BadInput(str(error)) from None
    if samples < SHORTEST * SAMPLE_RATE:
        raise BadInput(f"{samples / SAMPLE_RATE:.2f} seconds of {path.name} are too few: give {SHORTEST:g} or more")
    if is_silent(tail):
        raise BadInput(f"the end of {path.name} is silent, so there is nothing to continue: try --prime-seconds")
    over = samples % hop
    tail = tail[: len(tail) - over][-longest:]
    return Heard(path, tail, samples - over)


def encoding(heard: Heard, model: AudioModel) -> Iterator[np.ndarray]:
    """Codes int16 [f, Q] of the tail, some seconds at a time, without those at a beginning that is none.

    Of all but a short one the first few frames are left out, too, so that what is left is whole passes of the codec:
    other lengths would have to be compiled.
    """
    from musicgen.model.codec.streaming import MOST_FRAMES

    hop = model.codec.config.hop
    frames = len(heard.tail) // hop
    skipped = frames % MOST_FRAMES if frames > 4 * MOST_FRAMES else 0
    left_out = WARM if len(heard.tail) < heard.samples else 0
    coder = codes_file.encoder(model.codec, model.codebooks)
    for at in range(skipped * hop, len(heard.tail), 4 * MOST_FRAMES * hop):
        codes = coder.push(heard.tail[at : at + 4 * MOST_FRAMES * hop]).astype(np.int16)
        yield codes[left_out:]
        left_out = max(0, left_out - len(codes))


def encoded(heard: Heard, model: AudioModel) -> np.ndarray:
    """Codes int16 [F, Q] of the whole tail."""
    return np.concatenate([np.zeros((0, model.codebooks), np.int16), *encoding(heard, model)])


def tokens_of(codes: np.ndarray | None, model: AudioModel) -> np.ndarray:
    """What the model continues, tokens int16 [F, Q]: those of a recording's codes, or of the silence before a piece."""
    if codes is not None:
        return codes + np.int16(SPECIALS)
    Q, hop = model.codebooks, model.codec.config.hop
    silence = codes_file.encoder(model.codec, Q).push(np.zeros(round(QUIET * SAMPLE_RATE) // hop * hop, np.float32))
    return np.concatenate([silence.astype(np.int16) + np.int16(SPECIALS), frames_of(np.zeros((0, Q), np.int16))])


def continue_recording(
    model: AudioModel,
    heard: Heard | None,
    settings: Settings,
    seed: int,
    outs: list[Path],
    on_progress: Report = lambda seconds: None,
) -> Made:
    """Write what follows a recording, or a piece from nothing, into each of `outs` while it is made.

    settings: resolved, latents and context in codes.  on_progress: 0 when the recording has been read, then the
    seconds of new sound in each file.
    """
    known = weights(model) | {"seed": seed, "prime_sha256": digest(heard.tail) if heard is not None else None}
    with contextlib.ExitStack() as stack:
        writes = [stack.enter_context(sound_file(out, label({**known, "sample": n}))) for n, out in enumerate(outs, 1)]
        return _go_on(model, heard, settings, seed, writes, on_progress)


def _go_on(
    model: AudioModel, heard: Heard | None, settings: Settings, seed: int, writes: list[Write], on_progress: Report
) -> Made:
    engine, backend = open_engine(model)
    codes = encoded(heard, model) if heard is not None else None
    stream = start(engine, model, [tokens_of(codes, model)] * len(writes), settings, seed)
    on_progress(0.0)
    total, first, blocks = round(settings.seconds * SAMPLE_RATE), 0.0, []
    voices = [Voice(model, write, total) for write in writes]
    for voice in voices:
        voice.begin(heard, codes, settings.keep_prime)
    while voices[0].left:
        block = next(stream)
        for voice, row in zip(voices, block, strict=True):
            voice.add(row.astype(np.int32) - SPECIALS)
        blocks.append((block.size, time.perf_counter()))
        first = first or blocks[0][1]
        on_progress((total - voices[0].left) / SAMPLE_RATE)
    later = sum(size for size, _ in blocks[1:])
    speed = later / (blocks[-1][1] - first) if later else 0.0
    return Made(seed, sum(size for size, _ in blocks), first, speed, backend)


@dataclasses.dataclass(frozen=True)
class Sound:
    """A finished sound for a Python program: f32 [n], -1..1, at `SAMPLE_RATE`, and how it was made (see `facts`)."""

    samples: np.ndarray
    facts: dict[str, Any]


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
        prime: a WAV, FLAC, MP3 or OGG file; None begins from nothing.
        seed: the same seed gives the same sound; None draws one, which is in the facts.
        checkpoint: released weights by name, or a folder of them; they are loaded once in a process.
        codec: the same of the codec.
        settings: fields of `Settings` but `end`, such as ``seconds`` or ``num_samples``; latents and context in codes.

    Raises:
        BadInput: a setting or the recording cannot be used.
        EnvironmentProblem: the weights are not installed, or not as they should be.
    """
    from musicgen.app.generate import new_seed

    chosen = Settings.of(**settings)
    if chosen.end:
        raise BadInput("end is for MIDI: the continuation of a recording is cut off softly, leave end out")
    model = _kept_model(checkpoint, codec)
    own = model.released.config
    resolved = chosen.resolved(own.latents * model.codebooks, own.context * model.codebooks)
    assert resolved.context is not None
    heard = hear(Path(prime), model, resolved.prime_seconds, resolved.context // model.codebooks) if prime else None
    parts: list[list[np.ndarray]] = [[] for _ in range(resolved.num_samples)]
    chosen_seed = new_seed() if seed is None else checked_seed(seed)
    made = _go_on(model, heard, resolved, chosen_seed, [part.append for part in parts], lambda seconds: None)
    return [
        Sound(np.clip(np.concatenate(part), -1.0, 1.0).astype(np.float32), facts(model, made) | {"sample": number})
        for number, part in enumerate(parts, start=1)
    ]


@functools.lru_cache(maxsize=1)
def _kept_model(checkpoint: str | None, codec: str | None) -> AudioModel:
    return open_audio_model(checkpoint, codec)


def open_engine(model: AudioModel) -> tuple[Engine, str]:
    """The weights in an engine, and what it is: platform, name and version; ONNX Runtime's on a CPU, else JAX's.

    Raises EnvironmentProblem if they do not fit their own config, BadInput for a MUSICGEN_BACKEND that is none.
    """
    from musicgen.app import backend
    from musicgen.app.compiled import keep_compiled

    config, name = model.released.config, model.released.name
    try:
        if backend.chosen() == backend.ONNX:
            import onnxruntime

            from musicgen.model.cpu.engine import OnnxEngine

            return OnnxEngine(config, model.released.weights), f"cpu {backend.ONNX} {onnxruntime.__version__}"
        import jax

        from musicgen.model.jax_engine import JaxEngine

        keep_compiled()
        platform = backend.jax_platform()
        return JaxEngine(config, model.released.params), f"{platform} {backend.JAX} {jax.__version__}"
    except ValueError as error:
        raise EnvironmentProblem(f"the weights {name} are damaged ({error}): install them again") from None


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
    rules = LevelControl(loudness) if loudness is not None else None
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
