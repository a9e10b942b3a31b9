"""The commands: their names, what they do, and the parser of each.

A command is a module with ``add_arguments(parser)`` and ``run(arguments) -> exit code``.  Only the one that is asked
for is imported, so help and complaints come at once.
"""

from __future__ import annotations

import argparse
import importlib
import re
from types import ModuleType
from typing import NoReturn

from musicgen.app.errors import BadInput, similar

LONELY = re.compile(r"argument (?:\S+/)?(\S+): expected (?:at least )?one argument")  # as argparse says it

COMMANDS = {
    "generate": "continue a MIDI file, or make up a piece; what `musicgen` does without a command",
    "fill": "write a passage of a MIDI file anew, so that it fits what is around it",
    "accompany": "write an accompaniment to a melody",
    "vary": "write a part of a passage's notes anew",
    "replay": "make a generated piece again, byte for byte",
    "app": "make and hear music on a page in the browser",
    "live": "play on a MIDI keyboard; the model answers",
    "transcribe": "turn a recording of a piano into a MIDI file",
    "render": "turn a MIDI file into sound",
    "codec": "turn sound into codes, and codes into sound",
    "roll": "draw a MIDI file as a piano roll",
    "score": "write a MIDI file down as sheet music",
    "prep": "turn a folder of MIDI files or recordings into a data set",
    "duplicates": "find training pieces that play what validation and test hold",
    "train": "train a model",
    "evaluate": "score a model, or compare pieces with real ones",
    "bench": "measure how fast this machine generates",
    "doctor": "check the installation and say how to mend it",
    "completion": "print a script that completes commands and flags in a shell",
}


class Parser(argparse.ArgumentParser):
    """Reports a bad command line as every other bad input is reported: by an exception that becomes one line."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput; for a mistyped flag or choice with the one that was meant, for a lone flag with its value."""
        if wrong := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
            message += similar(wrong[1], re.findall(r"[^\s',]+", wrong[2]))
        if lonely := LONELY.fullmatch(message):
            raise BadInput(f"{self._value_of(lonely[1])}; see {self.prog} --help")
        unknown, _, words = message.partition(": ")
        word = words.split(" ")[0].split("=")[0]
        meant = similar(word, self._option_string_actions) if unknown == "unrecognized arguments" else ""
        raise BadInput(f"{message}{meant}; see {self.prog} --help")

    def _value_of(self, flag: str) -> str:
        """That a flag needs a value, and which: of one with another name today, under that name."""
        kind = self._option_string_actions[flag].dest
        shown = next(one for one in self._actions if one.dest == kind and one.help is not argparse.SUPPRESS)
        name = shown.option_strings[-1]
        about = re.split(r"; | \(|: ", shown.help or "")[0]
        return f"{flag} needs a value: {name} {shown.metavar or kind.upper()}" + (f", {about}" if about else "")


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
    module_of(name).add_arguments(parser)
    return parser


def module_of(name: str | None) -> ModuleType:
    """Where a command is; None is the main job."""
    return importlib.import_module(f"musicgen.app.commands.{name or 'generate'}")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "commands:\n" + "\n".join(lines) + "\n\nmusicgen COMMAND --help explains each of them."
