"""The command line itself: quick help, lazy imports, the commands it promises."""

from __future__ import annotations

import gc
import importlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from musicgen.app import cli
from musicgen.app.commands import COMMANDS, completion
from musicgen.model.stop import SIGNALS, Stop, unwind_on_signals

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


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "evaluate")])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And a module with the two functions that `cli` calls."""
    module = importlib.import_module(f"musicgen.app.commands.{name}")
    assert callable(module.run)
    assert cli.main([name, "--help"]) == 0
    assert f"usage: musicgen {name}" in capsys.readouterr().out or name == "generate"


def test_nothing_to_do_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """As of most commands; also as a module."""
    assert cli.main([]) == 0
    assert "musicgen [prime.mid] --out new.mid" in capsys.readouterr().out
    command = [sys.executable, "-m", "musicgen", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("musicgen ")


def test_a_file_with_the_name_of_no_command_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """'rendr' is mistyped, unless there is such a file."""
    monkeypatch.chdir(tmp_path)
    Path("rendr").write_text("no MIDI")
    done = run("rendr", "--out", "new.mid")
    assert "did you mean" not in done.stderr and "rendr" in done.stderr


COMPLETED = {"ge": "generate", "--see": "--seed", "roll --wi": "--width", "train --pres": "--preset"}


@pytest.mark.parametrize(("typed", "word"), COMPLETED.items())
def test_a_shell_completes(typed: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bash itself, with the script that it is told to read."""
    assert cli.main(["completion", "bash"]) == 0
    words = ["musicgen", *typed.split()]
    line, last = " ".join(words), len(words) - 1
    script = f"""{capsys.readouterr().out}
    COMP_WORDS=({line}); COMP_CWORD={last}; COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}
    _shtab_musicgen; echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [word]


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh", "powershell"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With every command in it."""
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    # Each was tried in its shell: `musicgen pri` completes prime.mid, too.
    assert all(put in script for _, put in completion.PRIMES.get(shell, []))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that can be pasted into a report."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("musicgen ")


@pytest.fixture
def signals_as_they_were() -> Iterator[None]:
    """pytest keeps its own Ctrl-C."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "stop"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.usefixtures("signals_as_they_were")
def test_no_signal_is_lost(number: signal.Signals, stop: type[BaseException]) -> None:
    """Not even in a callback of the garbage collector, such as JAX's, where Python ignores what is raised."""

    def callback(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            signal.raise_signal(number)
            gc.callbacks.remove(callback)

    unwind_on_signals()
    gc.callbacks.append(callback)
    with pytest.raises(stop):
        gc.collect()
        time.sleep(60)


@pytest.mark.parametrize(("number", "stop"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.usefixtures("signals_as_they_were")
def test_no_signal_breaks_off_a_module_of_c(
    number: signal.Signals, stop: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes the process if it is one of JAX's."""
    whole: list[bool] = []
    made_up = f"written_in_c_{number.name}"

    class Loader(ExtensionFileLoader):
        def create_module(self, spec: object) -> ModuleType:
            signal.raise_signal(number)
            return ModuleType(made_up)

        def exec_module(self, module: object) -> None:
            whole.append(True)

    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, Loader(name, "")) if name == made_up else None

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    unwind_on_signals()
    with pytest.raises(stop):
        importlib.import_module(made_up)
        time.sleep(60)
    assert whole


@pytest.mark.usefixtures("signals_as_they_were")
def test_what_is_ignored_stays_ignored() -> None:
    """As by a command that a shell has started in its background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unwind_on_signals()
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
    assert not stop and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.usefixtures("signals_as_they_were")
def test_stopped_with_nothing_to_keep(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and the exit code of that signal, whether or not something looked at it in time."""

    def doctor(arguments: object) -> int:
        with Stop():
            signal.raise_signal(number)
            raise KeyboardInterrupt

    monkeypatch.setattr("musicgen.app.commands.doctor.run", doctor)
    assert cli.main(["doctor"]) == 128 + number
    monkeypatch.setattr("musicgen.app.commands.doctor.run", lambda arguments: signal.raise_signal(number))
    assert cli.main(["doctor"]) == 128 + number

    def library(arguments: object) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise ImportError("IMPORTANT: PLEASE READ THIS") from None  # as NumPy's, while it is imported

    monkeypatch.setattr("musicgen.app.commands.doctor.run", library)
    assert cli.main(["doctor"]) == 128 + number
    monkeypatch.setattr(cli, "make_parser", lambda name: signal.raise_signal(number))
    assert cli.main(["doctor"]) == 128 + number
    assert capsys.readouterr().err == "musicgen: error: stopped; nothing more is written\n" * 4
