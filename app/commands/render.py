"""`musicgen render piece.mid --out piece.wav`."""

from __future__ import annotations

import argparse
import json
import sys
import time

from musicgen.app.bundled import find_prime
from musicgen.app.output import AUDIO_SUFFIXES, check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File, output, soundfont and renderer."""
    add = parser.add_argument
    add("piece", metavar="piece.mid", help="the MIDI file to play")
    add("-o", "--out", required=True, metavar="piece.wav", help="where the sound goes: .wav, .flac, .ogg or .mp3")
    add("--soundfont", metavar="FILE.sf2", help="the piano (default: the installed one)")
    add(
        "--synth",
        type=lambda name: {"wheel": "midirenderer"}.get(name, name),  # its name in 0.1
        choices=("midirenderer", "fluidsynth"),
        default="midirenderer",
        help="what plays it: the bundled renderer, or the fluidsynth program (default: %(default)s)",
    )
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--quiet", action="store_true", help="no progress and no summary")


def run(arguments: argparse.Namespace) -> int:
    """Read, render, write."""
    source = find_prime(arguments.piece)
    out = check_output(arguments.out, AUDIO_SUFFIXES, "--out")
    from musicgen.app.prime import parse_midi, read_bytes
    from musicgen.app.progress import Progress
    from musicgen.app.provenance import summary_in
    from musicgen.app.render import check_sound, render
    from musicgen.data_prep.midi import read_text

    check_sound(arguments.synth, out)
    data = read_bytes(source)
    music, remarks = parse_midi(data, source)
    more = {"soundfont": arguments.soundfont, "synth": arguments.synth, "comment": summary_in(read_text(data))}
    if remarks and not arguments.quiet:
        print(f"musicgen: {source}: {'; '.join(remarks)}", file=sys.stderr)
    began = time.perf_counter()
    with Progress(music.duration, "s of sound", quiet=arguments.quiet, realtime=True) as progress:
        seconds = render(music, out, on_progress=progress.update, **more)
    wall = time.perf_counter() - began
    speed = seconds / wall
    if arguments.json:
        print(json.dumps({"out": str(out), "seconds": round(seconds, 3), "wall_seconds": round(wall, 3)}))
    if not arguments.quiet:
        print(f"musicgen: {out}: {seconds:.1f} s of sound in {wall:.1f} s ({speed:.0f}x real time)", file=sys.stderr)
    return 0
