"""`musicgen [generate] [prime.mid ...] --out new.mid`: the main job as a command.  For recordings see recording.py."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import add_checkpoint, add_flags
from musicgen.app.commands import batch as batch_command
from musicgen.app.commands import recording as recording_command
from musicgen.app.controls import AVOID_COPIES, CONTROLS
from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.output import AUDIO_SUFFIXES, MIDI_SUFFIXES, STDOUT, check_output, make_folder, numbered, write_bytes
from musicgen.app.settings import NAMES, Settings, check_seed, complaints
from musicgen.model.stop import AT_ONCE, Stop

if TYPE_CHECKING:
    from musicgen.app.generate import Model, Request, Result, Sample
    from musicgen.app.prime import Prime
    from musicgen.data_prep.evaluation.memorisation_index import Index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, the controls, and how to report."""
    add = parser.add_argument
    add(
        "prime",
        nargs="*",
        metavar="prime.mid",
        help="the music to continue: a MIDI file, - for standard input, a bundled opening by name, or a recording"
        " (.wav ...); several are continued one after the other",
    )
    add(
        "-o",
        "--out",
        metavar="new.mid",
        help="where the piece goes, - for standard output; several become new-1.mid, new-2.mid ...",
    )
    add("--out-dir", metavar="DIR", help="instead of --out: a folder where pieces get the names of their primes")
    add(
        "--audio",
        metavar="new.wav",
        help="also write it as sound: .wav, .flac, .ogg or .mp3; with --out-dir the type alone",
    )
    batch_command.add_arguments(parser)
    add_flags(parser, *CONTROLS)
    add_checkpoint(parser)
    add(
        "--as",
        dest="way",
        choices=(recording_command.NOTES, recording_command.SOUND),
        help="continue a recording as notes, which are transcribed from it, or as sound (default: notes, where the"
        " extra transcribe is installed)",
    )
    add("--audio-model", action="store_true", help="use the audio model; an audio prime implies it")
    add("--codec", metavar="NAME", help="the codec of the audio model (default: piano)")
    add("--soundfont", metavar="FILE.sf2", help="the piano for --audio (default: the installed one)")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Continue each prime; one that cannot be continued is told, and the others are."""
    settings = Settings.of(**{name: getattr(arguments, name) for name in NAMES})
    with complaints():
        AVOID_COPIES.check(arguments.avoid_copies)
    seed = check_seed(arguments.seed) if arguments.seed is not None else None
    if batch_command.asked_for(arguments):
        return batch_command.run(arguments)
    jobs, load = _jobs(arguments), _loader(arguments, settings)
    if len(jobs) == 1:
        return _make(jobs[0], settings, seed, load)
    failures = 0
    for job in jobs:
        try:
            if stopped := _make(job, settings, seed, load):
                return stopped
        except BadInput as error:
            failures += 1
            print(f"musicgen: error: {error}", file=sys.stderr)
    if failures:
        rest = f"; the others are in {arguments.out_dir}" if failures < len(jobs) else ""
        raise BadInput(f"{failures} of {len(jobs)} primes could not be continued{rest}")
    return 0


def _jobs(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of each prime for itself, with where its piece goes."""
    primes = arguments.prime or [None]
    if arguments.out_dir is None:
        if arguments.out is None:
            raise BadInput("--out says where the piece goes: musicgen prime.mid --out new.mid")
        if len(primes) > 1:
            raise BadInput(f"{len(primes)} primes make {len(primes)} pieces: give --out-dir DIR instead of --out")
        return [argparse.Namespace(**{**vars(arguments), "prime": primes[0]})]
    if arguments.out is not None:
        raise BadInput("--out names a file and --out-dir a folder: give one of them")
    if primes.count("-") > 1:
        raise BadInput("- is standard input, which can be read once: give it once")
    folder = make_folder(arguments.out_dir, "--out-dir")
    names = ["new" if prime is None or prime == "-" else Path(prime).stem for prime in primes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"two primes are called {twice}: continue them into two folders")
    jobs = []
    for prime, name in zip(primes, names, strict=True):
        job = argparse.Namespace(**{**vars(arguments), "prime": prime})
        job.out = str(folder / f"{name}{'.wav' if recording_command.asked_for(job) else '.mid'}")
        if arguments.audio is not None:
            job.audio = str(folder / f"{name}.{arguments.audio.removeprefix('.')}")
        jobs.append(job)
    return jobs


def _make(
    arguments: argparse.Namespace, settings: Settings, seed: int | None, load: Callable[[], tuple[Model, Index | None]]
) -> int:
    """Check everything that can be checked at once, then do the work for one prime."""
    began = time.perf_counter()
    if recording_command.asked_for(arguments):
        return recording_command.run(arguments, settings, seed)
    if arguments.codec is not None:
        raise BadInput("--codec is for audio only: musicgen prime.wav --out new.wav")
    source = _prime_path(arguments, settings)
    outs, audios = _outputs(arguments, settings, source)
    if audios:
        from musicgen.app.render import check_sound
        from musicgen.app.soundfont import find_soundfont

        check_sound("midirenderer", audios[0])
        find_soundfont(arguments.soundfont)
    prime = _read(source, settings, arguments) if source is not None else None
    from musicgen.app.generate import Request

    with Stop() as stop:
        result = _generate(arguments, Request(settings, prime, seed), load, stop)
    _write(result, prime, outs, audios, arguments)
    _report(result, outs, audios, prime, arguments, began)
    return stop.exit_code


