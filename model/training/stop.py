"""When a run saves and leaves before its end."""

from __future__ import annotations

import signal
import time

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all


class Stop:
    """Whether to save and leave: after SIGTERM, Ctrl-C or so many seconds.  All processes of a run leave together.

    A context: at its end the signals mean again what they meant before.
    """

    def __init__(self, after: float) -> None:
        self.deadline, self.signalled = time.monotonic() + after, False

    def __enter__(self) -> Stop:
        self.before = {name: signal.signal(name, self._note) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)

    def _note(self, *_: object) -> None:
        self.signalled = True

    def should_stop(self) -> bool:
        """True on every process as soon as the first process has a reason."""
        here = self.signalled or time.monotonic() > self.deadline
        return bool(broadcast_one_to_all(np.int32(here))) if jax.process_count() > 1 else here
