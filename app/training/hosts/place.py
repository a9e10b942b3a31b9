"""Which of several processes this one is, and where they meet."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass

from musicgen.app.errors import BadInput

FORM = "give HOST:PORT,COUNT,INDEX, the same on all but for INDEX: the host of process 0, such as node0:1234,2,0"
# Slurm, MPI, Kubernetes and TPUs tell a process its place; JAX knows how, and is imported where nothing is forked.
DETECT = """
import json
from jax._src.clusters import ClusterEnv
print(json.dumps(ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 60)))
"""


@dataclass(frozen=True)
class Place:
    """Process `index` of `count`, which meet at `port` of the host `leader`, where process 0 runs.

    devices: the numbers of those that are this process's; None: all of the host.
    scheduled: whether a scheduler said so, which starts the others, too.
    """

    leader: str
    port: int
    count: int
    index: int
    devices: tuple[int, ...] | None = None
    scheduled: bool = False

    @property
    def address(self) -> str:
        """HOST:PORT, as a person writes it."""
        return f"[{self.leader}]:{self.port}" if ":" in self.leader else f"{self.leader}:{self.port}"

    def start(self, index: int) -> str:
        """What a person does so that this process comes."""
        if self.scheduled:
            return f"look at what the scheduler says of task {index}"
        return f"start the same command there with --distributed {self.address},{self.count},{index}"


def place_of(word: str) -> Place:
    """The place that --distributed HOST:PORT,COUNT,INDEX names, or with "auto" the scheduler's.  Raises BadInput."""
    if word == "auto":
        return _detect()
    try:
        address, count, index = word.split(",")
        leader, _, port = address.rpartition(":")
        place = Place(leader.strip("[]"), int(port), int(count), int(index))
    except ValueError:
        raise BadInput(f"--distributed {word}: {FORM}") from None
    if not place.leader or not 0 < place.port < 2**16:
        raise BadInput(f"--distributed {word}: {FORM}")
    if not 0 <= place.index < place.count:
        raise BadInput(f"--distributed {word}: of {place.count} processes, INDEX counts from 0 to {place.count - 1}")
    return place


def _detect() -> Place:
    ran = subprocess.run([sys.executable, "-c", DETECT], capture_output=True, text=True)
    try:
        address, count, index, devices = json.loads(ran.stdout)
        leader, _, port = address.rpartition(":")
        return Place(leader.strip("[]"), int(port), int(count), int(index), devices and tuple(devices), True)
    except (ValueError, TypeError, AttributeError):  # none, or not all of them
        said = ran.stderr.strip().splitlines()
        why = f" ({said[-1]})" if ran.returncode and said else ""
        raise BadInput(f"--distributed: no scheduler such as Slurm tells this process its place{why}: {FORM}") from None


def own_name() -> str:
    """What this host calls itself."""
    return socket.gethostname()
