"""One generation from beginning to end: prime to tokens, tokens through the engine, tokens to music and provenance."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.bars import put_in_bars
from musicgen.app.best_ending import RINGS_ON, best_of_n_ending, candidates_per_row
from musicgen.app.bundled import find_prime
from musicgen.app.errors import BadInput, cannot_use
from musicgen.app.join import close_at, join, trim_to_eos
from musicgen.app.piece import Piece
from musicgen.app.prime import Prime, pack, read_prime
from musicgen.app.provenance import HEARD, Provenance, texts
from musicgen.app.settings import LARGEST_SEED, Settings, check_seed
from musicgen.app.styles import styles_of, told
from musicgen.app.version import version
from musicgen.data_prep import (
    BOS,
    EOS,
    PAD,
    STEPS_PER_SECOND,
    VOCABULARY,
    VOCABULARY_2,
    Performance,
    decode,
    steps,
    write_midi,
)
from musicgen.data_prep.events import KINDS, Kind
from musicgen.data_prep.rules.endings import Endings
from musicgen.data_prep.rules.note_limits import NoteLimits

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.model.engine import Engine, Seed

Report = Callable[[float], None]
JUDGED_BY = {"latents": 64, "context": 1024}  # latents and tokens: whether it is over, the last page can tell
RULES = NoteLimits()  # of all music that is drawn


@dataclasses.dataclass(frozen=True)
class Model:
    """An engine, and which weights are in it.

    latents, context: M and N that it was released with.
    backend: what computes, and its version; see app/backend.py.
    styles: the kinds of music it can be told to make; see app/styles.py.
    """

    engine: Engine
    name: str
    sha256: str
    latents: int
    context: int
    backend: str
    styles: tuple[str, ...] = ()

    @property
    def can_fill(self) -> bool:
        """Whether it has learnt to fill gaps, as all weights of the vocabulary with styles have."""
        return bool(self.styles)


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.  ``seed`` None draws one; ``prime`` None begins from nothing.

    trimmed: leave out the silence before the first note of a piece from nothing, as all pieces do but older ones.
    own_seeds: the rows are as in a batch in which each has a seed of its own (app/batch): here all have this one.
    """

    settings: Settings = Settings()
    prime: Prime | None = None
    seed: int | None = None
    trimmed: bool = True
    own_seeds: bool = False


@dataclasses.dataclass(frozen=True)
class Sample:
    """One finished piece: its music, int16[T] the model's tokens in it, how it was made, and how many notes are new."""

    music: Performance
    tokens: np.ndarray
    provenance: Provenance
    notes: int


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What came out of the engine, and when.

    rows: one int16[T] per sample, not cut yet.
    first_note_at: on the clock of `time.perf_counter`; when the last block came, if there was no note.
    tokens_per_second: of all rows together, after the first block, whose time is mostly compiling.
    stopped_at: seconds of music that all rows have, if they were to stop before they had all of it.
    """

    rows: tuple[np.ndarray, ...]
    first_note_at: float
    tokens_per_second: float
    stopped_at: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """The pieces of one batch, how they were made and how fast."""

    samples: tuple[Sample, ...]
    settings: Settings
    seed: int
    first_note_at: float
    tokens_per_second: float


def open_weights(checkpoint: str | None) -> Released:
    """Load and verify released weights; None for the default ones.

    Raises BadInput for an unknown name, weights of sound or a folder that holds none, EnvironmentProblem for those of
    the package that are damaged or have another token vocabulary.
    """
    from musicgen import checkpoints

    try:
        released = checkpoints.load(checkpoint if checkpoint is not None else checkpoints.DEFAULT)
    except checkpoints.CheckpointError as error:
        raise cannot_use(checkpoint, error, checkpoints.names()) from None
    if released.config.channels > 1:
        raise BadInput(f"the weights {released.name} make sound, not MIDI: give {checkpoints.DEFAULT}, or others")
    if released.tokenizer not in (VOCABULARY.to_json(), VOCABULARY_2.to_json()):
        why = "use another vocabulary than this version of musicgen: choose others, or install the version of theirs"
        other = checkpoints.CheckpointError(f"the weights {released.name} {why}")
        raise cannot_use(checkpoint, other, checkpoints.names())
    return released


def open_model(released: Released) -> Model:
    """Put the weights into an engine: ONNX Runtime's on a CPU, else JAX's, whose start takes seconds.

    Raises EnvironmentProblem if neither can use this machine, BadInput for a MUSICGEN_BACKEND that is none.
    """
    from musicgen.app import backend

    engine, described = backend.open_engine(released, RULES)
    return Model(
        engine=engine,
        name=released.name,
        sha256=released.sha256,
        latents=released.config.latents,
        context=released.config.context,
        backend=described,
        styles=styles_of(released.tokenizer, released.about),
    )


def new_seed() -> int:
    """A seed nobody has to think of, short enough to type again."""
    return secrets.randbelow(min(LARGEST_SEED, 10**9) + 1)


def generate(
    request: Request,
    model: Model,
    on_progress: Report = lambda seconds: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Make the pieces a request asks for.

    Args:
        request: settings, prime and seed.
        model: from `open_model`.
        on_progress: called with 0 when the prime has been read, then with the seconds of new music in all samples.
        should_stop: asked after each block; then the pieces end where all have music, as if no more had been asked for.

    Raises:
        BadInput: the settings do not fit the model.
        KeyboardInterrupt: they are to stop before the first note.
    """
    settings = request.settings.resolve(model.latents, model.context)
    seed = request.seed if request.seed is not None else new_seed()
    before = request.prime.tokens if request.prime is not None else np.array([BOS], np.int16)
    seeds = (seed,) * settings.num_samples if request.own_seeds else seed
    stream = begin(model, [before] * settings.num_samples, settings, seeds, request.trimmed)
    on_progress(0.0)
    longest = settings.seconds + (RINGS_ON if settings.end else 0.0)
    asked, count = settings.seconds, settings.num_samples
    drawn = draw(stream, count, longest, lambda seconds: on_progress(min(seconds, asked)), should_stop)
    seconds = min(asked, drawn.stopped_at if drawn.stopped_at is not None else asked)
    settings = dataclasses.replace(settings, seconds=seconds)
    samples = tuple(
        finish(row, request.prime, before, settings, seed, number, model, asked if seconds < asked else None)
        for number, row in enumerate(drawn.rows, start=1)
    )
    return Result(samples, settings, seed, drawn.first_note_at, drawn.tokens_per_second)


