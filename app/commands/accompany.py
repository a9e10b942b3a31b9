"""`musicgen accompany melody.mid --out both.mid`: every note of a file stays to the tick, and others go with it."""

from __future__ import annotations

import argparse

from musicgen.app.commands.fill import add_drawing, add_region, add_song, make


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The melody, and which hand is written."""
    add_song(parser, "melody.mid", "the MIDI file, - for standard input; all its notes stay")
    parser.add_argument("--hand", choices=("left", "right"), help="write this hand alone (default: both)")
    parser.add_argument(
        "--track", metavar="NAME", help="accompany this track of a file with several, without the others"
    )
    add_region(parser, "the accompaniment begins", "it ends")
    add_drawing(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write an accompaniment."""
    return make(arguments, "request_accompaniment", hand=arguments.hand, track=arguments.track)
