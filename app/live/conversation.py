"""A conversation of a player and a model, note by note: what is heard, when it is answered, what is sent.

`Conversation` knows no ports, threads or clocks.  It is told what happens and when (`hear`: a message of the keyboard,
`expect_phrase`, `hear_phrase`: something is played, and later its notes, `draw`: tokens of the model, `advance`: time
has passed), sends what is due, and says what it wants next (`wanted`: an answer to this prime, `next_time`: to be told
the time).  Times are seconds on one clock that never goes back.

A turn: the player plays a phrase and lets go of keys and pedal.  After `HEAD_START` of silence the answer is asked
for; when the silence has lasted for the whole pause, it sounds.  A key struck before that goes on with the phrase, a
key struck later ends the answer.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from musicgen.data_prep import STEPS_PER_SECOND, Performance, apply_pedal, encode, merge
from musicgen.data_prep.events import NoteDecoder
from musicgen.data_prep.performance import NO_PEDAL, PEDAL_DOWN

Message = tuple[int, ...]  # the bytes of a MIDI channel message: status, then data
Key = tuple[int, int]  # channel, pitch

RELEASE, STRIKE, CONTROL, SYSTEM = 0x80, 0x90, 0xB0, 0xF0  # kinds of status bytes
SUSTAIN, SOSTENUTO, HOLD = 64, 66, 69  # controllers that keep released keys sounding
ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123
DRUMS = 9  # the channel of a keyboard's pads: passed on, but no piano notes

HEAD_START = 0.25  # of the pause: what is drawn this early is seldom drawn in vain
LONGEST_SILENCE = 0.5  # seconds between turns as the model sees them: it need not learn how long people think


class Outlet:
    """The way to the synth.  It remembers what sounds, so that everything can be let go at any moment."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        """send: puts a message on the wire."""
        self._send = send
        self.sounding: set[Key] = set()
        self.held: dict[Key, int] = {}  # value of the pedals that are not up, by (channel, controller)

    def send(self, message: Message) -> None:
        """Send a channel message; a key that sounds already is ended before it is struck again."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        key = (channel, message[1])
        if kind == STRIKE:
            if key in self.sounding:
                self._send((RELEASE | channel, message[1], 0))
            self.sounding.add(key)  # before it is sent: whatever happens then, it is let go
        if kind == CONTROL and message[1] in (SUSTAIN, SOSTENUTO, HOLD):
            if message[2]:
                self.held[key] = message[2]
            else:
                self.held.pop(key, None)
        self._send(message)
        if kind == RELEASE:
            self.sounding.discard(key)

    def let_go(self) -> None:
        """End everything that sounds, also what rings on under a pedal; pedals that are down stay down."""
        held = dict(self.held)
        self.silence()
        for (channel, controller), value in held.items():
            self.send((CONTROL | channel, controller, value))

    def silence(self) -> None:
        """End everything that sounds and lift every pedal."""
        for channel, controller in list(self.held):
            self.send((CONTROL | channel, controller, 0))
        for channel, pitch in sorted(self.sounding):
            self.send((RELEASE | channel, pitch, 0))