def _prime_path(arguments: argparse.Namespace, settings: Settings) -> Path | None:
    if arguments.prime is None:
        if settings.prime_seconds is not None or not settings.keep_prime:
            raise BadInput("--prime-seconds and --no-prime need a prime: musicgen prime.mid --out new.mid")
        return None
    from musicgen.app.bundled import find_prime

    return find_prime(arguments.prime)


def _outputs(arguments: argparse.Namespace, settings: Settings, source: Path | None) -> tuple[list[Path], list[Path]]:
    """Where the pieces and their sound go, after all checks."""
    sound, out = arguments.audio, arguments.out
    if _hears_notes(arguments) and Path(out).suffix.lower() in AUDIO_SUFFIXES:
        if sound is not None:
            raise BadInput(f"--out {out} is sound already: leave --audio out, or give --out new.mid")
        sound, out = out, None
    outs = numbered(Path(out), settings.num_samples) if out is not None else []
    outs = [check_output(out, MIDI_SUFFIXES, "--out") for out in outs]
    if STDOUT in outs and (arguments.json or arguments.audio is not None):
        raise BadInput("--out - writes the piece to standard output: --json and --audio need --out new.mid")
    audios = numbered(Path(sound), settings.num_samples) if sound is not None else []
    audios = [check_output(audio, AUDIO_SUFFIXES, "--audio" if outs else "--out") for audio in audios]
    for target in [*outs, *audios]:
        if source is not None and source.exists() and target.exists() and target.samefile(source):
            raise BadInput(f"--out {target} is the prime itself: choose another name")
    return outs, audios


def _hears_notes(arguments: argparse.Namespace) -> bool:
    """Whether the prime is a recording whose notes go on: as sound it has gone another way (see `_make`)."""
    return arguments.prime is not None and recording_command.is_recording(arguments.prime)


def _read(source: Path, settings: Settings, arguments: argparse.Namespace) -> Prime:
    from musicgen.app.prime import read_prime

    quiet = arguments.quiet
    if _hears_notes(arguments):
        from musicgen.app.commands.transcribe import listen

        return listen(source, settings.prime_seconds, quiet).as_prime(settings.prime_seconds)
    prime, remarks = read_prime(source, settings.prime_seconds)
    if remarks and not quiet:
        print(f"musicgen: {source}: {'; '.join(remarks)}", file=sys.stderr)
    return prime


def _loader(arguments: argparse.Namespace, settings: Settings) -> Callable[[], tuple[Model, Index | None]]:
    """What loads the model, and the index of its training set if copies are to be avoided, when first called."""

    @functools.cache
    def load() -> tuple[Model, Index | None]:
        from musicgen.app.evaluation.memorisation_report import open_index
        from musicgen.app.generate import open_model, open_weights

        released = open_weights(arguments.checkpoint)
        settings.resolve(released.config.latents, released.config.context)  # complain before the slow part
        index = open_index(None, arguments.checkpoint) if arguments.avoid_copies is not None else None
        return open_model(released), index

    return load


def _generate(
    arguments: argparse.Namespace, request: Request, load: Callable[[], tuple[Model, Index | None]], stop: Stop
) -> Result:
    from musicgen.app.evaluation.memorisation_report import find_index
    from musicgen.app.generate import generate
    from musicgen.app.novelty import compare_with_training, generate_avoiding_copies
    from musicgen.app.progress import Progress

    quiet, limit = arguments.quiet, arguments.avoid_copies

    def make() -> tuple[Result, str | None]:
        progress.note("loading the model ...")
        model, index = load()
        progress.note("reading the prime ..." if request.prime is not None else "starting ...")
        if index is not None:

            def on_again(pieces: int) -> None:
                progress.note(f"{pieces} drawn again ...")

            update = progress.update
            return generate_avoiding_copies(request, model, index, limit, update, on_again, stop.asked), None
        result = generate(request, model, progress.update, stop.asked)
        # The index is read only now: it takes a second, for which the first note need not wait.
        if find_index(arguments.checkpoint) is not None:
            progress.note("comparing with the training set ...")
        return compare_with_training(result, arguments.checkpoint)

    with Progress(request.settings.seconds, "s of music", quiet=quiet, realtime=True) as progress:
        result, remark = stop.wait_for(make, patience=AT_ONCE, keeps=lambda: progress.begun)
    if remark is not None and not quiet:
        print(f"musicgen: {remark}", file=sys.stderr)
    return result


