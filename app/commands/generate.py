"""`musicgen [generate] [prime.mid] --out new.mid`: the main job as a command.  For recordings see recording.py."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.app.arguments import add_flags
from musicgen.app.commands import recording as recording_command
from musicgen.app.controls import AVOID_COPIES, CONTROLS
from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.output import AUDIO_SUFFIXES, MIDI_SUFFIXES, check_output, numbered, write_bytes
from musicgen.app.settings import NAMES, Settings, check_seed, complaints

if TYPE_CHECKING:
    from musicgen.app.generate import Result, Sample
    from musicgen.app.prime import Prime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, the controls, and how to report."""
    add = parser.add_argument
    add(
        "prime",
        nargs="?",
        metavar="prime.mid",
        help="the music to continue: a MIDI file, a bundled opening by name, or a recording (.wav ...)",
    )
    add("--out", required=True, metavar="new.mid", help="where the piece goes; several become new-1.mid, new-2.mid ...")
    add("--audio", metavar="new.wav", help="also write it as sound: .wav, .flac, .ogg or .mp3")
    add_flags(parser, *CONTROLS)
    add(
        "--checkpoint",
        metavar="NAME",
        help="published weights by name, or a folder of weights (default: maestro-piano)",
    )
    add("--audio-model", action="store_true", help="use the audio model; an audio prime implies it")
    add("--codec", metavar="NAME", help="the codec of the audio model (default: piano)")
    add("--soundfont", metavar="FILE.sf2", help="the piano for --audio (default: the installed one)")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Check everything that can be checked at once, then do the work."""
    began = time.perf_counter()
    settings = Settings.of(**{name: getattr(arguments, name) for name in NAMES})
    with complaints():
        AVOID_COPIES.check(arguments.avoid_copies)
    seed = check_seed(arguments.seed) if arguments.seed is not None else None
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
    prime = _read(source, settings, arguments.quiet) if source is not None else None
    result = _generate(arguments, settings, prime, seed)
    _write(result, prime, outs, audios, arguments)
    _report(result, outs, audios, prime, arguments, began)
    return 0


def _prime_path(arguments: argparse.Namespace, settings: Settings) -> Path | None:
    if arguments.prime is None:
        if settings.prime_seconds is not None or not settings.keep_prime:
            raise BadInput("--prime-seconds and --no-prime need a prime: musicgen prime.mid --out new.mid")
        return None
    from musicgen.app.bundled import find_prime

    return find_prime(arguments.prime)


def _outputs(arguments: argparse.Namespace, settings: Settings, source: Path | None) -> tuple[list[Path], list[Path]]:
    """Where the pieces and their sound go, after all checks."""
    outs = numbered(Path(arguments.out), settings.num_samples)
    outs = [check_output(out, MIDI_SUFFIXES, "--out") for out in outs]
    audios = numbered(Path(arguments.audio), settings.num_samples) if arguments.audio is not None else []
    audios = [check_output(audio, AUDIO_SUFFIXES, "--audio") for audio in audios]
    for out in outs:
        if source is not None and source.exists() and out.exists() and out.samefile(source):
            raise BadInput(f"--out {out} is the prime itself: choose another name")
    return outs, audios


def _read(source: Path, settings: Settings, quiet: bool) -> Prime:
    from musicgen.app.prime import read_prime

    prime, remarks = read_prime(source, settings.prime_seconds)
    if remarks and not quiet:
        print(f"musicgen: {source}: {'; '.join(remarks)}", file=sys.stderr)
    return prime


def _generate(arguments: argparse.Namespace, settings: Settings, prime: Prime | None, seed: int | None) -> Result:
    from musicgen.app.evaluation.memorisation_report import open_index
    from musicgen.app.generate import Request, generate, open_model, open_weights
    from musicgen.app.novelty import compare_with_training, generate_avoiding_copies
    from musicgen.app.progress import Progress

    quiet, limit = arguments.quiet, arguments.avoid_copies
    with Progress(settings.seconds, "s of music", quiet=quiet, realtime=True) as progress:
        progress.note("loading the model ...")
        released = open_weights(arguments.checkpoint)
        settings.resolve(released.config.latents, released.config.context)  # complain before the slow part
        index = open_index(None, arguments.checkpoint) if limit is not None else None
        model = open_model(released)
        progress.note("reading the prime ..." if prime is not None else "starting ...")

        request = Request(settings, prime, seed)
        if index is not None:
            return generate_avoiding_copies(
                request, model, index, limit, progress.update, lambda pieces: progress.note(f"{pieces} drawn again ...")
            )
        result = generate(request, model, progress.update)
        # The index is read only now: it takes a second, for which the first note need not wait.
        progress.note("comparing with the training set ...")
        result, remark = compare_with_training(result, arguments.checkpoint)
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
        for sample, out in zip(result.samples, outs, strict=True):
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

    more = {"soundfont": arguments.soundfont, "comment": summary_line(dataclasses.asdict(sample.provenance))}
    with Progress(sample.music.duration, "s of sound", quiet=arguments.quiet, realtime=True) as progress:
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
        print(json.dumps(report))
    if not arguments.quiet:
        after = f" after {prime.seconds:.1f} s of {Path(arguments.prime).name}" if prime is not None else ""
        names = ", ".join(str(path) for path in [*outs, *audios])
        lengths = [sample.provenance.ended or result.settings.seconds for sample in result.samples]
        shown = ", ".join(f"{seconds:g}" for seconds in lengths) if result.settings.end else f"{lengths[0]:g}"
        print(
            f"musicgen: {names}: {shown} s of new music{after}, {notes} notes, seed {result.seed},"
            f" {first.checkpoint}, {wall:.1f} s",
            file=sys.stderr,
        )
        _warn(result, outs)


def _warn(result: Result, outs: list[Path]) -> None:
    """A line for every piece that has too much in common with a training piece."""
    from musicgen.app.evaluation.memorisation_report import THRESHOLD

    for sample, out in zip(result.samples, outs, strict=True):
        match = sample.provenance.memorisation
        if match is not None and match["length"] >= THRESHOLD:
            print(
                f"musicgen: {out} shares {match['length']} notes with {match['title'] or match['name']}:"
                f" --avoid-copies {THRESHOLD} avoids that",
                file=sys.stderr,
            )
