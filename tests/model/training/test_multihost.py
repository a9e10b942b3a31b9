"""Two processes of one device train what one process of one device trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax", reason="the extra `train` is not installed")
SCRIPT = Path(__file__).with_name("multihost_run.py")


def start(folder: Path, port: int, count: int, index: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(port), str(count), str(index)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told.decode()[-2000:]


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = start(tmp_path / "one", 0, 1, 0)
    together = [start(tmp_path / "two", port, 2, index) for index in range(2)]
    for process in (alone, *together):
        finish(process)
    one, two = np.load(tmp_path / "one" / "params.npz"), np.load(tmp_path / "two" / "params.npz")
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=2e-4)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 2  # of one process, not of both
