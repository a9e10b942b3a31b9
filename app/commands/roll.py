"""`musicgen roll piece.mid --out piece.svg`."""

from __future__ import annotations

import argparse
import sys

from musicgen.app.arguments import whole
from musicgen.app.bundled import find_prime
from musicgen.app.errors import BadInput
from musicgen.app.output import PICTURE_SUFFIXES, check_output, write_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File, output, size."""
    add = parser.add_argument
    add("piece", metavar="piece.mid", help="the MIDI file to draw")
    add("-o", "--out", required=True, metavar="piece.svg", help="where the picture goes: .svg or .png")
    add("--width", type=whole, default=1200, help="in pixels; a .png has twice as many (default: %(default)s)")
    add("--height", type=whole, default=360, help="in pixels (default: %(default)s)")
    add("--quiet", action="store_true", help="no summary")


def run(arguments: argparse.Namespace) -> int:
    """Read, draw, write."""
    source = find_prime(arguments.piece)
    out = check_output(arguments.out, PICTURE_SUFFIXES, "--out")
    for option in ("width", "height"):
        if not 100 <= getattr(arguments, option) <= 10_000:
            raise BadInput(f"--{option} must be between 100 and 10000 pixels, not {getattr(arguments, option)}")
    from musicgen.app import roll
    from musicgen.app.given import given_notes
    from musicgen.app.prime import parse_midi, read_bytes
    from musicgen.app.provenance import summary_in
    from musicgen.data_prep.errors import counted
    from musicgen.data_prep.midi import read_text

    data = read_bytes(source)
    music, remarks = parse_midi(data, source)
    if remarks and not arguments.quiet:
        print(f"musicgen: {source}: {'; '.join(remarks)}", file=sys.stderr)
    size = {"width": arguments.width, "height": arguments.height}
    events = read_text(data)
    picture, label = roll.draw(music, given=given_notes(music, events), **size), summary_in(events)
    write_bytes(out, roll.png(picture, description=label) if out.suffix.lower() == ".png" else roll.svg(picture, label))
    if not arguments.quiet:
        print(f"musicgen: {out}: {counted(len(music), 'note')}, {music.duration:.1f} s", file=sys.stderr)
    return 0
