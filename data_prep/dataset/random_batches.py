"""Endless random batches that can be gone on with: what comes depends on the seed and the number of batches read."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class RandomBatches(ABC):
    """An iterator with a state, like Grain's."""

    def __init__(self, seed: int) -> None:
        """Nothing has been read."""
        self._seed, self._read = seed, 0

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One batch."""

    def __iter__(self) -> RandomBatches:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self._seed, self._read])
        self._read += 1
        return self.draw(rng)

    def get_state(self) -> dict[str, int]:
        """What `set_state` of an iterator made alike wants."""
        return {"read": self._read}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._read = state["read"]
