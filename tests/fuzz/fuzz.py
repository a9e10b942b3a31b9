"""Give every reader thousands of broken files: `make fuzz`, or python tests/fuzz/fuzz.py [READER ...] --inputs 10000.

A reader may give something back or refuse with one line. Anything else is a fault: another exception, a crash, a line
of a library's own on the terminal, a file left behind, more than 10 seconds, more than 600 MB. The inputs are the same
for the same seed; one that gets a new answer joins those that later ones are made from. A faulty one is kept in
.fuzz/, and `--again FILE` gives it once more.

Readers are the modules of readers/, each with one function, `reader()`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from mutations import mutate  # noqa: E402  # Python finds them beside this script
from reader import Reader  # noqa: E402

SECONDS = 10.0  # for one input
MEGABYTES = 600  # for one input, above what the reader needs to start
LONGEST_LINE = 600
CORPUS = 2_000  # inputs that later ones are made from


def names() -> list[str]:
    """All readers."""
    return sorted(path.stem for path in (HERE / "readers").glob("[!_]*.py"))


def load(name: str) -> Reader:
    """The reader of that module, which may be given as a path, too."""
    path = Path(name) if name.endswith(".py") else HERE / f"readers/{name}.py"
    spec = importlib.util.spec_from_file_location("fuzzed", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reader()


def attack(name: str, inputs: int, seconds: float, seed: int, kept: Path) -> list[str]:
    """Run a reader over so many inputs, or for so long; the faults, one line each.

    The reader runs in a process of its own, which is started again behind an input that it did not survive.
    """
    began, first, faults, answers = time.monotonic(), 0, [], Counter()
    while first < inputs and (left := seconds - (time.monotonic() - began)) > 0:
        command = [sys.executable, __file__, "--child", name, str(first), str(inputs), str(seed), str(left)]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            child = subprocess.Popen([*command, folder], stdout=subprocess.PIPE, cwd=HERE.parent.parent)
            done, told = _watch(child)
            current = Path(folder) / "current"
            for line in told:
                answers.update(line.get("answers", {}))
            for line in told:
                if "fault" in line:
                    faults.append(_keep(kept, name, bytes.fromhex(line["input"]), line["fault"]))
            if done is not None:  # killed, by us or by a signal
                data = current.read_bytes() if current.exists() else b""
                faults.append(_keep(kept, name, data, done))
            numbers = [line["number"] for line in told if "number" in line]
            at = Path(folder) / "number"
            first = int(at.read_text()) + 1 if done is not None and at.exists() else max(numbers, default=inputs)
    print(f"{name}: {first} inputs in {time.monotonic() - began:.0f} s, {len(faults)} kinds of fault", flush=True)
    for answer, count in answers.most_common(40):
        print(f"  {count:>6} {answer}")
    return faults


def _watch(child: subprocess.Popen[bytes]) -> tuple[str | None, list[dict]]:
    """(why it did not end well, what it told)."""
    assert child.stdout is not None
    told, pending = [], b""
    while True:
        # What is loaded and compiled before the first input may take long on a busy machine.
        patience = 3 * SECONDS if {"begins": True} in told else 60 * SECONDS
        ready, _, _ = select.select([child.stdout], [], [], patience)
        if not ready:
            child.kill()
            child.wait()
            return f"it hangs: {patience:g} seconds were not enough", told
        chunk = os.read(child.stdout.fileno(), 1 << 16)
        if not chunk:
            code = child.wait()
            return (f"the process died with code {code}" if code else None), told
        *lines, pending = (pending + chunk).split(b"\n")
        told += [json.loads(line) for line in lines if line.startswith(b"{")]


def _keep(folder: Path, name: str, data: bytes, fault: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / f"{Path(name).stem}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"{name}: {path}: {fault}", flush=True)
    return f"{name}: {path.name}: {fault}"


def run_child(name: str, first: int, last: int, seed: int, seconds: float, folder: Path) -> None:
    """Give the inputs and tell of each fault; what the reader prints goes into a file, which must stay empty."""
    tell = os.fdopen(os.dup(1), "w")
    with (folder / "printed").open("w+b") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        reader = load(name)
        corpus, began, number, answers, told = list(reader.seeds()), time.monotonic(), first, Counter(), set()
        for data in corpus:  # what has to be loaded and compiled does not count
            _judge(reader, data, folder, printed.fileno())
        print('{"begins": true}', file=tell, flush=True)
        for number in range(first, last):
            if time.monotonic() - began > seconds:
                break
            data = mutate(random.Random(f"{seed}/{name}/{number}"), corpus, reader.most, reader.text)
            (folder / "current").write_bytes(data)
            (folder / "number").write_text(str(number))
            answer, fault = _judge(reader, data, folder, printed.fileno())
            answers[answer] += 1
            if answers[answer] == 1 and len(corpus) < CORPUS and (not reader.text or _is_json(data)):
                corpus.append(data)
            if fault is not None and _template(fault) not in told:  # one of a kind is enough
                told.add(_template(fault))
                print(json.dumps({"fault": fault, "input": data.hex()}), file=tell, flush=True)
            elif number % 20 == 0:
                print("{}", file=tell, flush=True)  # it is alive
        number = last if number == last - 1 else number
    print(json.dumps({"number": number, "answers": answers}), file=tell, flush=True)


def _judge(reader: Reader, data: bytes, folder: Path, printed: int) -> tuple[str, str | None]:
    """(the answer without names and numbers, the fault if there is one)."""
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    answer, fault = "read", None
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            reader.read(data, Path(place))
        except reader.refusals as error:
            answer, fault = _template(str(error)), _fault_of_line(str(error))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = fault = f"unexpected {type(error).__name__}: {error!s:.200} ({where.filename}:{where.lineno})"
        left = [path.name for path in Path(place).iterdir()]
    seconds = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    if seconds > SECONDS:
        fault = fault or f"{seconds:.0f} seconds ({answer})"
    if grown > MEGABYTES:
        fault = fault or f"{grown:.0f} MB ({answer})"
    if len(left) > 1:
        fault = fault or f"left behind: {', '.join(left)}"
    sys.stdout.flush(), sys.stderr.flush()
    if os.fstat(printed).st_size:
        text = os.pread(printed, 300, 0).decode(errors="replace")
        os.ftruncate(printed, 0), os.lseek(printed, 0, os.SEEK_SET)
        fault = fault or f"printed: {text!r}"
    return answer, fault


def _is_json(data: bytes) -> bool:
    """What is none leads to no more than that answer."""
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(data)
        return True
    return False


def _fault_of_line(line: str) -> str | None:
    if not line.isprintable():
        return f"a refusal that is not one printable line: {line[:200]!r}"
    return f"a refusal of {len(line)} letters: {line[:100]}" if len(line) > LONGEST_LINE else None


def _template(line: str) -> str:
    """A refusal as a kind: names in quotes and numbers left out."""
    line = re.sub(r"/\S+/", "", line)
    return re.sub(r"[-+]?\d[\d.,e]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", line))[:100]


def _again(path: Path) -> int:
    """Give one kept input once more, with its traceback."""
    reader = load(path.name.rsplit("-", 1)[0])
    with tempfile.TemporaryDirectory() as place, contextlib.suppress(*reader.refusals):
        print(reader.read(path.read_bytes(), Path(place)))
    return 0


def main() -> int:
    """Exit code 1 if there is a fault."""
    if sys.argv[1:2] == ["--child"]:
        name, first, last, seed, seconds, folder = sys.argv[2:]
        run_child(name, int(first), int(last), int(seed), float(seconds), Path(folder))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help=f"which (default: all of {', '.join(names())})")
    parser.add_argument("--inputs", type=int, default=10**9, help="for each reader")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path(".fuzz"), help="where faulty inputs go (default: .fuzz)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="give a kept input once more")
    arguments = parser.parse_args()
    if arguments.again is not None:
        return _again(arguments.again)
    chosen = arguments.readers or names()
    share = arguments.seconds / len(chosen)
    faults = [f for name in chosen for f in attack(name, arguments.inputs, share, arguments.seed, arguments.kept)]
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
