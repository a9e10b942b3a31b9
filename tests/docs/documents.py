"""What a person reads first: README, CONTRIBUTING and the pages of docs/, their code blocks and their links."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "app/README.md")
DOCUMENTS = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
FENCED = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^ *```.*?^ *```|``.+?``|`[^`\n]+`", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: where it stands, in which language, and what is in it."""

    document: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"


class Command(NamedTuple):
    """A command line as it is typed, without the variables before it: `MUSICGEN_BACKEND=jax musicgen ...`."""

    block: Block
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.block.name} {' '.join(self.words)}"


def _others() -> dict[str, str]:
    """Cards, benchmarks and logs: read less often, but their links and scripts must be there, too."""
    folders = ("app/primes", "benchmarks", "checkpoints")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _blocks() -> list[Block]:
    return [
        Block(name, text.count("\n", 0, match.start()) + 1, match[2], match[3])
        for name, text in TEXTS.items()
        for match in FENCED.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """The command lines of a block; a backslash goes on in the next line, && begins another one."""
    lines = block.text.replace("\\\n", " ").splitlines()
    typed = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    without = [words[next((i for i, word in enumerate(words) if "=" not in word), 0) :] for words in typed if words]
    return [Command(block, tuple(words)) for words in without]


OTHERS = _others()
BLOCKS = _blocks()
SHELL = [command for block in BLOCKS if block.language == "sh" for command in commands(block)]
MUSICGEN = [command for command in SHELL if command.words[0] == "musicgen"]


class Unparsed(Exception):
    """A command line that its command does not understand."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Unparsed(message)


def parser(command: str) -> Parser:
    """The parser of a musicgen command, as the command itself builds it."""
    made = Parser(prog=command, allow_abbrev=False)
    importlib.import_module(f"musicgen.app.commands.{command}").add_arguments(made)
    return made


def options(command: str) -> dict[str, bool]:
    """Its flags, and whether its help shows each."""
    actions = parser(command)._actions
    return {flag: action.help != argparse.SUPPRESS for action in actions for flag in action.option_strings}


def links(name: str) -> list[str]:
    """The targets of a document's links and pictures; those in code are none."""
    return re.findall(r"\]\(([^()\s]+)\)", CODE.sub("", {**TEXTS, **OTHERS}[name]))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub and mkdocs give to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
