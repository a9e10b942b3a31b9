"""musicgen as a library: `musicgen.load(...)` gives a `Model`, whose pieces can be heard, saved and scored."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app import fill as filling
from musicgen.app import generate as generation
from musicgen.app.audio.continuation import Sound, make_sounds
from musicgen.app.audio.model import AudioModel, open_audio_model
from musicgen.app.bundled import find_prime
from musicgen.app.controls import AVOID_COPIES
from musicgen.app.errors import BadInput
from musicgen.app.evaluation.likelihood import Score, score
from musicgen.app.generate import Request, to_pieces
from musicgen.app.output import cache_folder
from musicgen.app.piece import Piece
from musicgen.app.prime import Prime, make_prime, parse_midi, read_bytes, read_prime
from musicgen.app.settings import NAMES, Settings, check_seed, complaints
from musicgen.data_prep import BOS, EOS, Performance, apply_pedal, encode, write_midi
from musicgen.data_prep.stores import StoreError, is_address

if TYPE_CHECKING:
    from musicgen.app.transcription import Transcript
    from musicgen.checkpoints import Released

Music = str | Path | Performance | Piece
Report = Callable[[float], None]


def load(checkpoint: str | Path | None = None) -> Model:
    """Load and verify weights that write notes.

    Args:
        checkpoint: released weights by name, such as "piano" or "maestro-tiny", a folder of weights or its address
            (s3://, gs://, az://, https://); None for the default ones.

    Raises:
        BadInput: there are no such weights, or they make sound (see `load_audio`).
        EnvironmentProblem: they are damaged.
    """
    return Model(generation.open_weights(_on_this_machine(checkpoint)))


def load_audio(checkpoint: str | Path | None = None, codec: str | Path | None = None) -> SoundModel:
    """Load and verify weights that continue recordings, and their codec.

    Args:
        checkpoint, codec: released ones by name, folders or their addresses; None for the default ones.

    Raises:
        BadInput: there are no such weights, or the two do not belong together.
        EnvironmentProblem: they are damaged or not installed.
    """
    return SoundModel(open_audio_model(_on_this_machine(checkpoint), _on_this_machine(codec)))


def transcribe(
    recording: str | Path, *, seconds: float | None = None, on_progress: Report = lambda seconds: None
) -> Transcript:
    """The notes of a recording of a piano, at its own times: what `musicgen transcribe` writes.

    Args:
        recording: a WAV, FLAC, MP3, Ogg or AIFF file.
        seconds: how much of it, from its beginning; None for all.
        on_progress: called with the seconds that have been heard.

    Raises:
        BadInput: it cannot be read, or no piano is heard in it.
        EnvironmentProblem: the extra `transcribe` is not installed.
    """
    from musicgen.app import transcription

    path = Path(recording)
    transcription.survey(path, seconds)  # complain before the slow part
    return transcription.transcribe(path, transcription.open_transcriber(), seconds, on_progress)


def _on_this_machine(weights: str | Path | None) -> str | None:
    """Their name or folder; those at an address are brought.  Raises BadInput."""
    if not is_address(weights):
        return str(weights) if weights is not None else None
    from musicgen.checkpoints.remote import fetch

    try:
        return str(fetch(str(weights), cache_folder("stores") / "weights"))
    except StoreError as error:
        raise BadInput(str(error)) from None


class Model:
    """Weights that continue and invent piano pieces; from `load`.

    The engine starts with the first piece, which takes some seconds; use one `Model` for many pieces.
    """

    def __init__(self, released: Released) -> None:
        self.released = released

    def __repr__(self) -> str:
        return f"<musicgen.Model {self.name} ({self.sha256[:12]}), latents {self.latents}, context {self.context}>"

    @property
    def name(self) -> str:
        """Of the weights."""
        return self.released.name

    @property
    def sha256(self) -> str:
        """Of the weights; equal hashes give equal pieces."""
        return self.released.sha256

    @property
    def latents(self) -> int:
        """M that the model was released with."""
        return self.released.config.latents

    @property
    def context(self) -> int:
        """N that the model was released with."""
        return self.released.config.context

    @functools.cached_property
    def opened(self) -> generation.Model:
        """The engine with these weights; see `musicgen.app.generate`."""
        return generation.open_model(self.released)

    def generate(
        self,
        prime: Music | None = None,
        *,
        seed: int | None = None,
        avoid_copies: int | None = None,
        on_progress: Report = lambda seconds: None,
        **settings: Any,
    ) -> Piece:
        """Continue music, or invent a piece.

        Args:
            prime: what is continued: a MIDI file, the name of a bundled prime such as "bach", notes, or another piece;
                None begins from nothing.
            seed: the same seed gives the same piece; None draws one, which `Piece.provenance` holds.
            avoid_copies: try again when the piece shares this many notes with a training piece.
            on_progress: called with the seconds of new music so far.
            settings: the other fields of `Settings`, such as ``seconds``, ``temperature``, ``end`` or ``latents``.

        Raises:
            BadInput: a setting or the prime cannot be used.
            EnvironmentProblem: neither engine can use this machine.
        """
        if settings.get("num_samples", 1) != 1:
            raise BadInput("generate makes one piece: use generate_many")
        more: dict[str, Any] = {"seed": seed, "avoid_copies": avoid_copies, "on_progress": on_progress}
        return self.generate_many(1, prime, **more, **settings)[0]

    def generate_many(
        self,
        count: int,
        prime: Music | None = None,
        *,
        seed: int | None = None,
        avoid_copies: int | None = None,
        on_progress: Report = lambda seconds: None,
        **settings: Any,
    ) -> list[Piece]:
        """Several pieces at once, in the time of not much more than one: see `generate`.

        on_progress: called with the seconds of new music that all pieces have.
        """
        chosen = Settings.of(**{**settings, "num_samples": count})
        with complaints():
            AVOID_COPIES.check(avoid_copies)
        opening = _prime(prime, chosen.prime_seconds) if prime is not None else None
        request = Request(chosen, opening, check_seed(seed) if seed is not None else None)
        if avoid_copies is None:
            return self._pieces(generation.generate(request, self.opened, on_progress), opening)
        from musicgen.app.evaluation.memorisation_report import open_index
        from musicgen.app.novelty import generate_avoiding_copies

        index = open_index(None, str(self.released.folder))
        return self._pieces(generate_avoiding_copies(request, self.opened, index, avoid_copies, on_progress), opening)

    def _pieces(self, result: generation.Result, opening: Prime | None) -> list[Piece]:
        return [dataclasses.replace(piece, filler=self.fill) for piece in to_pieces(result, opening)]

    def fill(self, song: Music, start: float | None = None, stop: float | None = None, **how: Any) -> Piece:
        """Write a passage of a song anew, so that it fits what is around it; all else stays as it is.

        Args:
            song: a MIDI file, the name of a bundled prime, notes, or another piece.
            start, stop: seconds between which it is written anew; None for the song's beginning or end.
            how: ``pitches`` (lowest, highest), ``hand`` "left" or "right", ``keep`` a MIDI file and ``keep_track`` a
                name of what stays, ``amount`` of the notes that goes, ``pedal`` "keep" or "new", ``seed``; and fields
                of `Settings`.  Of several samples the likeliest comes back.

        Raises:
            BadInput: the region or a setting cannot be used, or the weights have not learnt to fill.
            EnvironmentProblem: neither engine can use this machine.
        """
        if how.get("keep") is not None:
            how["keep"] = read_bytes(Path(how["keep"]))
        return self._fill(filling.request_fill, song, start=start, stop=stop, **how)

    def accompany(self, melody: Music, **how: Any) -> Piece:
        """Write an accompaniment: as `fill`, but all notes of the melody stay, to the tick.

        how: ``hand`` "left" or "right", ``track`` the name of the one that is accompanied, ``start``, ``stop``,
            ``seed``, and fields of `Settings`.
        """
        return self._fill(filling.request_accompaniment, melody, **how)

    def _fill(self, ask: Callable[..., filling.FillRequest], song: Music, **how: Any) -> Piece:
        settings = Settings.of(**{name: how.pop(name) for name in NAMES if name in how})
        seed = how.pop("seed", None)
        chosen = check_seed(seed) if seed is not None else generation.new_seed()
        try:
            request = ask(_file(song), settings=settings, seed=chosen, **how)
        except TypeError as error:
            raise BadInput(f"a fill has no such option: {str(error).partition('() ')[2]}") from None
        best = filling.fill(request, self.opened, score=settings.num_samples > 1).fills[0]
        return Piece(best.music, best.midi, best.provenance, self.fill)

    def tune(
        self,
        midi_dir: str | Path,
        out: str | Path | None = None,
        *,
        style: str | None = None,
        seed: int = 0,
        say: Callable[[str], None] = lambda line: None,
        on_step: Callable[[int, int, float], None] = lambda step, steps, nats: None,
    ) -> Model:
        """Teach these weights a folder of MIDI files: what `musicgen train --from` does.

        Args:
            midi_dir: the folder.
            out: where the new weights go; None is beside it, my-music-model for my-music.
            style: the name of a new kind of music, which alone is taught.
            seed: the same seed gives the same weights on one machine.
            say: given lines about the music and the run.
            on_step: called with the steps done, all steps and nats a token.

        Raises:
            BadInput: the weights do not come with the package, or the music or `out` cannot be used.
        """
        from musicgen.app.tuning.job import Teaching, teach

        folder = Path(midi_dir)
        made = Path(out) if out is not None else folder.with_name(f"{folder.absolute().name}-model")
        teach(Teaching(self.name, folder, made, style, check_seed(seed), say=say, on_step=on_step))
        return load(made)

    def score(
        self,
        music: Music | Sequence[Music],
        *,
        latents: int | None = None,
        context: int | None = None,
        stride: int | None = None,
    ) -> Score:
        """How well the model predicts music: what `musicgen evaluate` says of it.

        Args:
            music: a MIDI file, notes or a piece, or several of them.
            latents, context, stride: M, N and how many targets each window scores; the model's own, and M/2.

        Raises:
            BadInput: the music or a setting cannot be used.
        """
        several = [music] if isinstance(music, str | Path | Performance | Piece) else list(music)
        if not several:
            raise BadInput("there is nothing to score: give a MIDI file")
        pieces = [np.concatenate([[BOS], encode(apply_pedal(_music(one))), [EOS]]).astype(np.int16) for one in several]
        scored = score(self.released, pieces, latents=latents, context=context, stride=stride)
        assert scored is not None  # nobody stopped it
        return scored

    def logits(
        self, tokens: Sequence[int] | np.ndarray, *, latents: int | None = None, context: int | None = None
    ) -> np.ndarray:
        """The model's predictions as float32 [M, V]: row i, of the token that follows the i-th of the last M tokens.

        Args:
            tokens: int [T], BOS first, as `musicgen.data_prep.encode(notes, bos=True)` gives them.
            latents: M, how many of the last tokens get a prediction; the model's own, and at most T.
            context: N, how many tokens the model looks back on; the model's own.

        Raises:
            BadInput: no tokens, or ones that the vocabulary does not have, or M > min(N, T).
        """
        from musicgen.data_prep.rules.preamble import preamble
        from musicgen.model.evaluate import logits_of

        row, config = np.asarray(tokens), self.released.config
        integers = row.ndim == 1 and row.size > 0 and row.dtype.kind in "iu"
        if not integers or row.min() < 0 or row.max() >= config.vocab_size:
            raise BadInput(f"tokens must be a row of integers from 0 to {config.vocab_size - 1}, BOS first")
        inputs = np.concatenate([preamble(), row])[-(context or config.context) :]
        most = min(len(row), len(inputs))
        M = min(config.latents, most) if latents is None else latents
        if not 1 <= M <= most:
            raise BadInput(f"latents must be between 1 and the number of tokens in the context ({most}), not {M}")
        return np.asarray(logits_of(self.released.params, inputs.astype(np.int32)[None], config, M)[0])


class SoundModel:
    """Weights that continue recordings; from `load_audio`."""

    def __init__(self, opened: AudioModel) -> None:
        self.opened = opened

    def __repr__(self) -> str:
        return f"<musicgen.SoundModel {self.opened.released.name} ({self.opened.released.sha256[:12]})>"

    def generate(self, prime: str | Path | None = None, *, seed: int | None = None, **settings: Any) -> Sound:
        """Continue a recording, or invent one.

        Args:
            prime: a WAV, FLAC, MP3, Ogg or AIFF file; None begins from nothing.
            seed: the same seed gives the same sound; None draws one, which `Sound.facts` holds.
            settings: the other fields of `Settings` but ``end``; latents and context count codes.

        Raises:
            BadInput: a setting or the recording cannot be used.
            EnvironmentProblem: the engine cannot use this machine.
        """
        if settings.get("num_samples", 1) != 1:
            raise BadInput("generate makes one sound: use generate_many")
        return make_sounds(self.opened, prime, seed, Settings.of(**settings))[0]

    def generate_many(
        self, count: int, prime: str | Path | None = None, *, seed: int | None = None, **settings: Any
    ) -> list[Sound]:
        """Several sounds at once: see `generate`."""
        return make_sounds(self.opened, prime, seed, Settings.of(**{**settings, "num_samples": count}))


def _music(music: Music) -> Performance:
    if isinstance(music, Performance):
        return music
    if isinstance(music, Piece):
        return music.music
    path = find_prime(str(music))
    return parse_midi(read_bytes(path), path)[0]


def _file(music: Music) -> bytes:
    """As a MIDI file."""
    if isinstance(music, Performance):
        return write_midi(music)
    return music.midi if isinstance(music, Piece) else read_bytes(find_prime(str(music)))


def _prime(music: Music, seconds: float | None) -> Prime:
    """The opening of a file by its own bytes, or of notes by those of the file they would be in."""
    if isinstance(music, str | Path):
        return read_prime(find_prime(str(music)), seconds)[0]
    data = _file(music)
    performance, _ = parse_midi(data, Path("the prime"))
    return make_prime(performance, seconds, hashlib.sha256(data).hexdigest())
