"""`musicgen prime.wav --out new.wav --as sound`: the part of the main command that continues recordings as sound."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from musicgen.app.errors import BadInput
from musicgen.app.output import AUDIO_SUFFIXES, MIDI_SUFFIXES, check_output, numbered
from musicgen.app.settings import ANY, Settings
from musicgen.model.stop import Stop

NOTES, SOUND = "notes", "sound"  # the two ways in which a recording goes on


def asked_for(arguments: argparse.Namespace) -> bool:
    """Whether sound is asked for that continues a recording as sound, or comes from nothing.

    Raises BadInput for a way to go on that does not fit the rest.
    """
    way, prime = arguments.way, arguments.prime
    recording = prime is not None and is_recording(prime)
    if way is not None and not recording:
        raise BadInput("--as says how a recording is continued: musicgen recording.wav --out new.wav --as notes")
    by_codes = arguments.audio_model or (recording and arguments.codec is not None)
    if by_codes and way == NOTES:
        raise BadInput("--audio-model and --codec go on as sound: leave them out, or --as notes")
    if not recording or by_codes:
        return bool(arguments.audio_model or by_codes)
    from musicgen.app.transcription import is_installed

    return (way or (NOTES if is_installed() else SOUND)) == SOUND


def is_recording(prime: str) -> bool:
    """By its name, also where nothing here reads it: its reader says so better than that of MIDI."""
    suffix = Path(prime).suffix.lower()
    if suffix in ("", *MIDI_SUFFIXES):  # nearly always: a complaint about a mistyped path needs no NumPy
        return False
    from musicgen.data_prep.audio import AUDIO_SUFFIXES, OTHER_SUFFIXES

    return suffix in AUDIO_SUFFIXES + OTHER_SUFFIXES


def run(arguments: argparse.Namespace, settings: Settings, seed: int | None) -> int:
    """Check everything that can be checked at once, then read the recording, continue it, and report."""
    began = time.perf_counter()
    _refuse(arguments, settings)
    outs = _outputs(arguments, settings)

    from musicgen.app.audio.continuation import continue_recording, facts
    from musicgen.app.audio.model import open_audio_model
    from musicgen.app.audio.prompt import load_prompt
    from musicgen.app.generate import new_seed
    from musicgen.app.progress import Progress

    with (
        Progress(settings.seconds, "s of sound", quiet=arguments.quiet, realtime=True) as progress,
        Progress(0, f"s of {arguments.prime}", quiet=arguments.quiet, realtime=True) as listening,
    ):
        progress.note("loading the model ...")
        model = open_audio_model(arguments.checkpoint, arguments.codec)
        released = model.released.config
        resolved = settings.resolve(released.latents * model.codebooks, released.context * model.codebooks)
        progress.note("listening ..." if arguments.prime is not None else "starting ...")
        assert resolved.context is not None
        frames = resolved.context // model.codebooks
        prompt = (
            None
            if arguments.prime is None
            else load_prompt(Path(arguments.prime), model, settings.prime_seconds, frames, listening.update)
        )
        chosen = new_seed() if seed is None else seed
        with Stop() as stop:
            made = continue_recording(model, prompt, resolved, chosen, outs, progress.update, stop)
    wall, seconds = time.perf_counter() - began, round(made.seconds, 2) if stop else settings.seconds
    if prompt is not None and prompt.remarks and not arguments.quiet:
        print(f"musicgen: {arguments.prime}: {'; '.join(prompt.remarks)}", file=sys.stderr)
    if arguments.json:
        report = {"out": [str(out) for out in outs], **facts(model, made), "seconds": seconds}
        report |= {"stopped": True} if stop else {}
        report |= {"prime_seconds": round(prompt.seconds, 3) if prompt is not None else 0.0}
        report |= {"wall_seconds": round(wall, 3), "first_sound_seconds": round(made.first_sound_at - began, 3)}
        report |= {"latents": resolved.latents, "context": resolved.context}
        print(json.dumps(report))
    if not arguments.quiet:
        after = f" after {prompt.seconds:.1f} s of {Path(arguments.prime).name}" if prompt is not None else ""
        names = ("stopped; " if stop else "") + ", ".join(map(str, outs))
        print(
            f"musicgen: {names}: {seconds:g} s of new sound{after}, seed {made.seed},"
            f" {model.released.name}, {wall:.1f} s",
            file=sys.stderr,
        )
    return stop.exit_code


def _refuse(arguments: argparse.Namespace, settings: Settings) -> None:
    """Raise BadInput for what makes no sense with a recording."""
    prime = arguments.prime
    if prime is not None and not is_recording(prime):
        raise BadInput(
            f"--audio-model continues recordings, and {prime} is not one: leave --audio-model out, or make audio of it"
            " with musicgen render first"
        )
    if prime is None and (settings.prime_seconds is not None or not settings.keep_prime):
        raise BadInput("--prime-seconds and --no-prime need a prime: musicgen prime.wav --out new.wav")
    for option, given in {
        "--end": arguments.end,
        "--style": arguments.style != ANY,
        "--audio": arguments.audio is not None,
        "--soundfont": arguments.soundfont is not None,
        "--avoid-copies": arguments.avoid_copies is not None,
    }.items():
        if given:
            raise BadInput(f"{option} is for MIDI only: leave it out when continuing a recording as sound")


def _outputs(arguments: argparse.Namespace, settings: Settings) -> list[Path]:
    from musicgen.app.sound_file import check_writable

    if Path(arguments.out).suffix.lower() in MIDI_SUFFIXES:
        from musicgen.data_prep.extras import install_command

        raise BadInput(
            f"as sound, a recording continues as audio, not as MIDI: --out {arguments.out} must end in"
            f" {', '.join(AUDIO_SUFFIXES[:-1])} or {AUDIO_SUFFIXES[-1]}; as notes it may be MIDI: --as notes, after"
            f" {install_command('transcribe')}"
        )
    outs = [check_output(out, AUDIO_SUFFIXES, "--out") for out in numbered(Path(arguments.out), settings.num_samples)]
    source = Path(arguments.prime) if arguments.prime is not None else None
    for out in outs:
        check_writable(out)
        if source is not None and source.exists() and out.exists() and out.samefile(source):
            raise BadInput(f"--out {out} is the prime itself: choose another name")
    return outs
