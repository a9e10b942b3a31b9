"""What the documents tell a person to type exists: commands, flags, make targets, extras, links."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from musicgen.app.batch.jobs import read_jobs
from musicgen.app.commands import COMMANDS
from musicgen.app.controls import CONTROLS
from musicgen.app.recipes import RECIPES

from .documents import BLOCKS, MUSICGEN, OTHERS, ROOT, SHELL, TEXTS, Block, Command, anchors, links, options, parser

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MADE_BY_OTHERS = {"git", "cd", "cp", "dask", "docker"}  # what is about other programs, not about this one


def test_there_are_commands() -> None:
    assert len(MUSICGEN) >= 50 and len(TEXTS) >= 15


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_every_block_is_run_or_parsed(block: Block) -> None:
    """Shell is parsed here and, where it can be, run in test_examples, as Python is; nginx reads its own lines."""
    assert block.language in ("sh", "python", "nginx", "json")


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "json"], ids=lambda block: block.name)
def test_lists_of_pieces_are_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text(block.text)
    found, problems = read_jobs(tmp_path / "jobs.jsonl", {}, lambda settings: settings.resolve(2048, 4096))
    assert len(found) == len(block.text.splitlines()) and not problems


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed: apt-get install nginx")
@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "nginx"], ids=lambda block: block.name)
def test_nginx_takes_its_lines(block: Block, tmp_path: Path) -> None:
    paths = "".join(
        f"{one}_temp_path {tmp_path}/{one};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ {paths} access_log off;"
        f"server {{ listen 127.0.0.1:9;\n{block.text}\n}} }}"
    )
    done = subprocess.run(["nginx", "-t", "-c", str(tmp_path / "conf")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", SHELL, ids=lambda command: command.name)
def test_every_command_line_is_understood(command: Command) -> None:
    program, *words = command.words
    if program == "srun":  # starts what follows its own options
        program, *words = words[words.index("musicgen") :]
    if program == "musicgen":
        name = words[0] if words and words[0] in COMMANDS else "generate"
        if words not in (["--help"], ["--version"]):
            parsed = parser(name).parse_args(words[words[:1] == [name] :])
            assert name != "train" or parsed.taught or parsed.preset in RECIPES
    elif program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {word for word in words if "=" not in word} <= targets
    elif program == "pip":
        assert words[0] in ("install", "wheel")
        for extra in re.findall(r"\.\[([a-z,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= set(EXTRAS)
    elif program.startswith(".venv/bin/"):
        assert any(needed.startswith(Path(program).name) for needed in EXTRAS["dev"])
    elif program == "python":
        assert (ROOT / words[0]).is_file()
    elif program.startswith("runs/"):
        assert (ROOT / program).is_file() and os.access(ROOT / program, os.X_OK)
    else:
        assert program in MADE_BY_OTHERS


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_exists(name: str) -> None:
    """In prose, too; flags of git, pip and Beam stand in blocks that name them."""
    prose = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    shown = {flag for command in COMMANDS for flag, visible in options(command).items() if visible}
    for flag in re.findall(r"(?<![\w=-])--[a-z][a-z-]*", prose):
        assert flag in shown


def test_every_flag_of_generate_is_explained() -> None:
    told = set(re.findall(r"`(--[a-z-]+)", "".join(text for name, text in TEXTS.items() if name != "docs/cli.md")))
    assert {flag for flag, visible in options("generate").items() if visible and flag.startswith("--")} - {
        "--help"
    } <= told
    assert len(CONTROLS) <= len(told)


@pytest.mark.parametrize("name", OTHERS)
def test_every_script_of_the_benchmarks_exists(name: str) -> None:
    for path in re.findall(r"(?<![\w/])(?:benchmarks|app|model|data_prep|checkpoints)/[\w/-]+\.\w+", OTHERS[name]):
        assert (ROOT / path).exists()
    for command in re.findall(r"(?:^ *|`)musicgen ([a-z]+)[ `]", OTHERS[name], re.MULTILINE):
        assert command in COMMANDS or command in ("bach", "beethoven", "satie")


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_in_prose_exists(name: str) -> None:
    prose = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`musicgen ([a-z]+)[ `]", prose)) <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)[ `]", prose)) <= targets


def test_every_extra_is_explained() -> None:
    named = set(re.findall(r"pip install '\.\[([a-z]+)\]'", TEXTS["README.md"]))
    assert set(EXTRAS) - {"dev"} == named


def test_the_reference_of_commands_is_that_of_the_parsers() -> None:
    """`make docs` writes it anew."""
    script = ROOT / ".ci" / "commands_page.py"
    made = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert made == TEXTS["docs/cli.md"]


@pytest.mark.parametrize(("name", "target"), [(name, target) for name in [*TEXTS, *OTHERS] for target in links(name)])
def test_every_link_leads_somewhere(name: str, target: str) -> None:
    """Without asking the web: an address there is only looked at."""
    if re.match(r"[a-z]+:", target):
        assert re.fullmatch(r"https://[\w./-]+", target)
        return
    path, _, anchor = target.partition("#")
    there = (ROOT / name).parent / path if path else ROOT / name
    assert there.exists() and ROOT in there.resolve().parents
    if anchor:
        assert anchor in anchors(there.read_text(encoding="utf-8"))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {target.partition("#")[0] for target in links("README.md")}
    pages = {name for name in TEXTS if name.startswith("docs/")} - {"docs/reference.md"}  # which api.md leads to
    assert pages <= reached
    assert "reference.md" in links("docs/api.md")


def test_the_readme_is_short() -> None:
    assert TEXTS["README.md"].count("\n") <= 130
