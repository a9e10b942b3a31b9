"""How long after the player's last key does `musicgen live --microphone` answer, and how long does hearing take?

    pip install '.[live,transcribe]'
    python benchmarks/live/microphone.py > benchmarks/live/microphone.json

Plays rendered phrases of a shipped prime in real time through the command's own ear, with no microphone and no MIDI
ports, and waits for each answer to end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import soxr

from musicgen.app.bundled import find_prime
from musicgen.app.commands.live import CONTEXT, LATENTS, PAUSE, SECONDS
from musicgen.app.generate import open_model, open_weights
from musicgen.app.live.conversation import Conversation, Message, Turn
from musicgen.app.live.ear import Ear
from musicgen.app.live.session import Inbox, Sampler, converse
from musicgen.app.render import sound_of
from musicgen.app.settings import Settings
from musicgen.app.transcription import open_transcriber
from musicgen.data_prep import Performance, cut, read_midi
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.performance import shift_time

BLOCK = SAMPLE_RATE // 20
LOUD, ROOM = 0.3, 1e-3  # the loudest sample of a phrase, and the room's noise


class Robot:
    """A microphone with a player before it, and ports to a synth that nobody hears."""

    name = "robot"

    def __init__(self, phrases: list[Performance], inbox: Inbox) -> None:
        self.inbox = inbox
        self.phrases = [(sound(phrase), float(phrase.end.max())) for phrase in phrases]
        self.answered = threading.Event()
        self.first: float | None = None  # when the answer's first note was sent
        self.latencies: list[float] = []

    def send(self, message: Message) -> None:
        """To nobody."""
        if self.first is None:
            self.first = time.monotonic()

    def missing(self) -> str | None:
        """Nothing ever is."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def listen(self, on_block: Callable[[np.ndarray, float], None]) -> None:
        """Begin to play."""
        threading.Thread(target=self.play, args=(on_block,), daemon=True).start()

    def play(self, on_block: Callable[[np.ndarray, float], None]) -> None:
        """Phrase after phrase, each two seconds after the answer to the one before; then stop."""
        noise, clock = np.random.default_rng(0), time.monotonic()

        def sounds(sound: np.ndarray) -> None:
            nonlocal clock
            for block in sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK):
                clock += BLOCK / SAMPLE_RATE
                time.sleep(max(clock - time.monotonic(), 0.0))
                on_block((block + noise.normal(0.0, ROOM, BLOCK)).astype(np.float32), clock)

        for sound, last_key in self.phrases:
            sounds(np.zeros(2 * SAMPLE_RATE))
            self.first, let_go = None, clock + last_key
            sounds(sound)
            while not self.answered.is_set():
                sounds(np.zeros(BLOCK))
            self.answered.clear()
            self.latencies.append(round((self.first or np.nan) - let_go, 2))

        def stop() -> None:
            self.inbox.stopped = 0

        self.inbox.put(stop)


def sound(phrase: Performance) -> np.ndarray:
    """The phrase as the bundled piano plays it, f32 [n]."""
    rate, segments = sound_of(phrase)
    played = soxr.resample(np.concatenate([*segments()]).mean(axis=1), rate, SAMPLE_RATE)
    return played * (LOUD / np.abs(played).max())


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phrases", type=float, nargs="+", default=[3.0, 8.0, 15.0] * 3, help="seconds of each")
    options = parser.parse_args()

    music = read_midi(find_prime("bach"))[0]
    inbox, turns, hearing, loads = Inbox(), list[Turn](), list[float](), []
    robot = Robot([shift_time(cut(music, 0, seconds), 0) for seconds in options.phrases], inbox)

    def over(turn: Turn) -> None:
        turns.append(turn)
        loads.append(round(os.getloadavg()[0], 1))
        print(turn, hearing, "load", loads[-1], file=sys.stderr, flush=True)
        robot.answered.set()

    ear = Ear(robot, open_transcriber(), lambda notes, seconds: hearing.append(seconds))  # type: ignore[arg-type]
    ear.warm_up()
    model = open_model(open_weights(None))
    settings = Settings(latents=LATENTS, context=CONTEXT, seconds=SECONDS).resolve(model.latents, model.context)
    sampler = Sampler(model, settings, seed=1)
    sampler.warm_up()
    conversation = Conversation(robot.send, pause=PAUSE, seconds=SECONDS, on_turn=over)
    converse(conversation, robot, sampler, inbox, lambda: None, ear)  # type: ignore[arg-type]
    ear.stop(keep=False)
    sampler.stop()

    facts = zip(options.phrases, turns, hearing, robot.latencies, loads, strict=True)
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "pause": PAUSE,
        "one window": round(ear.takes, 2),
        "turns": [
            {
                "phrase": seconds,
                "heard": turn.heard,
                "hearing": round(heard, 2),
                "after the last key": latency,
                "waited": round(turn.waited, 2),
                "load": load,
            }
            for seconds, turn, heard, latency, load in facts
        ],
    }
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
