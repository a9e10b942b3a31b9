"""The `musicgen` command: finds the sub-command, runs it, turns every problem into one line and an exit code.

Without the name of a command, `generate` is meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from musicgen.app.arguments import addressed
from musicgen.app.commands import COMMANDS, make_parser, module_of
from musicgen.app.ending import exit_code
from musicgen.app.errors import TERMINATED, BadInput, similar
from musicgen.app.terminal import plain_output
from musicgen.model.stop import unwind_on_signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, whatever goes wrong."""
    with plain_output():
        return exit_code(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    unwind_on_signals()
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    name = first if first in COMMANDS else None
    if first == "--version":
        from musicgen.app.version import version

        print(f"musicgen {version()}")
        return 0
    if name is None and (meant := similar(first, COMMANDS)) and not os.path.exists(first):
        raise BadInput(f"there is no command {first}{meant}; see musicgen --help")
    try:
        parser, given = make_parser(name), arguments[1:] if name else arguments or [first]
        # Primes may stand between options; commands in commands cannot be parsed so.
        main_job = name in (None, "generate")
        parsed = parser.parse_intermixed_args(given) if main_job else parser.parse_args(given)
    except SystemExit as stop:  # --help has printed its text
        if stop.code == TERMINATED:
            raise
        return int(stop.code or 0)
    if not any(addressed(parsed)):
        return int(module_of(name).run(parsed))
    from musicgen.app.addresses import as_files

    with as_files(name or "generate", parsed):
        return int(module_of(name).run(parsed))
