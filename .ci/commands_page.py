"""Prints docs/cli.md, the reference of all commands, from their parsers; `make docs` calls it."""

from __future__ import annotations

import argparse
import importlib

from musicgen.app.commands import COMMANDS

HEAD = """\
# Commands

<!-- Made by `make docs` from the parsers (.ci/commands_page.py): change the help there, not here. -->

`musicgen COMMAND --help` prints the same. Without the name of a command, `generate` is meant:
`musicgen prime.mid --out new.mid` is `musicgen generate prime.mid --out new.mid`.

Progress goes to standard error, results of `--json` to standard output. An error is one line that says what to do.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the environment is broken: see `musicgen doctor` |
| 2 | bad input |
| 130, 143 | stopped by Ctrl-C, by SIGTERM |

A command that is stopped keeps what it has: generation the music so far, `evaluate` the score, `train` a checkpoint,
`prep` all finished files; a line says so, and how to go on. The exit code is that of the signal all the same, so that a
scheduler does not take the job for done. What ends as planned ends with 0: `train --stop-after`, and `app` and `live`
by Ctrl-C.

`musicgen doctor` says what is installed, which device is used, which weights were found, what is missing, and the
command that mends it.

| variable | meaning |
| --- | --- |
| `MUSICGEN_BACKEND` | `jax` or `onnxruntime`: the engine that generates, in place of the one chosen for this machine |
| `MUSICGEN_TRACEBACK` | `1` shows where an unexpected error came from |
"""


def page() -> str:
    """The whole page as Markdown."""
    return HEAD + "".join(section(name, about) for name, about in COMMANDS.items())


def section(name: str, about: str) -> str:
    """A command: what it does, then a table of its arguments."""
    parser = argparse.ArgumentParser(prog=f"musicgen {name}", add_help=False)
    importlib.import_module(f"musicgen.app.commands.{name}").add_arguments(parser)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    rows = "".join(f"| {written(action)} | {meaning(action)} |\n" for action in shown)
    return f"\n## {name}\n\n{about[0].upper()}{about[1:]}.\n\n| argument | meaning |\n| --- | --- |\n{rows}"


def written(action: argparse.Action) -> str:
    """How an argument is typed."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"`{value}`".replace("|", "\\|")
    takes_value = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
    value = f"[{value}]" if action.nargs == "?" else value
    return ", ".join(f"`{o} {value}`" if takes_value else f"`{o}`" for o in action.option_strings).replace("|", "\\|")


def meaning(action: argparse.Action) -> str:
    """Its help, with the default filled in."""
    text = (action.help or "") % {**vars(action), "prog": "musicgen"}
    return f"{text}{' (required)' if action.required and action.option_strings else ''}".replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