def begin(
    model: Model, primes: Sequence[np.ndarray], settings: Settings, seed: Seed, trimmed: bool = True
) -> Iterator[np.ndarray]:
    """Read the primes, int16[T] each, and give the stream of blocks int16[B, k] that these settings mean.

    It has no end, or each row an EOS; PAD in it says nothing.

    settings: resolved; their ``num_samples`` is not looked at.  trimmed: see `Request`.
    seed: of all rows, or of each: a row with its own is that of a batch of one, as far as the engine rounds alike.
    """
    stream = _begin(model, primes, settings, seed)
    return _trim_silence(stream, [len(prime) == 1 for prime in primes]) if trimmed else stream


def _begin(model: Model, primes: Sequence[np.ndarray], settings: Settings, seed: Seed) -> Iterator[np.ndarray]:
    if settings.end and isinstance(seed, int) and candidates_per_row(len(primes)) == 1:
        return start(model, primes, settings, seed, rules=Endings(RULES, settings.seconds))
    stream = start(model, primes, settings, seed)
    if not settings.end:
        return stream

    def endings(body: np.ndarray, count: int, seed: int, seconds: float) -> Iterator[np.ndarray]:
        return start(model, [body], settings, seed, rules=Endings(RULES, seconds), copies=count)

    return best_of_n_ending(stream, primes, settings.seconds, seed, endings, functools.partial(eos_nats, model))


def _trim_silence(stream: Iterator[np.ndarray], silent: list[bool]) -> Iterator[np.ndarray]:
    """The stream with PAD in the place of the time shifts before a row's first note, where ``silent`` says so."""
    for block in stream:
        block = np.array(block)
        kinds = KINDS[block]
        for row in np.flatnonzero(silent):
            notes = np.flatnonzero(kinds[row] == Kind.NOTE_ON)
            first = int(notes[0]) if notes.size else block.shape[1]
            block[row, :first][kinds[row, :first] == Kind.TIME_SHIFT] = PAD
            silent[row] = not notes.size
        yield block


def eos_nats(model: Model, stream: np.ndarray) -> float:
    """The nats that the model gives to EOS after a stream int16[T]: the fewer, the better it ends."""
    return model.engine.nats(stream, EOS, **JUDGED_BY)


def start(
    model: Model, primes: Sequence[np.ndarray], settings: Settings, seed: Seed, **more: Any
) -> Iterator[np.ndarray]:
    """The stream of `model.engine` with these settings; more: its ``rules`` and ``copies``."""
    assert settings.latents is not None and settings.context is not None  # resolved
    stream = model.engine.start(
        primes,
        latents=settings.latents,
        context=settings.context,
        sampling=settings.sampling,
        seed=seed,
        told=told(settings.style, model.styles, model.name),
        **more,
    )
    return iter(stream)


