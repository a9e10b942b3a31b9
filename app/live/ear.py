"""What hears a player without keys: phrases are found in a microphone's sound, and their notes go into a conversation.

Finding phrases is quick and is done by the main thread; hearing their notes takes seconds and has a thread of its own.
While the model plays, the microphone hears the loudspeaker: no phrase begins then.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from musicgen.app.live.conversation import CONTROL, RELEASE, STRIKE, SUSTAIN, Conversation, Message
from musicgen.app.live.microphone import Microphone
from musicgen.app.live.phrases import Phrase, Phrases
from musicgen.app.transcription import ONE_WINDOW, Hear, Heard
from musicgen.data_prep.audio import SAMPLE_RATE

ECHO = 0.3  # seconds until what was sent to the synth has come back through the microphone
SHORTEST = 0.02  # seconds of a note
LONGEST_HEARING = 120.0  # seconds: a process must not end in the middle of native code


class Ear:
    """Listens to a microphone for a conversation."""

    def __init__(
        self, microphone: Microphone, hear: Hear, on_heard: Callable[[int, float], None] = lambda notes, seconds: None
    ) -> None:
        """on_heard: told of every phrase how many notes were heard in it, and how many seconds that took."""
        self.microphone, self.on_heard = microphone, on_heard
        self.takes = 0.0  # seconds, to hear a phrase that fits into one window
        self._hear = hear
        self._deaf_until = -np.inf
        self._to_hear: queue.SimpleQueue[Phrase | None] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[tuple[Phrase, Heard, float]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def warm_up(self) -> None:
        """Have everything loaded, and see how long it takes to hear a phrase."""
        room = np.random.default_rng(0).normal(0.0, 1e-3, round(ONE_WINDOW * SAMPLE_RATE)).astype(np.float32)
        for _ in range(2):  # the first time takes longer
            began = time.monotonic()
            self._hear(room, lambda *progress: None)
        self.takes = time.monotonic() - began

    def start(
        self,
        conversation: Conversation,
        put: Callable[[Callable[[], None]], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Begin to listen; ``put`` hands actions to the main thread, ``fail`` is called if hearing fails."""
        self._conversation, self._phrases = conversation, Phrases(conversation.pause)
        self._thread = threading.Thread(target=self._work, args=(put, fail), name="ear", daemon=True)
        self._thread.start()
        self.microphone.listen(lambda block, when: put(functools.partial(self.take, block, when)))

    def take(self, block: np.ndarray, when: float) -> None:
        """Sound f32 [n] that ended then."""
        if self._conversation.is_playing:
            self._deaf_until = when + ECHO
        sounded = self._phrases.sounding
        phrase = self._phrases.take(block, when, attentive=when > self._deaf_until)
        if self._phrases.sounding and not sounded:
            self._conversation.expect_phrase(when)
        if phrase is not None:
            self._to_hear.put(phrase)

    def deliver(self) -> None:
        """Give the conversation what has been heard meanwhile."""
        while not self._heard.empty():
            phrase, heard, seconds = self._heard.get()
            messages = as_messages(heard, phrase)
            self.on_heard(len(heard.notes), seconds)
            self._conversation.hear_phrase(messages, phrase.ended)

    def stop(self, keep: bool) -> None:
        """Listen no longer, and wait for what is being heard; keep: hear what was played and not heard yet, too."""
        self.microphone.close()
        if self._thread is None:
            return
        phrase = self._phrases.cut(time.monotonic())
        if keep and phrase is not None:
            self._to_hear.put(phrase)
        while not keep and not self._to_hear.empty():
            self._to_hear.get()
        self._to_hear.put(None)
        self._thread.join(LONGEST_HEARING)
        self.deliver()

    def __enter__(self) -> Ear:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the microphone."""
        self.microphone.close()

    def _work(self, put: Callable[[Callable[[], None]], None], fail: Callable[[BaseException], None]) -> None:
        while (phrase := self._to_hear.get()) is not None:
            began = time.monotonic()
            try:
                heard = self._hear(phrase.sound, lambda *progress: None)
            except BaseException as error:
                fail(error)
                return
            self._heard.put((phrase, heard, time.monotonic() - began))
            put(self.deliver)


def as_messages(heard: Heard, phrase: Phrase) -> list[tuple[float, Message]]:
    """What was heard in a phrase as a keyboard would have sent it: times and messages, in order.

    All keys and the pedal are up when the phrase ends.
    """
    music, length = heard.music(), phrase.ended - phrase.began
    sent: list[tuple[float, Message]] = []
    columns = (music.onset, music.end, music.pitch, music.velocity)
    for onset, end, pitch, velocity in zip(*(column.tolist() for column in columns), strict=True):
        end = max(min(end, length), onset + SHORTEST)
        sent.append((phrase.began + onset, (STRIKE, pitch, velocity)))
        sent.append((phrase.began + end, (RELEASE, pitch, 0)))
    for at, value in music.pedal.tolist() if len(music) else ():
        sent.append((phrase.began + min(at, length), (CONTROL, SUSTAIN, int(value))))
    return sorted(sent, key=lambda one: (one[0], one[1][0]))  # of one moment, releases come first
