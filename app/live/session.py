"""A conversation in real time: the thread of keyboard or microphone, the model's, and one that does everything else.

Everything that happens, in whatever thread, becomes an action in one queue; the main thread carries them out one after
the other and in between sends what is due.  So the conversation itself needs no locks, and Ctrl-C cannot fall into the
middle of anything: it is an action, too.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

import numpy as np

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.generate import RULES, Model, start
from musicgen.app.live.conversation import Conversation
from musicgen.app.live.ear import Ear
from musicgen.app.live.microphone import Microphone
from musicgen.app.live.ports import Ports
from musicgen.app.settings import LARGEST_SEED, Settings
from musicgen.data_prep import BOS, Performance, encode
from musicgen.data_prep.performance import NO_PEDAL
from musicgen.data_prep.rules.endings import RING, Endings

Action = Callable[[], None]
Wanted = tuple[int, np.ndarray]  # number of an answer, and its prime int16[T]

LONGEST_WAIT = 0.2  # seconds; where the system cannot wake a waiting thread, Ctrl-C waits no longer than this
LOOK = 2.0  # seconds between looks at the ports
# Ctrl-C, a polite end, a terminal that is closed (Windows has no such signal).
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
LAST_BLOCK = 60.0  # seconds: a process must not end in the middle of the model's native code


class Inbox:
    """Actions for the main thread; `put` may be called from anywhere, also from a signal's handler."""

    def __init__(self) -> None:
        """Nothing to do, not stopped."""
        self._actions: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self.put = self._actions.put
        self.stopped: int | None = None  # the signal that did it

    def work(self, seconds: float) -> None:
        """Wait for an action, at most so long, and carry it out."""
        with contextlib.suppress(queue.Empty):
            self._actions.get(timeout=seconds)()

    @contextlib.contextmanager
    def until_signalled(self) -> Iterator[None]:
        """Within, the signals that end a program set ``stopped`` instead, in the order in which things happened."""

        def stop(number: int) -> None:
            self.stopped = number

        def handler(number: int, frame: FrameType | None) -> None:
            self.put(lambda: stop(number))

        before = {number: signal.signal(number, handler) for number in SIGNALS}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)


class Sampler:
    """The model in a thread of its own: draws the answer that is wanted until it is no longer."""

    def __init__(self, model: Model, settings: Settings, seed: int) -> None:
        """settings: resolved.  seed: of the first answer; every further one has the next."""
        self.model, self.settings, self.seed = model, settings, seed
        # An answer is to have rung out when its seconds are over; a short one keeps half of them for its notes.
        self._ending = Endings(RULES, max(settings.seconds - RING, settings.seconds / 2))
        self._requests: queue.SimpleQueue[Wanted | None] = queue.SimpleQueue()
        self._number = 0  # of the answer that is wanted; 0 for none
        self._asked = 0  # the last that was
        self._thread: threading.Thread | None = None

    def stream(self, prime: np.ndarray, number: int) -> Iterator[np.ndarray]:
        """Blocks int16[k] of an answer."""
        seed = (self.seed + number - 1) % (LARGEST_SEED + 1)
        for block in start(self.model, [prime], self.settings, seed, rules=self._ending):
            yield np.asarray(block)[0]

    def warm_up(self) -> None:
        """Have everything compiled and loaded: an answer to a prime of every length that the engine tells apart."""
        notes = np.arange(64)
        scale = Performance(notes / 4, notes / 4 + 0.2, notes % 12 + 60, notes % 12 + 60, NO_PEDAL)
        tokens = encode(scale)
        longest = self.settings.context or self.model.context
        for length in [*(1 + 64 * 4**i for i in range(-3, 12) if 64 * 4**i < longest), longest]:
            prime = np.append(np.array([BOS], np.int16), np.resize(tokens, int(length) - 1))
            next(self.stream(prime.astype(np.int16), 1))

    def start(self, tell: Callable[[int, np.ndarray], None], fail: Callable[[BaseException], None]) -> None:
        """Begin to work: ``tell`` is called with an answer's number and each block int16[k], ``fail`` if one fails."""
        self._thread = threading.Thread(target=self._work, args=(tell, fail), name="sampler", daemon=True)
        self._thread.start()

    def want(self, wanted: Wanted | None) -> None:
        """What is wanted now; whatever else is being drawn is given up."""
        self._number = wanted[0] if wanted is not None else 0
        if wanted is not None and wanted[0] > self._asked:
            self._asked = wanted[0]
            self._requests.put(wanted)

    def stop(self) -> None:
        """Give up what is being drawn, and wait until the engine rests."""
        self._number = 0
        self._requests.put(None)
        if self._thread is not None:
            self._thread.join(LAST_BLOCK)

    def _work(self, tell: Callable[[int, np.ndarray], None], fail: Callable[[BaseException], None]) -> None:
        while (request := self._requests.get()) is not None:
            number, prime = request
            try:
                if number == self._number:
                    for block in self.stream(prime, number):
                        if number != self._number:
                            break
                        tell(number, block)
            except BaseException as error:
                fail(error)
                return


def converse(
    conversation: Conversation,
    ports: Ports,
    sampler: Sampler,
    inbox: Inbox,
    on_ready: Action,
    ear: Ear | None = None,
) -> None:
    """Play until the inbox is stopped, or something goes wrong; nothing sounds afterwards.

    Args:
        conversation: sends to ``ports``.
        ports: open, nobody listening yet.
        sampler: warm.
        inbox: empty.
        on_ready: called when the keyboard or the microphone is listened to.
        ear: what hears the player instead of the keyboard; it is to be stopped afterwards.

    Raises:
        EnvironmentProblem: a port or the microphone has gone.
    """
    clock = time.monotonic
    over = threading.Event()
    watched = [ports] if ear is None else [ports, ear.microphone]
    watch = threading.Thread(target=_watch, args=(watched, inbox, over), name="ports", daemon=True)

    def fail(error: BaseException) -> None:
        inbox.put(functools.partial(_raise, error))

    try:
        sampler.start(
            lambda number, block: inbox.put(lambda: conversation.draw(number, block.tolist(), clock())),
            fail,
        )
        if ear is None:
            ports.listen(lambda message, when: inbox.put(lambda: conversation.hear(message, when)))
        else:
            ear.start(conversation, inbox.put, fail)
        watch.start()
        on_ready()
        while inbox.stopped is None:
            due = conversation.next_time()
            inbox.work(LONGEST_WAIT if due is None else min(max(due - clock(), 0.0), LONGEST_WAIT))
            conversation.advance(clock())
            sampler.want(conversation.wanted)
    finally:
        over.set()
        # Whatever it was that ended it, a dead port must not hide it.
        with contextlib.suppress(EnvironmentProblem):
            conversation.close(clock())


def _watch(watched: Sequence[Ports | Microphone], inbox: Inbox, over: threading.Event) -> None:
    """Look every now and then whether everything is still there: the system does not tell."""
    while not over.wait(LOOK):
        gone = " and ".join(filter(None, (device.missing() for device in watched)))
        if gone:
            error = EnvironmentProblem(f"the {gone} has gone: plug it in and start again")
            inbox.put(functools.partial(_raise, error))
            return


def _raise(error: BaseException) -> NoReturn:
    raise error
