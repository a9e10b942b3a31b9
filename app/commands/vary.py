"""`musicgen vary song.mid --from 0:12 --to 0:18 --amount 0.5 --out new.mid`: some notes of a passage written anew."""

from __future__ import annotations

import argparse

from musicgen.app.arguments import number
from musicgen.app.commands.fill import add_drawing, add_pedal, add_region, add_song, make


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The song, the passage, and how much of it."""
    add_song(parser, "song.mid", "the MIDI file, - for standard input, or a bundled opening by name")
    add_region(parser, "the passage begins", "it ends")
    parser.add_argument(
        "--amount",
        type=number,
        default=0.5,
        metavar="A",
        help="the share of the notes that is written anew: 0 gives the passage back, 1 is musicgen fill (default: 0.5)",
    )
    add_pedal(parser)
    add_drawing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write a part of the notes anew."""
    return make(arguments, "request_fill", amount=arguments.amount, pedal=arguments.pedal)
