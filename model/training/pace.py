"""Which process of a run holds the others up, and by how much.

After each dispatch all meet.  Who comes last has kept the others waiting: its rows came late, or it saved, or paused.
Devices that compute slowly are not seen so, since every step waits for all; so each process also times a little work
of its own devices alone, two thousandths of a dispatch.
"""

from __future__ import annotations

import functools
import socket
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from musicgen.model.training.metrics import Metrics

REPORTED = 60.0  # seconds between two lines
DISPATCHES = 3  # at the least between them
WORK = 0.002  # share of a dispatch
SIDE = {"cpu": 256}  # of the matrices of the work, else 4,096
LATE, SLOW = 0.05, 1.25  # worth a line: waited for in so much of the time; so many times slower than the others
NAME = 64  # bytes of a host's name


class Pace:
    """How this process and the others keep up; one that is alone does nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics, self.several = metrics, jax.process_count() > 1
        if not self.several:
            return
        name = np.zeros(NAME, np.uint8)
        mine = socket.gethostname().encode()[:NAME]
        name[: len(mine)] = np.frombuffer(mine, np.uint8)
        hosts = [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in process_allgather(name)]
        self.names = [f"process {index} ({host})" for index, host in enumerate(hosts)]
        self.work(0.0)  # compiles
        self.waited = self.began = 0.0

    def _begin(self) -> None:
        self.began = time.monotonic()
        self.late = np.zeros(len(self.names))
        self.rates: list[np.ndarray] = []

    def meet(self, seconds: float) -> None:
        """After a dispatch of so many seconds, on all processes."""
        if not self.several:
            return
        arrived = time.monotonic()
        told = process_allgather(np.array([self.waited, self.rate, arrived - self.began]))
        if not self.began:  # the first dispatch was compiled
            self._begin()
            return
        self.waited = time.monotonic() - arrived  # is told at the next meeting
        self.work(WORK * seconds)
        self.late += told[:, 0].max() - told[:, 0]
        self.rates.append(told[:, 1])
        whole = float(told[0, 2])  # by the first one's clock: all begin anew together
        if len(self.rates) >= DISPATCHES and whole > REPORTED:
            if self.metrics.writes:
                self._report(whole)
            self._begin()

    def work(self, seconds: float) -> None:
        """Multiply matrices on each device for so long, and note how many a second there were."""
        began, done = time.perf_counter(), 0
        while not done or time.perf_counter() - began < seconds:
            jax.block_until_ready([multiply(x) for x in matrices()])
            done += 1
        self.rate = done / (time.perf_counter() - began)

    def _report(self, whole: float) -> None:
        """A line for the one who is waited for, and one for the slow one."""
        last = int(self.late.argmax())
        if self.late[last] > LATE * whole:
            waited = f"the others waited {self.late[last]:.1f} of {whole:.0f} s for {self.names[last]}"
            self.metrics.show(f"musicgen: {waited}: are its rows late (--workers), or its disk?", {})
        rates = np.median(self.rates, axis=0)
        slow = int(rates.argmin())
        times = float(np.median(np.delete(rates, slow)) / rates[slow])
        if times > SLOW:
            line = f"{self.names[slow]} computes {times:.1f} times as slowly as the others"
            self.metrics.show(f"musicgen: {line}: is something else running there?", {})


@functools.cache
def matrices() -> list[jax.Array]:
    """One on each of this process's devices."""
    side = SIDE.get(jax.default_backend(), 4_096)
    kind = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return [jax.device_put(np.ones((side, side), kind), device) for device in jax.local_devices()]


@jax.jit
def multiply(x: jax.Array) -> jax.Array:
    """x @ x, which another product needs."""
    return x @ x
