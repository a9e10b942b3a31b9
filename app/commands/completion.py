"""`musicgen completion bash`: a script that completes commands, flags and file names in a shell."""

from __future__ import annotations

import argparse
import re

FILES = re.compile(r"FILE|DIR|DATA|\w\.\w")  # what the help calls a file or a folder
# Without a command the word is a file, which shtab's scripts for these shells do not know.
PRIMES = {
    "zsh": [
        ("  _describe 'musicgen commands' _commands\n", "  _describe 'musicgen commands' _commands\n  _files\n"),
        (
            "      esac\n  esac\n}",
            "        *) _arguments -C -s $_shtab_musicgen_generate_options ;;\n      esac\n  esac\n}",
        ),
    ],
    "fish": [
        ("complete -c musicgen -f\n", "complete -c musicgen -f\ncomplete -c musicgen -n _shtab_musicgen_using -F\n")
    ],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "tcsh", "powershell"),
        help='the shell; for bash and zsh: eval "$(musicgen completion bash)" in ~/.bashrc, or zsh in ~/.zshrc behind '
        "compinit; for fish: musicgen completion fish | source",
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
            if not action.choices and FILES.search(str(action.metavar)):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(parser, arguments.shell)
    for found, put in PRIMES.get(arguments.shell, []):
        script = script.replace(found, put, 1)
    print(script)
    return 0
