"""How a piece is cut for scoring: windows of at most N inputs advance by S and score their last S targets.

The first window has M inputs, all of them latents, and scores all of its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

OnWindow = Callable[[np.ndarray, np.ndarray], None]  # targets int [T] that a window has scored, and their nats f32 [T]


class Window(NamedTuple):
    """One call of the model: inputs tokens[first:stop], of whose M latents the last `scored` count."""

    first: int
    stop: int
    scored: int


def windows(targets: int, N: int, M: int, S: int) -> Iterator[Window]:
    """The windows over a piece of so many targets (one less than its tokens)."""
    stop = min(M, targets)
    yield Window(0, stop, stop)
    while stop < targets:
        scored = min(S, targets - stop)
        stop += scored
        yield Window(max(0, stop - N), stop, scored)


def check_lengths(M: int, N: int, S: int) -> None:
    """Raise ValueError unless they make windows."""
    if not 1 <= S <= M <= N:
        raise ValueError(f"need 1 <= stride <= latents <= context, got stride {S}, latents {M}, context {N}")
