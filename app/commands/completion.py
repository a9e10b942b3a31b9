"""`musicgen completion bash`: a script that completes commands, flags and file names in a shell."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "tcsh", "powershell"),
        help='the shell; for bash: eval "$(musicgen completion bash)" in ~/.bashrc',
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script, made from the parsers of all commands."""
    import shtab

    from musicgen.app.commands import COMMANDS, Parser, make_parser

    parser = Parser(prog="musicgen", add_help=False)
    for action in make_parser(None)._actions:
        if action.option_strings:  # the prime would stand where commands do; shells complete files by themselves there
            parser._add_action(action)
    commands = parser.add_subparsers()
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False, parents=[make_parser(name)])
    for each in (parser, *commands.choices.values()):
        for action in each._actions:
            if not action.choices and action.nargs != 0 and action.type is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, arguments.shell))
    return 0
