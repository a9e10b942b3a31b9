"""Rows on their way to the devices: processes that draw decks of them, and a thread that lays them out."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from typing import Any

import numpy as np

from musicgen.data_prep.dataset.mixture import Rows


class Decks:
    """Worker processes that draw decks of rows into shared memory, in an order of their own.

    They begin with `first`, and go over to `last` once `turn` has been called.
    """

    def __init__(
        self, first: Rows, last: Rows, gaps: np.ndarray, workers: int, seed: tuple[int, int], slots: int
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.shape = (len(gaps), first.context + 1)
        self.memory = [context.RawArray("h", int(np.prod(self.shape))) for _ in range(slots)]
        self.free, self.full, self.turned = context.Queue(), context.Queue(), context.RawValue("b", 0)
        self.processes = [
            context.Process(target=self._draw, args=((first, last), gaps, (*seed, i)), daemon=True)
            for i in range(workers)
        ]
        for process in self.processes:
            process.start()
        for slot in range(slots):  # now: this starts a thread, and processes are best forked without
            self.free.put(slot)

    def _draw(self, ways: tuple[Rows, Rows], gaps: np.ndarray, seed: tuple[int, ...]) -> None:
        count = 0
        while True:
            slot = self.free.get()
            rng, rows = np.random.default_rng([*seed, count]), ways[self.turned.value]
            deck = np.ndarray(self.shape, np.int16, self.memory[slot])
            for i, gap in enumerate(gaps):
                deck[i] = rows.gaps(rng) if gap else rows.plain(rng)
            self.full.put(slot)
            count += 1

    def turn(self) -> None:
        """From now on rows are drawn the last way."""
        self.turned.value = 1

    def take(self, count: int) -> np.ndarray:
        """The next decks, i16[count * rows, N + 1]."""
        out = []
        for _ in range(count):
            slot = self.full.get(timeout=120)
            out.append(np.ndarray(self.shape, np.int16, self.memory[slot]).copy())
            self.free.put(slot)
        return np.concatenate(out)

    def close(self) -> None:
        for process in self.processes:
            process.terminate()


class Feed:
    """A thread that lays the rows of coming dispatches, of so many steps of `count` decks each, onto the devices."""

    def __init__(self, decks: Decks, mesh: Any, count: int, steps: int) -> None:
        import jax
        from jax.sharding import NamedSharding, PartitionSpec

        self.ready: queue.Queue[Any] = queue.Queue(3)
        layout = NamedSharding(mesh, PartitionSpec(None, "data"))

        def run() -> None:
            try:
                while True:
                    rows = np.stack([decks.take(count) for _ in range(steps)])
                    self.ready.put(jax.device_put(rows, layout))
            except Exception as error:  # told to the loop, which waits for rows
                self.ready.put(error)

        threading.Thread(target=run, daemon=True).start()

    def __call__(self) -> Any:
        rows = self.ready.get(timeout=300)
        if isinstance(rows, Exception):
            raise rows
        return rows
