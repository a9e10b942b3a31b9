"""`musicgen train --distributed` on two and four hosts of a network that fails: the whole way, with JAX and Gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from namespaces import Hosts

from musicgen.app import cli
from musicgen.data_prep import Performance, write_midi

pytest.importorskip("optax", reason="the extra `train` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.nightly]

PATIENCE = 300.0
STEPS = 20  # that are compared: rounding grows


@pytest.fixture
def command(tmp_path: Path, piece: Callable[..., Performance]) -> list[str]:
    """To train on a few pieces without end."""
    for seed in range(4):
        write_midi(piece(80, seed), tmp_path / f"{seed}.mid")
    made = ["--midi-dir", str(tmp_path), "--out", str(tmp_path / "set"), "--workers", "0", "--quiet"]
    assert cli.main(["prep", *made]) == 0
    return ["train", "--preset", "toy", "--data", str(tmp_path / "set"), "--no-samples", "--steps", "100000"]


class Run:
    """The command on so many hosts of a network."""

    def __init__(self, network: Hosts, command: list[str], logs: Path, count: int) -> None:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        self.logs = [logs.with_name(f"{logs.name}-{index}") for index in range(count)]
        self.processes = []
        for index, log in enumerate(self.logs):
            place = f"{Hosts.address(0)}:1234,{count},{index}"
            whole = ("-m", "musicgen", *command, "--distributed", place)
            self.processes.append(network.start(index, *whole, log=log, environment=environment))

    def until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline and self.processes[0].poll() is None, self.said()
            time.sleep(0.1)

    def ends(self) -> list[tuple[int, str]]:
        """Exit code and last line of each."""
        codes = [process.wait(PATIENCE) for process in self.processes]
        return [(code, said.splitlines()[-1]) for code, said in zip(codes, self.said(), strict=True)]

    def said(self) -> list[str]:
        return [log.read_text() for log in self.logs]


def figures_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    return [record for record in map(json.loads, lines) if "nats" in record]


def test_a_run_moves_from_host_to_host(hosts: Callable[[int], Hosts], command: list[str], tmp_path: Path) -> None:
    """Begun on two; on four, of which the first is killed; on two, whose cable is cut; on two, of which one is told to
    end; ended by one: the losses of one run.
    """
    network, alone, run = hosts(4), tmp_path / "alone", tmp_path / "run"
    two = Run(network, [*command, "--out", str(run), "--stop-after", "0"], tmp_path / "two", 2)
    for _ in range(STEPS // 5):
        assert cli.main([*command, "--out", str(alone), "--stop-after", "0"]) == 0
    for code, last in two.ends():
        assert code == 0 and last.startswith("musicgen: stopped at step 5 of 100000"), two.said()

    four = Run(network, [*command, "--out", str(run)], tmp_path / "four", 4)
    four.until(lambda: len(figures_of(run)) >= 4)
    (child,) = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(four.processes[0].pid)], check=True, capture_output=True, text=True
    ).stdout.split()
    os.kill(int(child), signal.SIGKILL)
    for (code, last), said in zip(four.ends(), four.said(), strict=True):
        assert code == 1 and "process 0 (host0) was ended by SIGKILL" in last and "F1" not in said, said

    before = len(figures_of(run))
    again = Run(network, [*command, "--out", str(run)], tmp_path / "again", 2)
    again.until(lambda: len(figures_of(run)) >= before + 2)
    network.cut(1)
    (first, said), (second, other) = again.ends()
    assert first == second == 1 and f"process 1 (host1, {Hosts.address(1)}) is gone" in said, said
    assert "process 0 (host0) is gone" in other, other

    network.mend(1)
    before = len(figures_of(run))
    last = Run(network, [*command, "--out", str(run)], tmp_path / "last", 2)
    last.until(lambda: len(figures_of(run)) > before)
    last.processes[1].send_signal(signal.SIGTERM)
    stopped = {code: said.removeprefix("musicgen: stopped at step ").split()[0] for code, said in last.ends()}
    assert stopped.keys() == {143}, last.said()

    assert cli.main([*command, "--out", str(run), "--stop-after", "0"]) == 0
    expected = {record["step"]: record["nats"] for record in figures_of(alone)}
    steps = [record["step"] for record in figures_of(run)]
    assert steps.count(10) == 3 and steps[-1] == int(stopped[143]) + 5  # three times from the checkpoint of step 5
    for record in figures_of(run):
        if record["step"] <= STEPS:
            assert record["nats"] == pytest.approx(expected[record["step"]], rel=1e-5), record
