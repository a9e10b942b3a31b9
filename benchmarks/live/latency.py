"""How long after the player's last note does `musicgen live` answer, and do the answer's notes come in time?

    python benchmarks/live/latency.py > benchmarks/live/result.json

Plays phrases of a shipped prime in real time through the command's own loop, without MIDI ports, and waits for each
answer to end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from musicgen.app.bundled import find_prime
from musicgen.app.commands.live import CONTEXT, LATENTS, PAUSE, SECONDS
from musicgen.app.generate import open_model, open_weights
from musicgen.app.live.conversation import Conversation, Message, Turn
from musicgen.app.live.session import Inbox, Sampler, converse
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, cut, read_midi
from musicgen.data_prep.performance import shift_time


class Robot:
    """Ports with a player at the keyboard and nobody who listens."""

    def __init__(self, phrases: list[Performance], inbox: Inbox) -> None:
        self.phrases, self.inbox = phrases, inbox
        self.answered = threading.Event()

    def send(self, message: Message) -> None:
        """To nobody."""

    def missing(self) -> str | None:
        """Nothing ever is."""
        return None

    def listen(self, on_message: Callable[[Message, float], None]) -> None:
        """Begin to play."""
        threading.Thread(target=self.play, args=(on_message,), daemon=True).start()

    def play(self, on_message: Callable[[Message, float], None]) -> None:
        """Phrase after phrase, each after the answer to the one before."""
        for phrase in self.phrases:
            notes = zip(phrase.onset, phrase.end, phrase.pitch, phrase.velocity, strict=True)
            events = [
                e for on, off, key, how in notes for e in ((on, 0x90, int(key), int(how)), (off, 0x80, int(key), 0))
            ]
            began = time.monotonic() + 0.5
            for at, *message in sorted(events, key=lambda event: event[:2]):
                time.sleep(max(began + float(at) - time.monotonic(), 0.0))
                on_message(tuple(message), time.monotonic())
            self.answered.wait()
            self.answered.clear()

        def stop() -> None:
            self.inbox.stopped = 0

        self.inbox.put(stop)


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--latents", type=int, default=LATENTS)
    parser.add_argument("--phrase", type=float, default=5.0, help="seconds")
    options = parser.parse_args()

    music = read_midi(find_prime("bach"))[0]
    starts = [options.phrase * (k % max(int(music.duration // options.phrase), 1)) for k in range(options.turns)]
    inbox, turns, loads = Inbox(), list[Turn](), []
    robot = Robot([shift_time(cut(music, at, at + options.phrase), -at) for at in starts], inbox)

    def over(turn: Turn) -> None:
        turns.append(turn)
        loads.append(round(os.getloadavg()[0], 1))
        print(turn, "load", loads[-1], file=sys.stderr, flush=True)
        robot.answered.set()

    model = open_model(open_weights(None))
    settings = Settings(latents=options.latents, context=options.context, seconds=SECONDS)
    sampler = Sampler(model, settings.resolve(model.latents, model.context), seed=1)
    sampler.warm_up()
    conversation = Conversation(robot.send, pause=PAUSE, seconds=SECONDS, on_turn=over)
    converse(conversation, robot, sampler, inbox, lambda: None)  # type: ignore[arg-type]
    sampler.stop()

    latency = np.array([turn.latency for turn in turns])
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": loads,
        "backend": model.backend,
        "checkpoint": model.name,
        "latents": options.latents,
        "context": options.context,
        "pause": PAUSE,
        "latency": {"median": round(float(np.median(latency)), 3), "worst": round(float(latency.max()), 3)},
        "turns": [
            {k: round(v, 3) if isinstance(v, float) else v for k, v in dataclasses.asdict(turn).items()}
            for turn in turns
        ],
    }
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
