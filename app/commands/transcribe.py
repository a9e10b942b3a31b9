"""`musicgen transcribe recording.flac --out piece.mid`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.app.output import MIDI_SUFFIXES, STDOUT, check_output, write_bytes

if TYPE_CHECKING:
    from musicgen.app.transcription import Transcript


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File and output."""
    add = parser.add_argument
    add("recording", metavar="recording.flac", help="the recording of a piano: .wav, .flac, .mp3, .ogg ...")
    add("-o", "--out", required=True, metavar="piece.mid", help="where the notes go, - for standard output")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Listen, write down."""
    out = check_output(arguments.out, MIDI_SUFFIXES, "--out")
    from musicgen.app.errors import BadInput

    if out == STDOUT and arguments.json:
        raise BadInput("--out - writes the notes to standard output: --json needs --out piece.mid")
    began = time.perf_counter()
    transcript = listen(Path(arguments.recording), None, arguments.quiet)
    write_bytes(out, transcript.midi)
    wall, notes = time.perf_counter() - began, len(transcript.music)
    if arguments.json:
        report = {"out": str(out), "seconds": round(transcript.seconds, 3), "notes": notes}
        print(json.dumps(report | {"remarks": list(transcript.remarks), "wall_seconds": round(wall, 3)}))
    if not arguments.quiet:
        from musicgen.data_prep.errors import counted

        heard = f"{counted(notes, 'note')} in {transcript.seconds:.1f} s of {Path(arguments.recording).name}"
        print(f"musicgen: {out}: {heard}, {wall:.1f} s", file=sys.stderr)
    return 0


def listen(path: Path, seconds: float | None, quiet: bool) -> Transcript:
    """The notes of a recording, or of its first ``seconds``, with progress and remarks on stderr."""
    from musicgen.app.progress import Progress
    from musicgen.app.transcription import open_transcriber, survey, transcribe

    length = survey(path, seconds).seconds  # complain before the slow part
    with Progress(round(length, 1), f"s of {path.name}", quiet=quiet, realtime=True) as progress:
        progress.note("loading the transcriber ...")
        hear = open_transcriber()
        progress.note("listening ...")
        transcript = transcribe(path, hear, seconds, progress.update)
    if transcript.remarks and not quiet:
        print(f"musicgen: {path}: {'; '.join(transcript.remarks)}", file=sys.stderr)
    return transcript
