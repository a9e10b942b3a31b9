"""The `musicgen` command: finds the sub-command, runs it, turns every problem into one line and an exit code.

Without the name of a command, `generate` is meant.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

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
from musicgen.model.stop import heard

OUT_OF_MEMORY = "out of memory: ask for less at once (--num-samples, --context) or use a larger machine"
MOMENT = 0.02  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, whatever goes wrong."""
    with plain_output():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    try:
        leave_tidily()
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a disk that is full is told here
        return code
    except MusicgenError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(STOPPED, INTERRUPTED)
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


def leave_tidily() -> None:
    """On Ctrl-C and SIGTERM, unwind, so that no temporary file stays; see `musicgen.model.stop` for what ends later."""
    if threading.current_thread() is threading.main_thread():
        for number in heard():
            signal.signal(number, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    if frame is not None and any(frame.f_code is getattr(one, "__code__", None) for one in gc.callbacks):
        # JAX has such callbacks, and what is raised in one is lost.
        threading.Timer(MOMENT, os.kill, [os.getpid(), number]).start()
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        sys.exit(TERMINATED)


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
    assert code in (BAD_INPUT, ENVIRONMENT, INTERRUPTED, TERMINATED)
    print(f"musicgen: error: {' '.join(message.split())}", file=sys.stderr)
    return code
