"""`musicgen score piece.mid --out piece.musicxml`."""

from __future__ import annotations

import argparse
import sys

from musicgen.app.bundled import find_prime
from musicgen.app.output import check_output, write_bytes

SUFFIXES = (".musicxml", ".svg", ".mid")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """File and output."""
    add = parser.add_argument
    add("piece", metavar="piece.mid", help="the MIDI file to write down")
    add(
        "-o",
        "--out",
        required=True,
        metavar="piece.musicxml",
        help="where the score goes: .musicxml for notation programs, .svg for a picture, .mid for the same music with"
        " an estimated beat",
    )
    add("--quiet", action="store_true", help="no summary")


def run(arguments: argparse.Namespace) -> int:
    """Read, write down, write."""
    source = find_prime(arguments.piece)
    out = check_output(arguments.out, SUFFIXES, "--out")
    from musicgen.app import bars, sheet
    from musicgen.app.errors import BadInput
    from musicgen.app.prime import read_bytes
    from musicgen.data_prep import MidiError
    from musicgen.data_prep.errors import counted

    try:
        data = read_bytes(source)
        if out.suffix.lower() == ".mid":
            data, remark = bars.add_bars(data)
            write_bytes(out, data)
            if not arguments.quiet:
                print(f"musicgen: {out}: {remark}", file=sys.stderr)
            return 0
        written = sheet.write_down(data, source.stem)
    except MidiError as error:
        raise BadInput(f"{source}: {error}") from None
    xml = sheet.musicxml(written)
    write_bytes(out, sheet.svg(xml) if out.suffix.lower() == ".svg" else xml)
    if not arguments.quiet:
        count = counted(len(written.notation.bars), "bar")
        print(f"musicgen: {out}: {count}, a reading aid: {written.remark}", file=sys.stderr)
    return 0
