"""A few seconds of `make fuzz` for every reader, and the harness itself, which has to see each kind of fault."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SECONDS = 3.5  # for each reader, a minute in all; `make fuzz` has an hour
READERS = sorted(path.stem for path in (HERE / "readers").glob("[!_]*.py"))


def fuzz(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "fuzz.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_something_or_one_line(name: str, tmp_path: Path) -> None:
    done = fuzz(name, "--inputs", 1000, "--seconds", SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 kinds of fault" in done.stdout


FAULTY = """
import os, sys, time
sys.path[:0] = [{here!r}]
from reader import Reader

def reader():
    return Reader(lambda: [b"good"], read, (ValueError,))

def read(data, folder):
    if data != b"good":
        {fault}
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise KeyError('x')", "unexpected KeyError"),
        ("raise ValueError('two' + chr(10) + 'lines')", "not one printable line"),
        ("raise ValueError('x' * 1000)", "a refusal of 1000 letters"),
        ("os.write(2, b'a library says')", "printed: 'a library says'"),
        ("(folder / 'a').touch(), (folder / 'b').touch()", "left behind: "),
        ("os.abort()", "the process died with code -6"),
        ("bytearray(700 * 2**20)", "MB (read)"),
    ],
)
def test_the_harness_sees(fault: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY.format(here=str(HERE), fault=fault))
    done = fuzz(tmp_path / "faulty.py", "--inputs", 3, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stdout, done.stdout + done.stderr
    assert list((tmp_path / ".fuzz").iterdir())


def test_the_harness_is_patient_until_the_first_input(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("harness", HERE / "fuzz.py")
    assert spec is not None and spec.loader is not None
    harness = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(harness)
    monkeypatch.setattr(harness, "SECONDS", 0.1)
    for lines, said in ((["{}", '{"number": 1}'], None), (['{"begins": true}', '{"number": 1}'], "it hangs")):
        command = ["sh", "-c", f"echo '{lines[0]}'; sleep 1; echo '{lines[1]}'"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            why, _ = harness._watch(child)
        assert (why is None) if said is None else why.startswith(said)


def test_equal_seeds_give_equal_inputs(tmp_path: Path) -> None:
    told = [fuzz("codes", "--inputs", 40, "--seed", seed, cwd=tmp_path).stdout.splitlines() for seed in (1, 1, 2)]
    assert told[0][1:] == told[1][1:] != told[2][1:]
