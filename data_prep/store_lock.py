"""One job at a time on a folder in a store, also after a job was killed.

The lock is an object below `.lock/`, whose name is a number: who makes the next number holds it, and a store lets one
of several make an object.  The holder writes it anew every few seconds.  Nobody compares clocks: whoever finds a lock
watches it, and takes it over when it has not changed for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from musicgen.data_prep.stores import NothingThereError, Place, StoreError

BEAT, LEASE = 10.0, 45.0  # seconds between two signs of life; without one until the holder counts as dead
LOOK = 1.0  # seconds between two looks
LOCK_BYTES = 10_000


class Lease:
    """A context in which this job alone writes a folder in a store.

    mine: a name of the copy on this machine, of which the caller is the only user: a lock of that name was left by a
    job that is dead.  say: told why it takes long.  Raises StoreError if another job is at work there.
    """

    def __init__(self, place: Place, mine: str, say: Callable[[str], None] = lambda line: None) -> None:
        self.place, self.mine, self.say = place, mine, say
        self._locks = Place(f"{place.address}/.lock")
        self._name = ""
        self._beats = 0
        self._over, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Lease:
        """Wait until it is known whether another job lives."""
        while not self._take():
            pass
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        self._over.set()
        self._thread.join()
        if not self._lost.is_set():
            with contextlib.suppress(StoreError):  # it will be found dead
                self._locks.remove(self._name)

    def check(self) -> None:
        """Raise StoreError if another job has taken over, since this one was not heard of for too long."""
        if self._lost.is_set():
            raise StoreError(
                f"another job has taken over {self.place.address} while this one stood still: no more is sent there"
            )

    def _take(self) -> bool:
        """Make the lock, if no job lives that holds it.  False if others were faster."""
        dead = self._dead()
        number = int(dead) + 1 if dead else 1
        name = f"{number:08}"
        if not self._locks.create(name, self._text()):
            return False
        if others := set(self._locks.files()) - {dead, name}:
            self._locks.remove(name)
            raise self._busy(max(others))
        self._name = name
        if dead:
            self._locks.remove(dead)
        return True

    def _dead(self) -> str:
        """The newest lock, whose holder is dead; "" if there is none.  Raises StoreError if it lives."""
        watched: tuple[str, bytes] | None = None
        since = time.monotonic()
        while names := sorted(self._locks.files()):
            try:
                now = names[-1], self._locks.read(names[-1], LOCK_BYTES)
            except NothingThereError:
                continue
            holder = _holder(now[1])
            if holder.get("copy") == self.mine:
                return now[0]
            if watched is None:
                watched = now
                self.say(
                    f"{self.place.address} is locked by another job ({_told(holder)}): seeing whether it lives,"
                    f" {LEASE:.0f} s at the most"
                )
            elif now != watched:
                raise self._busy(now[0])
            elif time.monotonic() - since > LEASE:
                return now[0]
            time.sleep(min(LOOK, LEASE / 4))
        return ""

    def _busy(self, name: str) -> StoreError:
        told = "of another machine"
        with contextlib.suppress(StoreError):
            told = _told(_holder(self._locks.read(name, LOCK_BYTES)))
        return StoreError(f"another job ({told}) is writing {self.place.address}: wait for it, or give another folder")

    def _live(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(StoreError):  # the next time, perhaps
                names = sorted(self._locks.files())
                if names[-1:] != [self._name]:
                    self._lost.set()
                    self._locks.remove(self._name)
                    return
                self._locks.write(self._name, self._text())

    def _text(self) -> bytes:
        self._beats += 1
        who = {"copy": self.mine, "host": platform.node(), "process": os.getpid(), "beat": self._beats}
        return json.dumps(who).encode()


def _holder(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


def _told(holder: dict[str, Any]) -> str:
    return f"process {holder.get('process', '?')} on {holder.get('host', 'a machine')}"