class Part:
    """What one of the two has played, at the times at which it happened."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.notes: list[tuple[float, float, int, int]] = []  # onset, end, pitch, velocity of notes that are over
        self.pedal: list[tuple[float, int]] = []
        self.down: dict[Key, tuple[float, int]] = {}  # onset and velocity of the keys that are down

    def strike(self, key: Key, velocity: int, now: float) -> None:
        """A key goes down."""
        self.release(key, now)
        self.down[key] = (now, velocity)

    def release(self, key: Key, now: float) -> None:
        """A key goes up, if it was down."""
        if key in self.down:
            onset, velocity = self.down.pop(key)
            self.notes.append((onset, now, key[1], velocity))

    def release_all(self, now: float) -> None:
        """All keys go up."""
        for key in list(self.down):
            self.release(key, now)

    def performance(self) -> Performance:
        """The notes that are over, and the pedal."""
        onset, end, pitch, velocity = (
            (np.array(column) for column in zip(*self.notes, strict=True))
            if self.notes
            else (np.zeros(0) for _ in range(4))
        )
        return Performance(onset, end, pitch.astype(int), velocity.astype(int), np.array(self.pedal, np.float64))


class Answer:
    """What the model says to one phrase: tokens in, notes with their times out, the first one at 0."""

    def __init__(self, number: int, prime: np.ndarray, seconds: float) -> None:
        """prime: int16[T] what it is an answer to.  seconds: after which it is cut."""
        self.number, self.prime, self.seconds = number, prime, seconds
        self.queue: collections.deque[tuple[float, int, int]] = collections.deque()  # time, pitch, velocity or 0
        self.whole = False  # nothing more comes into the queue
        self.began: float | None = None  # when its time 0 is
        self.latency = self.waited = 0.0  # seconds, before the first note and for later ones
        self.struck = 0  # notes sent
        self._decoder = NoteDecoder(prime)
        self._first: int | None = None  # step of the first note: the silence before it has been waited for already
        self._down: set[int] = set()

    def take(self, tokens: Sequence[int]) -> None:
        """Read some more tokens."""
        if self.whole:
            return
        for note, step, pitch, velocity in self._decoder.feed(tokens):
            at = self._since_first(step)
            if at >= self.seconds:
                break
            if velocity:
                self._strike(pitch, velocity, step)
            elif note >= 0:
                self._release(pitch, at)
        at = self._since_first(self._decoder.step)
        if self._decoder.ended or at >= self.seconds:
            self._end(min(at, self.seconds))

    def _since_first(self, step: int) -> float:
        """Seconds since the first note, or since the beginning before there is one."""
        return (step - (self._first or 0)) / STEPS_PER_SECOND

    def _strike(self, pitch: int, velocity: int, step: int) -> None:
        if self._first is None:
            self._first = step
        self._down.add(pitch)
        self.queue.append((self._since_first(step), pitch, velocity))

    def _release(self, pitch: int, at: float) -> None:
        self._down.remove(pitch)
        self.queue.append((at, pitch, 0))

    def _end(self, at: float) -> None:
        for pitch in sorted(self._down):
            self._release(pitch, at)
        self.whole = True


@dataclasses.dataclass(frozen=True)
class Turn:
    """A phrase and its answer.

    heard, answered: notes of each.  seconds: from the first note of the answer to its end.
    latency: seconds from the last key or pedal let go to the first note of the answer.
    waited: seconds that the answer came to a halt because its notes were not there in time.
    interrupted: whether the player ended it.
    """

    heard: int
    answered: int
    seconds: float
    latency: float
    waited: float
    interrupted: bool


class Conversation:
    """The state machine: see the top of the file."""

    def __init__(
        self,
        send: Callable[[Message], None],
        *,
        pause: float,
        seconds: float,
        thru: bool = True,
        on_turn: Callable[[Turn], None] = lambda turn: None,
    ) -> None:
        """Nothing has been played.

        Args:
            send: puts a message on the wire to the synth.
            pause: seconds with no key and no pedal down after which the answer sounds.
            seconds: after which an answer is cut.
            thru: send the player's own messages on.
            on_turn: told about every answer when it is over.
        """
        self.pause, self.seconds, self.thru, self.on_turn = pause, seconds, thru, on_turn
        self.out = Outlet(send)
        self.player, self.model = Part(), Part()
        self.answer: Answer | None = None
        self._answers = 0
        self._heard = 0  # notes since the last answer
        self._quiet_since: float | None = None  # since when no key and no pedal is down; None while one is
        self.unheard = 0  # phrases that have begun and whose notes are not known yet
        self._pedals: set[int] = set()  # channels whose sustain pedal is down
        self._channel = 0  # on which the player plays, and so the model
        self._now = 0.0

    @property
    def wanted(self) -> tuple[int, np.ndarray] | None:
        """The answer that is to be drawn, or drawn further: its number and its prime int16[T]."""
        return (self.answer.number, self.answer.prime) if self.answer is not None and not self.answer.whole else None

    @property
    def is_playing(self) -> bool:
        """Whether an answer sounds."""
        return self.answer is not None and self.answer.began is not None

    def next_time(self) -> float | None:
        """When `advance` has something to do; None: not before something else happens."""
        if self.answer is None:
            return (
                self._quiet_since + HEAD_START * self.pause if self._heard and self._quiet_since is not None else None
            )
        if self.answer.began is not None:
            if self.answer.queue:
                return self.answer.began + self.answer.queue[0][0]
            return self._now if self.answer.whole else None
        there = self.answer.queue or self.answer.whole
        return self._quiet_since + self.pause if there and self._quiet_since is not None else None

    def hear(self, message: Message, now: float) -> None:
        """A message of the keyboard; what is no channel message is ignored."""
        now = self._later(now)
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if not RELEASE <= kind < SYSTEM:
            return
        if kind == STRIKE and message[2] == 0:
            kind, message = RELEASE, (RELEASE | channel, message[1], 0)
        piano = channel != DRUMS
        if kind == STRIKE and piano:
            self._interrupt(now)
        if piano:
            self._record(kind, channel, message, now)
        if self.thru:
            self.out.send(message)

    def _record(self, kind: int, channel: int, message: Message, now: float) -> None:
        key = (channel, message[1])
        if kind == STRIKE:
            self.player.strike(key, message[2], now)
            self._heard += 1
            self._channel = channel
        elif kind == RELEASE:
            self.player.release(key, now)
        elif kind == CONTROL and message[1] == SUSTAIN:
            self.player.pedal.append((now, message[2]))
            (self._pedals.add if message[2] >= PEDAL_DOWN else self._pedals.discard)(channel)
        elif kind == CONTROL and message[1] == RESET_CONTROLLERS and channel in self._pedals:
            self.player.pedal.append((now, 0))
            self._pedals.discard(channel)
        elif kind == CONTROL and message[1] in (ALL_SOUND_OFF, ALL_NOTES_OFF):
            self.player.release_all(now)
        self._watch_hands(now)

    def expect_phrase(self, now: float) -> None:
        """The player plays something whose notes are known later; until then there is no answer."""
        self.unheard += 1
        self._watch_hands(self._later(now))

    def hear_phrase(self, messages: Sequence[tuple[float, Message]], ended: float) -> None:
        """The notes of the first phrase that was expected, at the times at which they were played; they sounded
        already, so they are not sent on.  ended: when there was silence; keys and pedal are up."""
        self.unheard -= 1
        for when, message in messages:
            self._record(message[0] & 0xF0, message[0] & 0x0F, message, when)
        self._watch_hands(ended)

    def draw(self, number: int, tokens: Sequence[int], now: float) -> None:
        """More tokens of the answer of this number; of an answer that is over they are too late."""
        now = self._later(now)
        answer = self.answer
        if answer is None or answer.number != number:
            return
        ran_dry = not answer.queue
        answer.take(tokens)
        if answer.began is not None and ran_dry and answer.queue:
            # Too late is too late for all that follows: the rhythm stays, the whole comes later.
            late = max(now - answer.began - answer.queue[0][0], 0.0)
            answer.began += late
            answer.waited += late

    def advance(self, now: float) -> None:
        """Send what is due; ask for an answer, begin it or end it if that is due."""
        now = self._later(now)
        due = self.next_time()
        if due is None or due > now:
            return
        if self.answer is None:
            self._answers += 1
            self.answer = Answer(self._answers, self._prime(), self.seconds)
            return
        answer = self.answer
        if answer.began is None:
            answer.began = now
            answer.latency = now - (self._quiet_since if self._quiet_since is not None else now)
        while answer.queue and answer.began + answer.queue[0][0] <= now:
            _, pitch, velocity = answer.queue.popleft()
            self._play(answer, pitch, velocity, now)
        if answer.whole and not answer.queue:
            self._over(answer, now, interrupted=False)

    def close(self, now: float) -> None:
        """End everything; nothing sounds afterwards."""
        now = self._later(now)
        try:
            self._interrupt(now)
        finally:
            self.player.release_all(now)
            self.model.release_all(now)
            if self._pedals:
                self.player.pedal.append((now, 0))
            self.out.silence()

    def _later(self, now: float) -> float:
        """The time, which never goes back, whatever order the threads were in."""
        self._now = max(self._now, now)
        return self._now

    def _watch_hands(self, now: float) -> None:
        if not self.player.down and not self._pedals and not self.unheard:
            self._quiet_since = now if self._quiet_since is None else self._quiet_since
            return
        self._quiet_since = None
        if self.answer is not None and self.answer.began is None:
            self.answer = None  # the phrase goes on

    def _prime(self) -> np.ndarray:
        """All that both have played, as int16[T] tokens."""
        return encode(closer(merge([apply_pedal(self.player.performance()), self.model.performance()])), bos=True)

    def _play(self, answer: Answer, pitch: int, velocity: int, now: float) -> None:
        key = (self._channel, pitch)
        if velocity:
            answer.struck += 1
            self.model.strike(key, velocity, now)
            self.out.send((STRIKE | self._channel, pitch, velocity))
        else:
            self.model.release(key, now)
            self.out.send((RELEASE | self._channel, pitch, 0))

    def _interrupt(self, now: float) -> None:
        if self.answer is not None and self.answer.began is not None:
            answer = self.answer
            self.model.release_all(now)
            self.out.let_go()
            self._over(answer, now, interrupted=True)
        self.answer = None

    def _over(self, answer: Answer, now: float, interrupted: bool) -> None:
        self.answer = None
        heard, self._heard = self._heard, 0
        seconds = now - (answer.began if answer.began is not None else now)
        self.on_turn(Turn(heard, answer.struck, seconds, answer.latency, answer.waited, interrupted))


def closer(music: Performance) -> Performance:
    """The music from its first note on, with silences no longer than `LONGEST_SILENCE`; it has no pedal."""
    if not len(music):
        return music
    silence = music.onset[1:] - np.maximum.accumulate(music.end)[:-1]
    saved = music.onset[0] + np.append(0.0, np.cumsum(np.maximum(silence - LONGEST_SILENCE, 0.0)))
    onset, end = np.maximum(music.onset - saved, 0.0), np.maximum(music.end - saved, 0.0)
    return Performance(onset, np.maximum(end, onset), music.pitch, music.velocity, NO_PEDAL)
