"""What the documents tell a person to type exists, and their links lead somewhere."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from musicgen.app.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# Commands as they are typed: a backslash at the end of a line goes on in the next one.
TYPED = [line.strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()]
MUSICGEN = [line for line in TYPED if line.startswith("musicgen ")]


class Unparsed(Exception):
    """A line of the README that its command does not understand."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise Unparsed(message)


def parser(command: str) -> Parser:
    made = Parser(prog=command, allow_abbrev=False)
    importlib.import_module(f"musicgen.app.commands.{command}").add_arguments(made)
    return made


def options(command: str) -> set[str]:
    return {option for action in parser(command)._actions for option in action.option_strings}


def test_the_readme_has_commands() -> None:
    assert len(MUSICGEN) >= 5


@pytest.mark.parametrize("line", MUSICGEN)
def test_every_command_line_is_understood(line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    command = words[0] if words[0] in COMMANDS else "generate"
    parser(command).parse_args(words[words[0] in COMMANDS :])


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(?<![\w=-])--[a-z][a-z-]*", README))))
def test_every_flag_exists(flag: str) -> None:
    assert any(flag in options(command) for command in COMMANDS)


def test_every_flag_of_generate_is_explained() -> None:
    told = set(re.findall(r"`(--[a-z-]+)", README))
    assert {option for option in options("generate") if option.startswith("--")} - {"--help"} <= told


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`musicgen ([a-z]+)[ `]", README))))
def test_every_command_exists(command: str) -> None:
    assert command in COMMANDS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", DOCUMENTS[name], re.MULTILINE)
    named = {target for line in lines for target in line.split()}
    assert named and named <= targets


def test_every_extra_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"pip install '\.\[([a-z,]+)\]'", README) for name in group.split(",")}
    assert named and named <= set(extras)
    assert set(extras) - {"dev"} <= named


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (name, target)
        for name, text in DOCUMENTS.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:", target)  # an address on the web
    ],
)
def test_every_relative_link_leads_somewhere(name: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    assert not path or (ROOT / path).exists()
    if anchor:
        assert anchor in anchors((ROOT / path if path else ROOT / name).read_text(encoding="utf-8"))
