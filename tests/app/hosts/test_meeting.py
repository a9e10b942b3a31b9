"""Processes that meet, agree and end together; nothing is trained, and the hosts are names."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicgen.app.commands import train
from musicgen.app.errors import BadInput
from musicgen.app.training.hosts.facts import facts_of
from musicgen.app.training.hosts.place import Place, place_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the command forks")

# One process: `told` is its --distributed, `fact` what it was asked to train, and `train` the body of its child.
PROCESS = """
import os, signal, sys, time
from pathlib import Path
from musicgen.app.ending import exit_code
from musicgen.app.errors import BadInput
from musicgen.app.training.hosts import meeting, place, watch

meeting.PATIENCE, meeting.SEEN, meeting.ANSWERS, meeting.COMES = {comes} / 2, 0.5, 2.0, {comes}
watch.NEWS = 5.0
place.own_name = meeting.own_name = lambda: "host" + sys.argv[1].rpartition(",")[2]
folder = Path(sys.argv[2])

def train():
    (folder / f"trains-{{os.getppid()}}").write_text(str(os.getpid()))
    {train}

def run():
    where = place.place_of(sys.argv[1])
    met = meeting.meet(where, dict(zip(("--steps", "--data"), sys.argv[3].split())), folder)
    return watch.train_watched(met, folder, lambda: exit_code(train))

sys.exit(exit_code(run))
"""
SLEEP = "time.sleep(60); return 1"
FACTS = "10 sha256-a"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(
    told: str, folder: Path, train: str = "return 0", facts: str = FACTS, comes: float = 30
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS.format(train=train, comes=comes), told, str(folder), facts]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ends(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """The exit code and stderr of each."""
    said = [process.communicate(timeout=60)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def child_of(process: subprocess.Popen[str], folder: Path) -> int:
    """Its process id, once it trains."""
    file, until = folder / f"trains-{process.pid}", time.monotonic() + 60
    while not (file.exists() and (text := file.read_text())):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return int(text)


def test_what_has_to_be_the_same(tmp_path: Path) -> None:
    """The options and the bytes of the data, not where they lie nor how many processes read them."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)

    def facts(folder: str, *options: str, manifest: str = "{}") -> dict[str, str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "manifest.json").write_text(manifest)
        whole = ("--preset", "toy", "--data", str(tmp_path / folder), "--out", folder, "--distributed", "a:1,2,0")
        return facts_of(parser.parse_args([*whole, *options]))

    ours = facts("one")
    assert facts("other", "--workers", "3") == ours
    assert facts("other", "--steps", "7") == ours | {"--steps": "7"}
    assert {name for name, fact in facts("other", manifest="{ }").items() if fact != ours[name]} == {"--data"}
    with pytest.raises(BadInput, match="nowhere is no data set here, on .*: mount or copy its folder"):
        facts_of(parser.parse_args(["--preset", "toy", "--data", "nowhere", "--out", "run"]))