def draw(
    stream: Iterator[np.ndarray],
    count: int,
    seconds: float,
    on_progress: Report,
    should_stop: Callable[[], bool] = lambda: False,
) -> Drawn:
    """Pull blocks int16[count, k] until every row has music for ``seconds`` or has ended, or they are to stop.

    Raises KeyboardInterrupt if they are to stop before the first note.
    """
    stopped_at: float | None = None
    limit = round(seconds * STEPS_PER_SECOND)
    blocks: list[np.ndarray] = []
    arrivals: list[float] = []
    now = np.zeros(count, np.int64)
    first_note_at: float | None = None
    began = time.perf_counter()
    while now.min() < limit:
        block = np.asarray(next(stream))
        blocks.append(block)
        arrivals.append(time.perf_counter())
        now += np.array([steps(row)[-1] for row in block])
        now[(block == EOS).any(axis=1)] = limit
        if first_note_at is None and (KINDS[block] == Kind.NOTE_ON).any():
            first_note_at = arrivals[-1]
        on_progress(min(float(now.min()) / STEPS_PER_SECOND, seconds))
        if now.min() < limit and should_stop():
            if first_note_at is None or not now.min():
                raise KeyboardInterrupt
            stopped_at = float(now.min()) / STEPS_PER_SECOND
            break
    warm = sum(int((block != PAD).sum()) for block in blocks[1:])
    rate = warm / (arrivals[-1] - arrivals[0]) if warm else blocks[0].size / (arrivals[0] - began)
    first = first_note_at if first_note_at is not None else arrivals[-1]
    return Drawn(tuple(np.concatenate(blocks, axis=1)), first, rate, stopped_at)


def finish(
    row: np.ndarray,
    prime: Prime | None,
    before: np.ndarray,
    settings: Settings,
    seed: int,
    number: int,
    model: Model,
    asked: float | None = None,
) -> Sample:
    """The piece in one row of a batch: its new tokens int16[T] up to their end, or cut at the settings' seconds, and
    joined to the prime.

    Args:
        row: what the engine drew, at least as long as the settings ask or with an EOS in it.
        prime: what was continued, or None; ``before`` int16[P] are its tokens, or BOS alone.
        settings: resolved; ``num_samples`` rows were in the batch, and this is number ``number`` of them, from 1.
        asked: the seconds that were asked for, if it was stopped before.
    """
    first = np.flatnonzero(KINDS[row] == Kind.NOTE_ON)
    trimmed = prime is None and bool((row[: first[0] if first.size else 0] == PAD).any())
    row = row[row != PAD]
    by_itself = settings.end and bool((row == EOS).any())
    tokens = trim_to_eos(row) if by_itself else close_at(row, before, settings.seconds)
    if asked is not None and not by_itself:
        settings = dataclasses.replace(settings, end=False)  # up to here it has not begun to end
    shown = prime if settings.keep_prime else None
    music = join(shown, tokens) if shown is not None else decode(tokens, before)
    provenance = Provenance(
        settings=settings,
        seed=seed,
        sample=number,
        checkpoint=model.name,
        checkpoint_sha256=model.sha256,
        prime_sha256=prime.sha256 if prime is not None else None,
        prime_notes=len(shown.performance) if shown is not None else 0,
        join_seconds=shown.seconds if shown is not None else 0.0,
        backend=model.backend,
        version=version(),
        ended=float(steps(tokens)[-1]) / STEPS_PER_SECOND if by_itself and tokens.size else None,
        trimmed=trimmed,
        own_ticks=_has_score(shown),
        beat=shown is None,
        asked=asked,
    )
    notes = int((KINDS[tokens] == Kind.NOTE_ON).sum())
    return Sample(music, tokens, provenance, notes)


def _has_score(prime: Prime | None) -> bool:
    source = prime.performance.source if prime is not None else None
    return source is not None and source.score is not None


def midi_file(sample: Sample, packed_prime: str | None) -> bytes:
    """A whole MIDI file: the music, its provenance and, if there is one, the packed prime."""
    facts, music = sample.provenance, sample.music
    text = texts(facts, packed_prime)
    if facts.beat:
        music, heard = put_in_bars(music)
        text = (*text, HEARD + heard)
    return write_midi(music, None, text=text, loose_from=facts.join_seconds if facts.own_ticks else None)


def to_pieces(result: Result, prime: Prime | None) -> list[Piece]:
    """What `generate` made of this prime, with the whole MIDI file of each piece."""
    packed = pack(prime) if prime is not None else None
    return [Piece(sample.music, midi_file(sample, packed), sample.provenance) for sample in result.samples]


def pieces(
    prime: str | Path | None = None, *, seed: int | None = None, checkpoint: str | None = None, **settings: Any
) -> list[Piece]:
    """Continue a MIDI file, or invent pieces: what `musicgen [prime.mid] --out new.mid` does, without the files.

    Args:
        prime: a MIDI file or the name of a bundled prime; None begins from nothing.
        seed: the same seed gives the same pieces; None draws one, which the provenance holds.
        checkpoint: released weights by name, or a folder of weights; they are loaded once in a process.
        settings: fields of `Settings`, such as ``seconds``, ``temperature`` or ``num_samples``.

    Raises:
        BadInput: a setting or the prime cannot be used.
        EnvironmentProblem: the weights or JAX are not as they should be.
    """
    chosen = Settings.of(**settings)
    opening = read_prime(find_prime(str(prime)), chosen.prime_seconds)[0] if prime is not None else None
    request = Request(chosen, opening, check_seed(seed) if seed is not None else None)
    return to_pieces(generate(request, _kept_model(checkpoint)), opening)


@functools.lru_cache(maxsize=1)
def _kept_model(checkpoint: str | None) -> Model:
    return open_model(open_weights(checkpoint))
