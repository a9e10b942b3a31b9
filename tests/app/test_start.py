"""The process of the command: its exit code is that of the command, and one line is all that a signal makes it say."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

STOPPED = "musicgen: error: stopped; nothing more is written\n"
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
from musicgen.app.start import main
sys.argv = ["musicgen", "doctor"]
sys.exit(main())
"""
COMPILING = """
import signal, threading, time
import jax, jax.numpy as jnp
from musicgen.app.commands import doctor

def much(a):
    for i in range(300):
        a = jnp.sin(a @ a) + i
    return a

def run(arguments):
    work = jax.jit(much).lower(jnp.ones((64, 64))).compile
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.1)
    signal.raise_signal(signal.{name})

doctor.run = run
"""
READING = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "musicgen.app.cli":
            signal.raise_signal(signal.{name})

sys.meta_path.insert(0, Finder())
"""
LOST = """
import signal, time
from musicgen.app.commands import doctor

class Careless:
    def __del__(self):
        signal.raise_signal(signal.{name})

def run(arguments):
    Careless()
    time.sleep(20)
    return 0

doctor.run = run
"""


def started(before: str) -> tuple[int, str]:
    """The exit code and what is said on stderr."""
    done = subprocess.run([sys.executable, "-c", before + START], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_code_while_a_library_is_at_work(number: signal.Signals) -> None:
    """C++ that comes back to a Python which has taken itself apart aborts the process: 134 in place of the code."""
    assert started(COMPILING.format(name=number.name)) == (128 + number, STOPPED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_it_starts(number: signal.Signals) -> None:
    assert started(READING.format(name=number.name)) == (128 + number, STOPPED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_python_passes_over_is_raised_again(number: signal.Signals) -> None:
    """Nothing can be raised out of a finaliser, nor out of a callback of C."""
    assert started(LOST.format(name=number.name)) == (128 + number, STOPPED)


def test_what_was_not_foreseen_is_no_success() -> None:
    code, said = started("import musicgen.app.cli as cli\ncli._main = lambda arguments: 1 / 0\n")
    assert code == 1 and "ZeroDivisionError" in said
