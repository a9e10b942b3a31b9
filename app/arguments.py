"""Flags of the command line: those of the controls, and argument types that say what they expected."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator

from musicgen.model.control import Control

METAVARS = {"seconds": "S", "prime_seconds": "S", "latents": "M", "context": "N", "temperature": "T", "style": "KIND"}

# Names of paths, hosts, ports and devices.
NO_PATHS = ("root_path", "allow_host", "distributed", "cluster", "input", "output", "microphone")
# With one slash or none, too; a drive of Windows has one letter.
ADDRESS = re.compile(r"(?si)[a-z][a-z0-9+.-]+:(/.*)?|(gs|s3a?|abfss?|azure|wasbs?|hdfs|https?|ftp|file):.*")
OWN = ", or one that you taught the weights"


def add_flags(parser: argparse.ArgumentParser, *controls: Control) -> None:
    """Add the flags of these controls; each stores its value under the control's name."""
    for control in controls:
        if control.kind is bool:
            action = "store_false" if control.default else "store_true"
            parser.add_argument(control.option, dest=control.name, action=action, help=control.help)
            continue
        for flag in control.former:
            parser.add_argument(flag, dest=control.name, type=whole, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        if control.kind is str:
            parser.add_argument(
                control.option,
                dest=control.name,
                choices=None if control.named else control.choices,
                default=control.default,
                metavar=METAVARS[control.name],
                help=f"{control.help}: {', '.join(control.choices)}{OWN if control.named else ''}"
                f" (default: {control.default})",
            )
            continue
        shown = control.unset if control.default is None else f"{control.default:g}"
        parser.add_argument(
            control.option,
            dest=control.name,
            type=whole if control.kind is int else number,
            default=control.default,
            metavar=METAVARS.get(control.name, "K" if control.kind is int else "P"),
            help=f"{control.help} (default: {shown})" if shown else control.help,
        )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the weights."""
    parser.add_argument(
        "--checkpoint", metavar="NAME|DIR", help="published weights by name, or a folder of weights (default: piano)"
    )


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None


def addressed(parsed: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The options, and their words, that name an address such as s3://bucket/x where a path may belong."""
    for name, value in vars(parsed).items():
        for word in value if isinstance(value, list) else [value]:
            if name not in NO_PATHS and isinstance(word, str) and ADDRESS.fullmatch(word):
                yield name, word