def _write(
    result: Result, prime: Prime | None, outs: list[Path], audios: list[Path], arguments: argparse.Namespace
) -> None:
    """First all MIDI files, then all sound; if something fails, say what is there."""
    from musicgen.app.generate import midi_file
    from musicgen.app.prime import pack

    packed = pack(prime) if prime is not None else None
    if prime is not None and packed is None and not arguments.quiet:
        print(
            "musicgen: the prime is too long to be stored in the output; replay will need --prime FILE", file=sys.stderr
        )
    written: list[Path] = []
    try:
        for sample, out in zip(result.samples, outs, strict=False):
            write_bytes(out, midi_file(sample, packed))
            written.append(out)
        for sample, audio in zip(result.samples, audios, strict=False):
            _render(sample, audio, arguments)
            written.append(audio)
    except MusicgenError as error:
        there = f" ({', '.join(map(str, written))} written)" if written else ""
        raise type(error)(f"{error}{there}") from None


def _render(sample: Sample, audio: Path, arguments: argparse.Namespace) -> None:
    from musicgen.app.progress import Progress
    from musicgen.app.provenance import summary_line
    from musicgen.app.render import render

    facts = sample.provenance
    more = {"soundfont": arguments.soundfont, "comment": summary_line(dataclasses.asdict(facts))}
    with Progress(sample.music.duration, "s of sound", quiet=arguments.quiet, realtime=True) as progress:
        if _hears_notes(arguments) and facts.settings.keep_prime:
            from musicgen.app.crossfade import continue_sound

            joined = Path(arguments.prime), sample.music, facts.join_seconds, audio
            continue_sound(*joined, on_progress=progress.update, **more)
        else:
            render(sample.music, audio, on_progress=progress.update, **more)


def _report(
    result: Result,
    outs: list[Path],
    audios: list[Path],
    prime: Prime | None,
    arguments: argparse.Namespace,
    began: float,
) -> None:
    """The JSON object on stdout, or a line for a person on stderr."""
    wall = time.perf_counter() - began
    first = result.samples[0].provenance
    tokens = sum(sample.tokens.size for sample in result.samples)
    notes = sum(sample.notes for sample in result.samples)
    if arguments.json:
        report: dict[str, Any] = {
            "out": [str(out) for out in outs],
            "audio": [str(audio) for audio in audios],
            "seed": result.seed,
            "checkpoint": first.checkpoint,
            "checkpoint_sha256": first.checkpoint_sha256,
            "backend": first.backend,
            "tokens": tokens,
            "notes": notes,
            "seconds": result.settings.seconds,
            "prime_seconds": prime.seconds if prime is not None else 0.0,
            "wall_seconds": round(wall, 3),
            "tokens_per_second": round(result.tokens_per_second, 2),
            "first_note_seconds": round(result.first_note_at - began, 3),
            "latents": result.settings.latents,
            "context": result.settings.context,
            "ended": [sample.provenance.ended for sample in result.samples],
            "memorisation": [sample.provenance.memorisation for sample in result.samples],
        }
        print(json.dumps(report | ({"stopped": True} if first.asked is not None else {})))
    if not arguments.quiet:
        from musicgen.data_prep.errors import counted

        source = "standard input" if arguments.prime == "-" else Path(arguments.prime or "").name
        after = f" after {prime.seconds:.1f} s of {source}" if prime is not None else ""
        names = ", ".join(str(path) for path in [*outs, *audios])
        names = f"stopped; {names}" if first.asked is not None else names
        lengths = [sample.provenance.ended or result.settings.seconds for sample in result.samples]
        shown = ", ".join(f"{seconds:g}" for seconds in lengths) if result.settings.end else f"{lengths[0]:g}"
        print(
            f"musicgen: {names}: {shown} s of new music{after}, {counted(notes, 'note')}, seed {result.seed},"
            f" {first.checkpoint}, {wall:.1f} s",
            file=sys.stderr,
        )
        if prime is None:
            _tell_beat(result, outs)
        _warn(result, outs or audios)


def _tell_beat(result: Result, outs: list[Path]) -> None:
    """A line for every MIDI file from nothing, as music programs show its tempo as if it were certain."""
    from musicgen.app.bars import hear_beat

    for sample, out in zip(result.samples, [out for out in outs if out != STDOUT], strict=False):
        print(f"musicgen: {out}: {hear_beat(sample.music)[1]}", file=sys.stderr)


def _warn(result: Result, names: list[Path]) -> None:
    """A line for every piece that has too much in common with a training piece."""
    from musicgen.app import novelty
    from musicgen.app.evaluation.memorisation_report import THRESHOLD

    for sample, out in zip(result.samples, names, strict=True):
        shares, title = novelty.nearest_piece(sample)
        if shares >= THRESHOLD:
            print(
                f"musicgen: {out} shares {shares} notes with {title}: --avoid-copies {THRESHOLD} avoids that",
                file=sys.stderr,
            )
