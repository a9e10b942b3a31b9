"""The `musicgen` command: finds the sub-command, runs it, turns every problem into one line and an exit code.

Sub-commands are modules with ``add_arguments(parser)`` and ``run(arguments) -> exit code``; only the one that is asked
for is imported, so help and complaints come at once.  Without the name of a command, `generate` is meant.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NoReturn

from musicgen.app.errors import BAD_INPUT, ENVIRONMENT, INTERRUPTED, BadInput, MusicgenError
from musicgen.app.terminal import plain_output

COMMANDS = {
    "generate": "continue a MIDI file, or make up a piece; what `musicgen` does without a command",
    "replay": "make a generated piece again, byte for byte",
    "app": "make and hear music on a page in the browser",
    "live": "play on a MIDI keyboard; the model answers",
    "render": "turn a MIDI file into sound",
    "codec": "turn sound into codes, and codes into sound",
    "roll": "draw a MIDI file as a piano roll",
    "prep": "turn a folder of MIDI files or recordings into a data set",
    "train": "train a model",
    "evaluate": "score a model, or compare pieces with real ones",
    "bench": "measure how fast this machine generates",
    "doctor": "check the installation and say how to mend it",
    "completion": "print a script that completes commands and flags in a shell",
}

OUT_OF_MEMORY = "out of memory: ask for less at once (--num-samples, --context) or use a larger machine"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
TERMINATED = 143  # 128 + SIGTERM, as shells report it


class Parser(argparse.ArgumentParser):
    """Reports a bad command line as every other bad input is reported: by an exception that becomes one line."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput; for a mistyped flag, with the one that was meant."""
        unknown, _, words = message.partition(": ")
        word = words.split(" ")[0].split("=")[0]
        meant = _similar(word, self._option_string_actions) if unknown == "unrecognized arguments" else ""
        raise BadInput(f"{message}{meant}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, whatever goes wrong."""
    with plain_output():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    try:
        leave_tidily()
        return _run(arguments)
    except MusicgenError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("stopped; nothing more is written", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone.  Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENVIRONMENT
    except MemoryError:
        return _complain(OUT_OF_MEMORY, ENVIRONMENT)
    except ImportError as error:
        name = (error.name or str(error)).split(".")[0]
        return _complain(f"{name} is not installed or broken ({error}): see musicgen doctor", ENVIRONMENT)
    except Exception as error:  # the last resort; a person gets a line, a developer gets the traceback on request
        if os.environ.get("MUSICGEN_TRACEBACK"):
            raise
        if "RESOURCE_EXHAUSTED" in str(error):  # how XLA says it
            return _complain(OUT_OF_MEMORY, ENVIRONMENT)
        kind = type(error).__name__
        return _complain(
            f"unexpected {kind}: {error} (please report it; MUSICGEN_TRACEBACK=1 shows where)", ENVIRONMENT
        )


def leave_tidily() -> None:
    """On SIGTERM, unwind as on Ctrl-C, so that no temporary file stays; training later sets a handler of its own."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    name = first if first in COMMANDS else None
    if first == "--version":
        from musicgen.app.version import version

        print(f"musicgen {version()}")
        return 0
    if name is None and (meant := _similar(first, COMMANDS)) and not os.path.exists(first):
        raise BadInput(f"there is no command {first}{meant}; see musicgen --help")
    try:
        parsed = make_parser(name).parse_args(arguments[1:] if name else arguments or [first])
    except SystemExit as stop:  # --help has printed its text
        return int(stop.code or 0)
    _refuse_addresses(parsed)
    return int(_module(name).run(parsed))


def make_parser(name: str | None) -> Parser:
    """The parser of a command; None is the main job without a name."""
    parser = Parser(
        prog=f"musicgen {name}" if name else "musicgen",
        description=COMMANDS[name] if name else None,
        usage=None if name else "musicgen [prime.mid] --out new.mid [options]\n       musicgen COMMAND ...",
        epilog=None if name else _overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _module(name).add_arguments(parser)
    return parser


def _module(name: str | None) -> ModuleType:
    return importlib.import_module(f"musicgen.app.commands.{name or 'generate'}")


def _similar(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; nothing if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""


def _refuse_addresses(parsed: argparse.Namespace) -> None:
    """Raise BadInput for `gs://bucket/x` where a path belongs: it would be taken for a folder of that name."""
    for name, value in vars(parsed).items():
        for word in value if isinstance(value, list) else [value]:
            if name != "root_path" and isinstance(word, str) and ADDRESS.match(word):
                raise BadInput(
                    f"{word[:200]} is an address, and only files of this machine are used: copy or mount it here"
                )


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "commands:\n" + "\n".join(lines) + "\n\nmusicgen COMMAND --help explains each of them."


def _complain(message: str, code: int) -> int:
    assert code in (BAD_INPUT, ENVIRONMENT, INTERRUPTED)
    print(f"musicgen: error: {' '.join(message.split())}", file=sys.stderr)
    return code