def test_the_place_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of("node0:1234,2,1") == Place("node0", 1234, 2, 1)
    assert place_of("[fd00::1]:1234,2,0").address == "[fd00::1]:1234"
    for wrong in ("node0:1234", "node0,2,1", ":1234,2,1", "node0:1234,2,2", "node0:99999,2,1", "node0:1234,2,-1"):
        with pytest.raises(BadInput, match=r"--distributed .*(HOST:PORT,COUNT,INDEX|INDEX counts)"):
            place_of(wrong)
    for name in list(os.environ):
        if name.startswith(("SLURM", "OMPI", "KUBERNETES")):
            monkeypatch.delenv(name)
    with pytest.raises(BadInput, match="no scheduler such as Slurm tells this process its place: give HOST:PORT"):
        place_of("auto")
    slurm = {"JOB_ID": "1", "STEP_NODELIST": "gpu[07-08]", "NTASKS": "2", "PROCID": "1", "LOCALID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = place_of("auto")
    assert (place.leader, place.count, place.index, place.devices) == ("gpu07", 2, 1, (0,))
    # A command typed there by hand would be one process too many.
    assert place.start(0) == "look at what the scheduler says of task 0"


@pytest.mark.parametrize(
    ("told", "facts", "apart", "message"),
    [
        ("{},3,1", FACTS, False, "was told of 3 processes, process 0 (host0) of 2: give all the same COUNT"),
        ("{},2,1", "20 sha256-a", False, "has another --steps than process 0 (host0) (20, not 10)"),
        ("{},2,1", "10 sha256-b", False, "has another --data than process 0 (host0)"),
        ("{},2,1", FACTS, True, "does not see the folder of the run"),
    ],
)
def test_what_they_do_not_agree_on(port: int, tmp_path: Path, told: str, facts: str, apart: bool, message: str) -> None:
    """All say the same line, and leave nothing behind; a stranger's connection changes nothing."""
    first = start(f"127.0.0.1:{port},2,0", tmp_path)
    until = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
        except ConnectionRefusedError:
            assert time.monotonic() < until
    (tmp_path / "apart").mkdir()
    second = start(told.format(f"127.0.0.1:{port}"), tmp_path / "apart" if apart else tmp_path, facts=facts)
    for code, said in ends(first, second):
        line = f"musicgen: error: --distributed: process 1 (host1, 127.0.0.1) {message}"
        assert code == 2 and said.startswith(line) and said.count("\n") == 1, said
    assert [path.name for path in tmp_path.iterdir()] == ["apart"]


def test_who_does_not_come(port: int, tmp_path: Path) -> None:
    """They say whom they wait for and what to type there, and give up; a wrong port and an unknown host, too."""
    lonely = start(f"127.0.0.1:{port},3,0", tmp_path, comes=2)
    other = start(f"127.0.0.1:{port + 1 if port < 65_535 else 1024},2,1", tmp_path, comes=2)
    unknown, lost = (start(f"nowhere.invalid:{port},2,{index}", tmp_path) for index in (1, 0))
    with socket.create_server(("127.0.0.1", 0)) as server:
        foreign = start(f"127.0.0.1:{server.getsockname()[1]},2,1", tmp_path)
        connection, _ = server.accept()
        connection.sendall(b"SSH-2.0\r\n")
        (code, said), *others = ends(lonely, other, unknown, lost, foreign)
        connection.close()
    assert code == 2 and "process 1, 2 of 3 did not come within 2 s" in said
    assert (
        f"waiting for process 1, 2 of 3: start the same command there with --distributed 127.0.0.1:{port},3,1" in said
    )
    nowhere = "no host nowhere.invalid is known here"
    for (code, said), message in zip(
        others, ("nobody listens at", nowhere, nowhere, "is no process 0 of a run"), strict=True
    ):
        assert code == 2 and message in said.splitlines()[-1] and "Traceback" not in said


@pytest.mark.parametrize(
    ("what", "ended"),
    [
        ("child", [(1, "process 1 (host1, 127.0.0.1) was ended by SIGKILL")] * 2),
        ("parent", [(1, "process 1 (host1, 127.0.0.1) is gone"), (-9, "")]),
        ("leader", [(-9, ""), (1, "process 0 (host0) is gone")]),
        ("error", [(1, "process 1 (host1, 127.0.0.1) has ended with exit code 2"), (2, "error: no room")]),
        ("hangs", [(1, "process 1 (host1, 127.0.0.1) no longer answers")] * 2),
        ("lost", [(1, "has lost the connection to the others")] * 2),
        ("done", [(0, "")] * 2),
        ("stop", [(130, "error: stopped; nothing more is written")] * 2),
    ],
)
def test_they_end_together(port: int, tmp_path: Path, what: str, ended: list[tuple[int, str]]) -> None:
    """Whatever ends on one, by kill -9 say, ends all, and all name the host; Ctrl-C is handed on."""
    bodies = {
        "error": [SLEEP, 'raise BadInput("no room")'],
        "hangs": ['os.write(2, b"unhealthy (stopped sending heartbeats):\\n1\\nSee"); os.abort()', SLEEP],
        "lost": ["os._exit(watch.LOST)"] * 2,
        "done": ["return 0", "time.sleep(1); return 0"],
    }.get(what, [SLEEP] * 2)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "process-0.log").write_text("of before: stopped sending heartbeats):\n0\n")
    processes = [start(f"127.0.0.1:{port},2,{index}", tmp_path, body) for index, body in enumerate(bodies)]
    children = [child_of(process, tmp_path) for process in processes] if bodies == [SLEEP] * 2 else []
    if what == "child":
        os.kill(children[1], signal.SIGKILL)
    elif what == "stop":
        for process in processes:
            process.send_signal(signal.SIGINT)
    elif children:
        processes[0 if what == "leader" else 1].kill()
    for (code, said), (wanted, message) in zip(ends(*processes), ended, strict=True):
        assert code == wanted and message in said and said.count("\n") == bool(message), said
    until = time.monotonic() + 30
    while any(runs(child) for child in children):  # of a parent that was killed
        assert time.monotonic() < until
        time.sleep(0.02)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
