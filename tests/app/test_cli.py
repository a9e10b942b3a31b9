"""The command line itself: quick help, lazy imports, the commands it promises."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys

import pytest

from musicgen.app import cli

SLOW = ("jax", "flax", "numpy", "soundfile", "midirenderer", "mido", "musicgen.data_prep", "musicgen.model.engine")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    command = [sys.executable, "-m", "musicgen.app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_command_and_flag() -> None:
    """What DESIGN.md promises a person can type."""
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    flags = "latents context seconds prime-seconds no-prime temperature top-p min-p top-k seed num-samples checkpoint"
    for flag in [*flags.split(), "audio", "json", "quiet", "out"]:
        assert f"--{flag}" in done.stdout
    for command in ("prep", "train", "evaluate", "generate", "render", "bench", "doctor", "replay"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("line", ["--help", "none.mid --out new.mid", "render none.mid --out x.wav"])
def test_help_and_complaints_come_at_once(line: str) -> None:
    """Under 0.3 s of processor time (a busy machine makes the wall clock a poor judge), and nothing slow imported."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(*line.split())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.3
    script = f"import sys; from musicgen.app.cli import main; main({line.split()!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.split())
    assert not loaded & set(SLOW)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in ("train", "evaluate")])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And a module with the two functions that `cli` calls."""
    module = importlib.import_module(f"musicgen.app.commands.{name}")
    assert callable(module.run)
    assert cli.main([name, "--help"]) == 0
    assert f"usage: musicgen {name}" in capsys.readouterr().out or name == "generate"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that can be pasted into a report."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("musicgen ")
