"""The `musicgen` command: finds the sub-command, runs it, turns every problem into one line and an exit code.

Without the name of a command, `generate` is meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from musicgen.app.arguments import addressed
from musicgen.app.commands import COMMANDS, make_parser, module_of, similar
from musicgen.app.errors import (
    BAD_INPUT,
    ENVIRONMENT,
    INTERRUPTED,
    STOPPED,
    TERMINATED,
    BadInput,
    MusicgenError,
    cannot_write,
    no_room,
)
from musicgen.app.terminal import plain_output
from musicgen.model.stop import Left, unwind_on_signals, unwinding

OUT_OF_MEMORY = "out of memory: ask for less at once (--num-samples, --context) or use a larger machine"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, whatever goes wrong."""
    with plain_output():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    try:
        unwind_on_signals()
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a disk that is full is told here
        return code
    except MusicgenError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(STOPPED, INTERRUPTED)
    except Left as left:
        return _complain(STOPPED, left.exit_code)
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        return _complain(STOPPED, TERMINATED)
    except BrokenPipeError:
        # Whoever read our output has gone.  Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENVIRONMENT
    except MemoryError:
        return _complain(OUT_OF_MEMORY, ENVIRONMENT)
    except FloatingPointError as error:
        return _complain(str(error), ENVIRONMENT)
    except ImportError as error:
        name = (error.name or str(error)).split(".")[0]
        return _complain(f"{name} is not installed or broken ({error}): see musicgen doctor", ENVIRONMENT)
    except Exception as error:  # the last resort; a person gets a line, a developer gets the traceback on request
        if os.environ.get("MUSICGEN_TRACEBACK"):
            raise
        if lack := no_room(error):
            return _complain(str(cannot_write("a file", lack)), ENVIRONMENT)
        if "RESOURCE_EXHAUSTED" in str(error):  # how XLA says it
            return _complain(OUT_OF_MEMORY, ENVIRONMENT)
        kind = type(error).__name__
        return _complain(
            f"unexpected {kind}: {error} (please report it; MUSICGEN_TRACEBACK=1 shows where)", ENVIRONMENT
        )


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


def _complain(message: str, code: int) -> int:
    if stopped := unwinding():  # a library may have made another error of it
        message, code = STOPPED, stopped
    assert code in (BAD_INPUT, ENVIRONMENT, INTERRUPTED, TERMINATED)
    print(f"musicgen: error: {' '.join(message.split())}", file=sys.stderr)
    return code
